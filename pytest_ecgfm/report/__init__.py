"""Views of the rows: terminal, pytest-html."""
