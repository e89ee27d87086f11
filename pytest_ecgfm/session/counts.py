"""How many records a cohort has, and of what: counted, or for the embedded cohorts read from where it was counted.

The embedded cohorts are the same everywhere. To draw them takes pandas and half a second, so what `--ecgfm-list` says
of them is kept in ``embedded_counts.json``. A test draws them and compares; ``python -m pytest_ecgfm.session.counts``
writes the file again.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.offered import offered_codes, offered_columns
from pytest_ecgfm.cohorts.quantities import offered_quantities

FILE = Path(__file__).with_name("embedded_counts.json")


@dataclass(frozen=True)
class Counts:
    """What a list says of a cohort.

    Attributes
    ----------
    continent : str
    records : int
    patients : int or None
        None where no patients are known.
    labels, columns : dict of str to (int, int)
        Records in which a label, or a column that can be one, is true; and in which it is known.
    quantities : dict of str to str
        How many records have a quantity, and its range, in words.
    codes : dict of str to int
        Records with a statement that can be a label; the commonest first.
    """

    continent: str
    records: int
    patients: int | None
    labels: dict[str, tuple[int, int]]
    columns: dict[str, tuple[int, int]]
    quantities: dict[str, str]
    codes: dict[str, int]


def counts_of(cohort: Cohort, endpoints: Collection[str] = ()) -> Counts:
    """Count what a cohort has.

    Parameters
    ----------
    cohort : Cohort
        With the labels that were asked for.
    endpoints : collection of str
        Names of these labels: their columns and codes are no longer offered.

    Returns
    -------
    Counts
    """
    return Counts(
        cohort.continent,
        len(cohort),
        int(cohort.patients.nunique()) if cohort.has_patients else None,
        {str(label): (int(column.sum()), int(column.notna().sum())) for label, column in cohort.labels.items()},
        {
            name: (found["true"], found["true"] + found["false"])
            for name, found in offered_columns(cohort).items()
            if name not in endpoints
        },
        dict(offered_quantities(cohort)),
        {one.name: one.positives for one in offered_codes(cohort) if one.name not in endpoints},
    )


def embedded_counts() -> dict[str, Counts]:
    """Return what was counted in the embedded cohorts, by their names."""
    return {name: Counts(**fields) for name, fields in json.loads(FILE.read_text(encoding="utf-8")).items()}


def write_embedded_counts() -> None:
    """Draw the embedded cohorts, count, and write the file."""
    from pytest_ecgfm.cohorts.synthetic import SPECS, load_embedded

    found = {name: asdict(counts_of(load_embedded(name))) for name in SPECS}
    with whole(FILE) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_embedded_counts()
