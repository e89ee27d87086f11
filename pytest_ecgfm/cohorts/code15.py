"""CODE-15% (Brazil): ``exams.csv`` and ``exams_part*.hdf5``.

Source: Ribeiro et al. 2021, Zenodo 4916206.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.hdf5_files import Hdf5Cohort, dataset, open_hdf5
from pytest_ecgfm.cohorts.tables import choices, cohort_table, identifiers, keyed, numbers, read_table, rows_here
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS

TABLE = "exams.csv"
"""The table that the layout is recognised by, with a part beside it."""

PART = re.compile(r"exams_part\d+\.hdf5", re.ASCII)
"""Names of the files of signals."""

LABELS_STATED = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
"""Columns of the abnormalities that CODE's authors annotate."""

CAUTION = (
    "The unit of CODE's signals is not settled: its readme says 1e-4 V, its authors mV. Read as mV, amplitudes are "
    "about 1.7 times those of the other cohorts."
)

RATE = 400.0
"""Hz."""

SAMPLES = 4096
"""A record, padding of zeros at both ends and all."""

_TRUTH = {"true": "1", "1": "1", "1.0": "1", "false": "", "0": "", "0.0": ""}


class Code15(Hdf5Cohort):
    """CODE-15%.

    Parameters
    ----------
    root : Path
        The folder of ``exams.csv``.
    skip_bad : bool
        Leave out exams of parts that are missing, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table or a part is malformed, a part that the table names is missing, or an exam is in no part.

    Notes
    -----
    Records are in the table's order, which is not that of the parts; each part ends with an extra row of zeros with
    exam 0. Signals are padded with zeros to 4096 samples: `read` leaves the padding out, `padding` tells how much.
    `CD` is true where one of 1dAVb, RBBB and LBBB is; `NORM` is the column ``normal_ecg``.
    """

    _leads = LEADS

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        columns = ("exam_id", "age", "is_male", *LABELS_STATED, "patient_id", "normal_ecg", "trace_file")
        rows = read_table(folder, path, columns)
        rows.index = rows["exam_id"]
        rows["exam_id"] = identifiers(rows, "exam_id", path)
        rows, part = rows_here(folder, keyed(rows, "exam_id", path), "trace_file")
        here = [not skip_bad or (folder.root / Path(part).name).is_file() for part in rows["trace_file"]]
        excluded = {
            record: f"{path}: record {record!r}: {part} is missing."
            for record, part, present in zip(rows.index, rows["trace_file"], here, strict=True)
            if not present
        }
        rows = rows[here] if any(here) else rows
        records = list(rows.index)
        self._path = folder.root
        self._rows = _find(folder, path, dict(zip(records, rows["trace_file"], strict=True)))
        stated = {
            column: choices(rows, column, path, _TRUTH, any_case=True) for column in (*LABELS_STATED, "normal_ecg")
        }
        codes = {
            record: [column for column, values in stated.items() if values[number]]
            for number, record in enumerate(records)
        }
        # An exam in which nothing was found was looked at; without any code its labels would be unknown.
        harmonised = harmonise({r: said or ["no abnormality"] for r, said in codes.items()}, "code", source="code-15")
        super().__init__(
            "code-15",
            folder,
            continent="South America",
            table=cohort_table(
                records,
                patients=identifiers(rows, "patient_id", path),
                ages=numbers(rows, "age", path, low=0, high=120, empty=True),
                sexes=["M" if male else "F" for male in choices(rows, "is_male", path, _TRUTH, any_case=True)],
            ),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=RATE,
            has_patients=True,
            label_notes=harmonised.notes,
            caution=f"{CAUTION} {part}".strip(),
            excluded=excluded,
        )

    def _where(self, record: str) -> str:
        return f"{self._path / self._rows[record][0]}: record {record!r}"

    def _stored(self, record: str) -> npt.NDArray[Any]:
        part, row = self._rows[record]
        where = self._where(record)
        with open_hdf5(self.folder, self._path / part, where=where) as file:
            tracings = dataset(file, "tracings", (None, SAMPLES, len(LEADS)), kinds="f", where=where)
            stored: npt.NDArray[Any] = np.asarray(tracings[row]).T
            return stored


def _find(folder: Folder, path: Path, parts: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Return the part and the row of each exam.

    Raises
    ------
    EcgfmError
        If a part is missing or malformed, or lacks an exam.
    """
    exams: dict[str, list[str]] = defaultdict(list)
    for record, part in parts.items():
        if not PART.fullmatch(part):
            raise EcgfmError(f"{path}: record {record!r}: trace_file {part!r} should look like 'exams_part0.hdf5'.")
        exams[part].append(record)
    missing = [part for part in exams if not (folder.root / part).is_file()]
    if missing:
        raise EcgfmError(
            f"{path}: {len(missing)} of {len(exams)} files that it names are missing: {first_few(missing)}. To use "
            "part of the release, leave out the rows of the other parts."
        )
    found: dict[str, tuple[str, int]] = {}
    for part, records in exams.items():
        where = str(folder.root / part)
        with open_hdf5(folder, folder.root / part, where=where) as file:
            identities = dataset(file, "exam_id", (None,), kinds="iu", where=where)[...]
            dataset(file, "tracings", (len(identities), SAMPLES, len(LEADS)), kinds="f", where=where)
        rows: dict[str, int] = {}
        for row, identity in enumerate(identities.tolist()):
            if identity and rows.setdefault(str(identity), row) != row:
                raise EcgfmError(
                    f"{where}: record '{identity}': exam_id occurs in rows {rows[str(identity)]} and {row}."
                )
        for record in records:
            if record not in rows:
                raise EcgfmError(
                    f"{where}: record {record!r}: {path.name} places it here, but no row has this exam_id."
                )
            found[record] = part, rows[record]
    return found
