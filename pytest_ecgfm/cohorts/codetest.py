"""CODE-test (Brazil): ``ecg_tracings.hdf5`` with the gold standard of three cardiologists.

Source: Ribeiro et al. 2020, Nature Communications 11:1760; Zenodo 3765780.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.code15 import CAUTION, LABELS_STATED, RATE, SAMPLES
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.hdf5_files import Hdf5Cohort, dataset, open_hdf5
from pytest_ecgfm.cohorts.tables import choices, cohort_table, numbers, read_table
from pytest_ecgfm.errors import EcgfmError

TRACINGS = "ecg_tracings.hdf5"
"""The file that the layout is recognised by."""

STORED_LEADS = ("I", "II", "III", "aVL", "aVF", "aVR", "V1", "V2", "V3", "V4", "V5", "V6")
"""As the readme gives them, and Goldberger's relations confirm: the augmented leads are not in the customary order."""


class CodeTest(Hdf5Cohort):
    """CODE-test.

    Parameters
    ----------
    root : Path
        The folder of ``ecg_tracings.hdf5``, with ``attributes.csv`` and ``annotations/``.

    Raises
    ------
    EcgfmError
        If a file is missing or malformed, or the tables do not have one row for each tracing.

    Notes
    -----
    A record's name is its row, from 0. The exams are of different patients; no patient identifiers are published.
    """

    _leads = STORED_LEADS

    def __init__(self, root: Path) -> None:
        folder = Folder(root)
        self._path = folder.root / TRACINGS
        with open_hdf5(folder, self._path, where=str(self._path)) as file:
            count = dataset(file, "tracings", (None, SAMPLES, 12), kinds="f", where=str(self._path)).shape[0]
        gold = folder.join("annotations/gold_standard.csv", where=str(root))
        people = folder.root / "attributes.csv"
        stated = read_table(folder, gold, LABELS_STATED)
        attributes = read_table(folder, people, ("age", "sex"))
        for path, table in ((gold, stated), (people, attributes)):
            if len(table) != count:
                raise EcgfmError(f"{path}: {len(table)} rows, but {self._path} contains {count} tracings.")
        records = [str(row) for row in range(count)]
        stated.index = attributes.index = attributes.index.map(str)
        values = {column: choices(stated, column, gold, {"0": "", "1": "1"}) for column in LABELS_STATED}
        codes = {
            record: [column for column in LABELS_STATED if values[column][row]] or ["no abnormality"]
            for row, record in enumerate(records)
        }
        harmonised = harmonise(codes, "code", source="code-test")
        super().__init__(
            "code-test",
            folder,
            continent="South America",
            table=cohort_table(
                records,
                patients=None,
                ages=numbers(attributes, "age", people, low=0, high=120, empty=True),
                sexes=choices(attributes, "sex", people, {"M": "M", "F": "F", "": ""}),
            ),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=RATE,
            has_patients=False,
            label_notes=harmonised.notes,
            caution=CAUTION,
        )

    def _where(self, record: str) -> str:
        return f"{self._path}: record {record!r}"

    def _stored(self, record: str) -> npt.NDArray[Any]:
        where = self._where(record)
        with open_hdf5(self.folder, self._path, where=where) as file:
            tracings = dataset(file, "tracings", (None, SAMPLES, 12), kinds="f", where=where)
            stored: npt.NDArray[Any] = np.asarray(tracings[int(record)]).T
            return stored
