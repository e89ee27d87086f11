"""The PhysioNet/CinC Challenge 2021 layout: ``training/<source>/g1/E00001.{hea,mat}``, SNOMED CT codes in the header.

No patient identifiers are published: each record counts as a patient of its own. Source: Reyna et al. 2021, Computing
in Cardiology 48; PhysioNet challenge-2021 1.0.3.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.tables import OLD_AGE, cohort_table, known
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.cohorts.wfdb_header import Header, read_header
from pytest_ecgfm.errors import EcgfmError


@dataclass(frozen=True)
class ChallengeFolder:
    """A folder below ``training/``: its cohort, where that is from, and its name in ``labels/vocabulary.csv``."""

    cohort: str
    continent: str
    vocabulary: str


SOURCES: Mapping[str, ChallengeFolder] = {
    "georgia": ChallengeFolder("georgia", "North America", "georgia"),
    "chapman_shaoxing": ChallengeFolder("chapman-ningbo", "Asia", "chapman_shaoxing"),
    "ningbo": ChallengeFolder("chapman-ningbo", "Asia", "ningbo"),
    "cpsc_2018": ChallengeFolder("cpsc-2018", "Asia", "cpsc_2018"),
    "cpsc_2018_extra": ChallengeFolder("cpsc-extra", "Asia", "cpsc_2018_extra"),
    "ptb": ChallengeFolder("ptb", "Europe", "ptb"),
    "ptb-xl": ChallengeFolder("ptb-xl", "Europe", "ptb-xl-challenge"),
    "st_petersburg_incart": ChallengeFolder("incart", "Europe", "st_petersburg_incart"),
}
"""The challenge's own sources; any other folder in the layout is a cohort by the folder's name."""

# Early headers of Georgia state 4880 ADC units a mV; the final release states 1000 for the same samples.
_WITHDRAWN_GAINS = {"georgia": 4880.0}

_SEXES = {"male": "M", "m": "M", "female": "F", "f": "F", "u": "", "": ""}
_READ_ONCE = ("age", "sex")
_CODE = re.compile(r"\d{6,18}", re.ASCII)
_AGE = re.compile(r"\d{1,3}(?:\.\d*)?", re.ASCII)


def source_of(folder: str) -> ChallengeFolder:
    """Return what is known of a folder below ``training/``."""
    return SOURCES.get(folder) or ChallengeFolder(folder.lower().replace("_", "-"), "", folder)


@dataclass
class Statements:
    """What the headers of a cohort state.

    Attributes
    ----------
    codes : dict of str to tuple of str
        SNOMED CT codes of each record.
    ages : list of float
        In years, NaN where unknown.
    sexes : list of str
        ``"F"``, ``"M"`` or ``""``.
    rates : list of float
        In Hz.
    excluded : dict of str to str
        Records left out for a fault that is known of the release.
    """

    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)
    sexes: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)


def list_headers(path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield every header file below a folder, with the names beside it; links to folders are not followed."""

    def fail(error: OSError) -> None:
        raise EcgfmError(f"{error.filename}: cannot list the folder ({error.strerror}).")

    for parent, folders, names in os.walk(path, onerror=fail):
        folders.sort()
        beside = frozenset(names)
        for name in sorted(names):
            if name.endswith(".hea"):
                yield Path(parent) / name, beside


def _age(text: str, where: str) -> float:
    if text == "-1" or not known(text):
        return math.nan
    if not _AGE.fullmatch(text) or not (float(text) <= 120 or float(text) == 300):
        raise EcgfmError(f"{where}: Age {text!r} should be a number of years up to 120, or NaN.")
    return OLD_AGE if float(text) == 300 else float(text)


def parse_comments(header: Header) -> tuple[float, str, tuple[str, ...]]:
    """Return age in years, sex and SNOMED CT codes from a header's comments; codes of several ``Dx`` lines together.

    Raises
    ------
    EcgfmError
        If the diagnosis is missing, a value is malformed, or age or sex is stated twice; names file, record and field.
    """
    stated: dict[str, str] = {}
    for comment in header.comments:
        field_name, colon, value = (part.strip() for part in comment.partition(":"))
        name = field_name.lower()
        if name in stated and name in _READ_ONCE:
            raise EcgfmError(f"{header.where}: {field_name} is stated twice ({stated[name]!r} and {value!r}).")
        if colon:
            stated[name] = f"{stated[name]},{value}" if name == "dx" and name in stated else value
    if "dx" not in stated:
        raise EcgfmError(f"{header.where}: the header states no Dx (diagnosis).")
    sex = known(stated.get("sex", "")).lower()
    if sex not in _SEXES:
        raise EcgfmError(f"{header.where}: Sex {stated['sex']!r} should be Male, Female or Unknown.")
    codes = [code.strip() for code in stated["dx"].split(",") if known(code.strip())]
    for code in codes:
        if not _CODE.fullmatch(code):
            raise EcgfmError(
                f"{header.where}: Dx {code!r} is not a SNOMED CT code; headers of the challenge's unofficial phase "
                "contain abbreviations here; the final release contains codes."
            )
    return _age(stated.get("age", ""), header.where), _SEXES[sex], tuple(dict.fromkeys(codes))


def _usable_header(folder: Folder, path: Path, beside: frozenset[str], withdrawn_gain: float | None) -> Header:
    """Return a record's header, its signal files being there and its gains not withdrawn."""
    header = read_header(folder, path)
    for signal in header.signals:
        if signal.file not in beside:
            raise EcgfmError(f"{header.where}: the signal file {signal.file!r} is missing.")
        if signal.gain == withdrawn_gain:
            raise EcgfmError(
                f"{header.where}: gain {signal.gain:g} is that of an early release, which the publishers corrected; "
                "use the header of the final one."
            )
    return header


def read_statements(
    folder: Folder,
    headers: Mapping[str, tuple[Path, frozenset[str]]],
    *,
    withdrawn_gains: Mapping[str, float] | None = None,
    known_faults: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> Statements:
    """Read the headers of a cohort.

    Parameters
    ----------
    folder : Folder
        The cohort's folder.
    headers : mapping of str to (Path, frozenset of str)
        For each record its header file, and the names of the files beside it.
    withdrawn_gains : mapping of str to float, optional
        For some records a gain that the publishers corrected later.
    known_faults : mapping of str to str, optional
        Records whose header is known to be malformed in the release: left out if it is, with this reason.
    skip_bad : bool
        Leave out other unusable records, too.

    Raises
    ------
    EcgfmError
        If a header is malformed or a signal file is missing: the first such, and how many more there are.
    """
    out = Statements()
    errors: list[EcgfmError] = []
    for record, (path, beside) in headers.items():
        try:
            header = _usable_header(folder, path, beside, (withdrawn_gains or {}).get(record))
            age, sex, codes = parse_comments(header)
        except EcgfmError as error:
            if record in (known_faults or {}):
                out.excluded[record] = (known_faults or {})[record]
            elif skip_bad:
                out.excluded[record] = str(error)
            else:
                errors.append(error)
            continue
        out.codes[record] = codes
        out.ages.append(age)
        out.sexes.append(sex)
        out.rates.append(header.sampling_rate)
    if errors:
        more = f" {len(errors) - 1} more of {len(headers)} records are unusable." if len(errors) > 1 else ""
        raise EcgfmError(f"{errors[0]}{more}")
    if not out.codes:
        why = f" Left out: {first_few(out.excluded.values(), few=1)}." if out.excluded else ""
        raise EcgfmError(f"{folder.root}: there is no record (a .hea file with its signals).{why}")
    return out


class Challenge(WfdbCohort):
    """A cohort in the layout of the 2021 challenge.

    Parameters
    ----------
    paths : sequence of Path
        Folders below ``training/``; several for a cohort of several sources (Chapman-Shaoxing and Ningbo).
    skip_bad : bool
        Leave out records that are unusable, with the reason in `excluded`, rather than raise.

    Raises
    ------
    EcgfmError
        If a header is malformed, a record occurs twice, or a signal file is missing.

    Notes
    -----
    `sampling_rate` is the commonest one; a record's own rate is that of its `Recording`. Lengths vary.
    """

    def __init__(self, paths: Sequence[Path], *, skip_bad: bool = False) -> None:
        folder = Folder(paths[0], *paths[1:])
        found: dict[str, tuple[Path, frozenset[str]]] = {}
        sources: dict[str, str] = {}
        gains: dict[str, float] = {}
        for path in paths:
            for header, beside in list_headers(path):
                record = header.stem
                if record in found:
                    raise EcgfmError(f"{header}: record {record!r} is also in {found[record][0]}.")
                found[record] = header, beside
                sources[record] = source_of(path.resolve().name).vocabulary
                if path.resolve().name in _WITHDRAWN_GAINS:
                    gains[record] = _WITHDRAWN_GAINS[path.resolve().name]
        stated = read_statements(folder, found, withdrawn_gains=gains, skip_bad=skip_bad)
        records = list(stated.codes)
        harmonised = harmonise(stated.codes, "snomed_ct", source={record: sources[record] for record in records})
        source = source_of(paths[0].resolve().name)
        super().__init__(
            source.cohort,
            folder,
            {record: path for record, (path, _) in found.items()},
            continent=source.continent,
            table=cohort_table(records, patients=None, ages=stated.ages, sexes=stated.sexes),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=Counter(stated.rates).most_common(1)[0][0],
            has_patients=False,
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            excluded=stated.excluded,
        )
