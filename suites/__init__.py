"""The evaluations, as parametrised tests."""
