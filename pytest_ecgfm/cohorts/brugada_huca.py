"""Brugada-HUCA (Hospital Universitario Central de Asturias, Spain): ``metadata.csv``, WFDB records at 100 Hz.

Source: PhysioNet brugada-huca 1.0.0; CC BY-SA 4.0.
"""

from pathlib import Path

from pytest_ecgfm.cohorts.base import LABELS
from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.tables import choices, cohort_table, identifiers, keyed, read_table, rows_here
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError

TABLE = "metadata.csv"
"""The table that the layout is recognised by, with its column ``brugada``."""

COLUMNS = ("brugada", "basal_pattern", "sudden_death")
"""Labels of the release, none of which is built in: syndrome, pathological ECG at baseline, sudden death."""

OTHER = "2"
"""In the column ``brugada``: "other or atypical", neither the syndrome nor its absence. Unknown."""


class BrugadaHuca(WfdbCohort):
    """Brugada-HUCA.

    Parameters
    ----------
    root : Path
        The folder of ``metadata.csv`` and ``files``.
    skip_bad : bool
        Leave out records whose files are missing, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table is malformed or a record's file is missing.

    Notes
    -----
    One record of 12 s a person; no ages or sexes. None of the built-in labels is annotated. The labels are columns:
    ``brugada`` and the others of `COLUMNS`, when they are asked for.
    """

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        rows = read_table(folder, path, ("patient_id", *COLUMNS))
        rows.index = rows["patient_id"]
        rows["patient_id"] = identifiers(rows, "patient_id", path)
        rows, caution = rows_here(folder, keyed(rows, "patient_id", path), "patient_id")
        headers = {record: folder.root / "files" / record / f"{record}.hea" for record in rows.index}
        missing = [
            record
            for record, header in headers.items()
            if not (header.is_file() and header.with_suffix(".dat").is_file())
        ]
        if missing and (not skip_bad or len(missing) == len(headers)):
            raise EcgfmError(
                f"{path}: the files of {len(missing)} of {len(headers)} records are missing: {first_few(missing)}."
            )
        rows = rows.drop(index=missing)
        records = list(rows.index)
        columns = rows[list(COLUMNS)].copy()
        columns.attrs["file"] = str(path)
        for name in COLUMNS:
            open_value = {OTHER: ""} if name == "brugada" else {}
            columns[name] = choices(rows, name, path, {"": "", "0": "0", "1": "1", **open_value})
        super().__init__(
            "brugada-huca",
            folder,
            {record: headers[record] for record in records},
            continent="Europe",
            table=cohort_table(
                records,
                patients=records,
                ages=[float("nan")] * len(records),
                sexes=[""] * len(records),
            ),
            labels=rows[[]],
            columns=columns,
            sampling_rate=100,
            has_patients=True,
            label_notes=dict.fromkeys(LABELS, "unknown: not annotated; its labels are columns, such as brugada"),
            caution=caution,
            excluded={record: f"{path}: record {record!r}: a file of files/{record} is missing." for record in missing},
        )
