"""SPH (Shandong Provincial Hospital, China): ``metadata.csv`` with AHA statements, one HDF5 file a record.

Source: Liu et al. 2022, Scientific Data 9:272; figshare 5779802.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise, vocabulary
from pytest_ecgfm.cohorts.hdf5_files import Hdf5Cohort, dataset, open_hdf5
from pytest_ecgfm.cohorts.tables import by_field, choices, cohort_table, fault, keyed, numbers, read_table
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.signals.records import LEADS

TABLE = "metadata.csv"
"""The table that the layout is recognised by, with its column ``AHA_Code``."""

_FIRST_MODIFIER, _LAST_MODIFIER = 300, 399
_NAME = re.compile(r"[-\w]{1,64}", re.ASCII)


def parse_statements(text: str, path: Path, record: str) -> tuple[set[str], set[str]]:
    """Return the AHA statements of a record, and those of them that it calls possible or probable.

    Parameters
    ----------
    text : str
        Statements separated by semicolons, each a code with its modifiers: ``"50+346;22"``.
    path : Path
        The table, for messages.
    record : str
        For messages.

    Raises
    ------
    EcgfmError
        If a code is not a number; names file, record and field.
    """
    sure: set[str] = set()
    doubtful: set[str] = set()
    for statement in filter(None, (part.strip() for part in text.split(";"))):
        parts = [part.strip() for part in statement.split("+")]
        if not all(re.fullmatch(r"\d{1,3}", part, re.ASCII) for part in parts):
            raise fault(path, record, "AHA_Code", text, "codes such as '50+346;22'")
        modifiers = {part for part in parts if _FIRST_MODIFIER <= int(part) <= _LAST_MODIFIER}
        codes = {str(int(part)) for part in parts} - modifiers
        (doubtful if modifiers & vocabulary("aha").doubtful else sure).update(codes)
    return sure, doubtful - sure


class Sph(Hdf5Cohort):
    """SPH.

    Parameters
    ----------
    root : Path
        The folder of ``metadata.csv`` and ``records``.
    skip_bad : bool
        Leave out records whose files are missing, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If the table is malformed or a record's file is missing.

    Notes
    -----
    The release holds the leads in the customary order, at 500 Hz, in mV.
    """

    _leads = LEADS
    _padded = False

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        rows = read_table(folder, path, ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N"), optional=("fs",))
        rows["ECG_ID"] = [name.removesuffix(".h5") for name in rows["ECG_ID"]]
        rows = keyed(rows, "ECG_ID", path)
        by_field(lambda name: _NAME.fullmatch(name) is not None, rows, "ECG_ID", path, "letters, digits, _ and -")
        by_field(bool, rows, "Patient_ID", path, "an identifier")
        if "fs" in rows:
            numbers(rows, "fs", path, low=500, high=500)
        self._path = folder.root / "records"
        self._lengths = dict(zip(rows.index, numbers(rows, "N", path, low=1, high=1e7), strict=True))
        present = {file.name for file in self._path.glob("*.h5")}
        missing = [record for record in rows.index if f"{record}.h5" not in present]
        if missing and (not skip_bad or len(missing) == len(rows)):
            raise EcgfmError(f"{path}: the files of {len(missing)} of {len(rows)} records are missing: "
                             f"{first_few(missing)}.")  # fmt: skip
        excluded = {
            name.removesuffix(".h5"): f"no row in {TABLE}"
            for name in sorted(present)
            if name.removesuffix(".h5") not in rows.index
        }
        excluded |= {record: f"{path}: record {record!r}: records/{record}.h5 is missing." for record in missing}
        rows = rows.drop(index=missing)
        records = list(rows.index)
        stated = zip(records, rows["AHA_Code"], strict=True)
        parsed = {record: parse_statements(text, path, record) for record, text in stated}
        harmonised = harmonise(
            {record: sure for record, (sure, _) in parsed.items()},
            "aha",
            source="sph",
            doubtful={record: unsure for record, (_, unsure) in parsed.items()},
        )
        super().__init__(
            "sph",
            folder,
            continent="Asia",
            table=cohort_table(
                records,
                patients=list(rows["Patient_ID"]),
                ages=numbers(rows, "Age", path, low=0, high=120, empty=True),
                sexes=choices(rows, "Sex", path, {"M": "M", "F": "F", "": ""}),
            ),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=500,
            has_patients=True,
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            excluded=excluded,
        )

    def _where(self, record: str) -> str:
        return f"{self._path / record}.h5: record {record!r}"

    def _stored(self, record: str) -> npt.NDArray[Any]:
        where = self._where(record)
        with open_hdf5(self.folder, self._path / f"{record}.h5", where=where) as file:
            shape = (len(LEADS), int(self._lengths[record]))
            stored: npt.NDArray[Any] = np.asarray(dataset(file, "ecg", shape, kinds="f", where=where)[...])
            return stored
