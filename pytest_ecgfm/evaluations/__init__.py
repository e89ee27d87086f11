"""Pure functions: arrays in, xarray out."""
