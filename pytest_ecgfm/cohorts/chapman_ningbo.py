"""Chapman-Shaoxing and Ningbo (China) in the layout of the `ecg-arrhythmia` release: ``WFDBRecords/01/010/JS00001``.

Source: Zheng et al. 2020, Scientific Data 7:48 and Scientific Reports 10:2898; PhysioNet ecg-arrhythmia 1.0.0.
"""

import re
from collections import Counter
from pathlib import Path

from pytest_ecgfm.cohorts.challenge import list_headers, read_statements
from pytest_ecgfm.cohorts.folders import Folder
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.tables import cohort_table
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError

FOLDER = "WFDBRecords"
"""The folder that the layout is recognised by."""

LAST_CHAPMAN = 10646
"""Records up to this number are Chapman-Shaoxing's, those above Ningbo's."""

_MERGED = "the release lost a line break in this header: record line and first signal line are one"
KNOWN_FAULTS = {"JS01052": _MERGED, "JS23074": _MERGED}
"""Headers of release 1.0.0 that are malformed; left out where they are, and told in `excluded`."""


def _source(record: str, path: Path) -> str:
    match = re.fullmatch(r"JS(\d{5})", record, re.ASCII)
    if match is None:
        raise EcgfmError(f"{path}: record {record!r}: a name of this release is JS and five digits.")
    return "chapman_shaoxing" if int(match[1]) <= LAST_CHAPMAN else "ningbo"


class ChapmanNingbo(WfdbCohort):
    """Chapman-Shaoxing and Ningbo.

    Parameters
    ----------
    root : Path
        The folder that holds ``WFDBRecords``.
    skip_bad : bool
        Leave out records that are unusable, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If a header is malformed that is not among `KNOWN_FAULTS`, or a signal file is missing.
    """

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root / FOLDER)
        found: dict[str, tuple[Path, frozenset[str]]] = {}
        sources: dict[str, str] = {}
        for header, beside in list_headers(folder.root):
            record = header.stem
            if record in found:
                raise EcgfmError(f"{header}: record {record!r} is also in {found[record][0]}.")
            found[record] = header, beside
            sources[record] = _source(record, header)
        stated = read_statements(folder, found, known_faults=KNOWN_FAULTS, skip_bad=skip_bad)
        records = list(stated.codes)
        harmonised = harmonise(stated.codes, "snomed_ct", source={record: sources[record] for record in records})
        super().__init__(
            "chapman-ningbo",
            folder,
            {record: path for record, (path, _) in found.items()},
            continent="Asia",
            table=cohort_table(records, patients=None, ages=stated.ages, sexes=stated.sexes),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=Counter(stated.rates).most_common(1)[0][0],
            has_patients=False,
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            excluded=stated.excluded,
        )
