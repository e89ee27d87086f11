"""Where cohorts are published, under which terms, and how large they are."""

import re
from dataclasses import dataclass, field

from pytest_ecgfm.errors import EcgfmError, unknown_name

_CC_BY = "CC BY 4.0"
_CHALLENGE = "Reyna et al. 2021, Computing in Cardiology 48; PhysioNet challenge-2021 1.0.3, doi:10.13026/34va-7q14"
_SECONDS_10 = 120_000


@dataclass(frozen=True)
class Fetchable:
    """A release that can be fetched.

    Attributes
    ----------
    cohort : str
        As in a data folder.
    publisher : str
        ``physionet`` or ``zenodo``.
    release : str
        PhysioNet's name of the release, or the number of Zenodo's record.
    version : str
        Of the release; Zenodo numbers each version as a record of its own.
    licence : str
        Of the data.
    citation : str
        What to cite.
    records : int
        Of the cohort, as published.
    record_bytes : int
        About how much one record takes.
    pattern : Pattern
        Names of the release's files that hold records; the group ``record`` is the record's name in its table.
    others : Pattern
        Names of further files to fetch.
    parts : int
        Records an archive; 0 where records are files of their own.
    members : Pattern
        Of an archive: what to unpack; the group ``name`` is where to.
    whole_table : bool
        Whether the release has a table of all its records, of which part of a release has only some.
    """

    cohort: str
    publisher: str
    release: str
    version: str
    licence: str
    citation: str
    records: int
    record_bytes: int
    pattern: re.Pattern[str]
    others: re.Pattern[str]
    parts: int = 0
    members: re.Pattern[str] = field(default_factory=lambda: re.compile("(?!)"))
    whole_table: bool = False

    @property
    def folder(self) -> str:
        """Name of the folder that it is fetched to."""
        name = self.cohort if self.publisher == "zenodo" else self.release
        return f"{name}-{self.version}"


def _challenge(cohort: str, records: int, *folders: str, record_bytes: int = _SECONDS_10) -> Fetchable:
    return Fetchable(
        cohort,
        "physionet",
        "challenge-2021",
        "1.0.3",
        _CC_BY,
        _CHALLENGE,
        records,
        record_bytes,
        re.compile(rf"training/(?:{'|'.join(folders)})/g\d+/(?P<record>\w+)\.(?:hea|mat)", re.ASCII),
        re.compile(r"LICENSE\.txt"),
    )


_ALL = (
    Fetchable(
        "ptb-xl",
        "physionet",
        "ptb-xl",
        "1.0.3",
        _CC_BY,
        "Wagner et al. 2020, Scientific Data 7:154; PhysioNet ptb-xl 1.0.3, doi:10.13026/kfzx-aw45",
        21_799,
        _SECONDS_10 + 24_000,
        re.compile(r"records(?:100|500)/\d{5}/0*(?P<record>\d+)_[lh]r\.(?:hea|dat)", re.ASCII),
        re.compile(r"(?:ptbxl_database|scp_statements)\.csv|LICENSE\.txt"),
        whole_table=True,
    ),
    _challenge("georgia", 10_344, "georgia"),
    _challenge("chapman-ningbo", 45_152, "chapman_shaoxing", "ningbo"),
    _challenge("cpsc-2018", 6_877, "cpsc_2018", record_bytes=192_000),
    _challenge("cpsc-extra", 3_453, "cpsc_2018_extra", record_bytes=192_000),
    _challenge("ptb", 516, "ptb", record_bytes=2_650_000),
    _challenge("incart", 74, "st_petersburg_incart", record_bytes=11_100_000),
    Fetchable(
        "ludb",
        "physionet",
        "ludb",
        "1.0.1",
        "ODC-By 1.0",
        "Kalyakulina et al. 2020, IEEE Access 8:186181; PhysioNet ludb 1.0.1, doi:10.13026/eegm-h675",
        200,
        _SECONDS_10,
        re.compile(r"data/(?P<record>\d+)\.(?:hea|dat)", re.ASCII),
        re.compile(r"ludb\.csv|LICENSE\.txt"),
        whole_table=True,
    ),
    Fetchable(
        "mimic-iv-ecg",
        "physionet",
        "mimic-iv-ecg",
        "1.0",
        "ODbL 1.0 (ages and sexes are in MIMIC-IV, which needs credentials)",
        "Gow et al. 2023, PhysioNet mimic-iv-ecg 1.0, doi:10.13026/4nqg-sb35",
        800_035,
        _SECONDS_10,
        re.compile(r"files/p\d+/p\d+/s\d+/(?P<record>\d+)\.(?:hea|dat)", re.ASCII),
        re.compile(r"(?:record_list|machine_measurements)\.csv|LICENSE\.txt"),
        whole_table=True,
    ),
    Fetchable(
        "brugada-huca",
        "physionet",
        "brugada-huca",
        "1.0.0",
        "CC BY-SA 4.0",
        "PhysioNet brugada-huca 1.0.0, Hospital Universitario Central de Asturias",
        363,
        30_000,
        re.compile(r"files/\d+/(?P<record>\d+)\.(?:hea|dat)", re.ASCII),
        re.compile(r"metadata(?:_dictionary)?\.csv|LICENSE\.txt|RECORDS|README\.md"),
        whole_table=True,
    ),
    Fetchable(
        "code-15",
        "zenodo",
        "4916206",
        "4916206",
        _CC_BY,
        "Ribeiro et al. 2021, Zenodo, doi:10.5281/zenodo.4916206",
        345_779,
        4096 * 12 * 4,
        re.compile(r"exams_part0*(?P<record>\d+)\.zip", re.ASCII),
        re.compile(r"exams\.csv"),
        parts=20_000,
        members=re.compile(r"(?:[\w-]+/)*(?P<name>exams_part\d+\.hdf5)", re.ASCII),
        whole_table=True,
    ),
    Fetchable(
        "code-test",
        "zenodo",
        "3765780",
        "3765780",
        _CC_BY,
        "Ribeiro et al. 2020, Nature Communications 11:1760; Zenodo, doi:10.5281/zenodo.3765780",
        827,
        4096 * 12 * 8,
        re.compile(r"(?P<record>data)\.zip"),
        re.compile("(?!)"),
        parts=827,
        members=re.compile(
            r"(?:[\w-]+/)?(?P<name>ecg_tracings\.hdf5|attributes\.csv|annotations/[\w.-]+\.csv)", re.ASCII
        ),
    ),
)

SOURCES = {source.cohort: source for source in _ALL}
"""Releases that can be fetched, by cohort."""

ELSEWHERE = {
    "sph": "it is open, but at figshare: get it from https://doi.org/10.6084/m9.figshare.c.5779802",
    "code": "the whole of CODE is given out on request only: ask its authors (doi:10.17044/scilifelab.15169716)",
    "heedb": "the Harvard-Emory ECG Database needs credentials: apply at https://bdsp.io",
    "mimic-iv": "MIMIC-IV needs credentials: apply at https://physionet.org; mimic-iv-ecg does not",
}
"""Releases that cannot be fetched, and why."""


def source_of(cohort: str) -> Fetchable:
    """Return where a cohort is published.

    Raises
    ------
    EcgfmError
        If it cannot be fetched; says why.
    """
    if cohort in ELSEWHERE:
        raise EcgfmError(f"{cohort} cannot be fetched: {ELSEWHERE[cohort]}.")
    if cohort not in SOURCES:
        raise unknown_name("cohort to fetch", cohort, SOURCES)
    return SOURCES[cohort]
