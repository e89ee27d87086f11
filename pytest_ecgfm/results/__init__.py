"""Checks, rows, cube and verdict: what was measured, and what it means."""
