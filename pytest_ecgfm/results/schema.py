"""The version of ``verdict.json``: whoever reads the file asks for it first."""

SCHEMA = 2
