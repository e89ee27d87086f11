"""Harmonisation tables: one row a code."""
