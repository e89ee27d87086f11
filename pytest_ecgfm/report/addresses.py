"""Where a run's page is, and where on it a check's row is: what other reports link to."""

PAGE = "generalization.html"
"""Name of the page's file in the run's folder."""

PREDICTIONS = "predictions.csv"
"""Name of the table of every tested record, in the run's folder."""


def anchor(encoder: str, check: str) -> str:
    """Return the id of a check's row on the page."""
    return f"check:{encoder}:{check}".replace(" ", "_")
