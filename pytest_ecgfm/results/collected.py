"""One result a check: the last one, where a check runs more than once."""

from collections.abc import Iterable

from pytest_ecgfm.results.rows import Row


class Results:
    """The rows of a run as they come.

    Plugins that run a test again (``--reruns``, ``--count``) give several results of one check. The last one counts:
    whoever asks for reruns says that a first failure may be the machine's. That it changed is never silent.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._outcomes: dict[tuple[str, str], list[str]] = {}

    def add(self, row: Row) -> None:
        """Take a result; it replaces an earlier one of the same check."""
        self._rows[row.key] = row
        self._outcomes.setdefault(row.key, []).append(row.outcome)

    def replace(self, rows: Iterable[Row]) -> None:
        """Take corrected rows in place of those that are held."""
        self._rows = {row.key: row for row in rows}

    @property
    def rows(self) -> list[Row]:
        """One row a check, in the order in which they first came."""
        return list(self._rows.values())

    def changed(self) -> list[str]:
        """Name each check that had another result in another run of it."""
        return [
            f"{check} of {encoder} changed its result between runs: {', then '.join(outcomes)}; the last one counts"
            for (encoder, check), outcomes in sorted(self._outcomes.items())
            if len(set(outcomes)) > 1
        ]
