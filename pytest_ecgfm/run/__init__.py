"""One run: what was asked for, and what is made once and kept."""
