"""MIMIC-IV-ECG (USA): ``record_list.csv``, WFDB records, and the electrocardiograph's own statements as labels.

Source: Gow et al. 2023, PhysioNet mimic-iv-ecg 1.0. Ages and sexes are in MIMIC-IV itself, under another licence:
unknown here.
"""

import re
from functools import lru_cache
from pathlib import Path

from pytest_ecgfm.cohorts.folders import Folder, first_few
from pytest_ecgfm.cohorts.harmonise import harmonise, vocabulary
from pytest_ecgfm.cohorts.tables import cohort_table, identifiers, keyed, read_table, rows_here
from pytest_ecgfm.cohorts.wfdb_files import WfdbCohort
from pytest_ecgfm.errors import EcgfmError

TABLE = "record_list.csv"
"""The table that the layout is recognised by, with `MEASUREMENTS` beside it."""

MEASUREMENTS = "machine_measurements.csv"
"""The table of statements."""

REPORTS = tuple(f"report_{number}" for number in range(18))
"""Columns of statements."""

NO_SUMMARY = "no summary"
"""Stands for a record whose statements do not sum up whether the ECG is normal."""


def _anywhere(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9/])(?:{words})(?![a-z0-9/])")


_SUMMARIES = re.compile(r"\b(?:ab)?normal (?:rhythm )?ecg\b|\bborderline ecg\b")
# Reservation, negation or the past: what follows, up to the end of the sentence, is not asserted.
_BEFORE = _anywhere(
    r"possibl[ey]|probabl[ey]|probability|likely|consider(?:ed|ing)?|suspect(?:ed)?|suspicious|suspicion|borderline"
    r"|rule[sd]? out|r/o|exclud(?:e[sd]?|ing)|may|might|could|suggest(?:s|ed|ing|ive)?|question(?:able)?|equivocal"
    r"|perhaps|presumed|presumably|versus|vs|differential|cannot|uncertain|unclear|indeterminate|doubtful"
    r"|no|not|without|absen(?:ce|t)|negative|neither|nor|denies|lack(?:s|ing)?|free of|instead of|rather than"
    r"|(?:replac|supersed)(?:e[sd]?|ing)(?! by| with)|previous(?:ly)?|prior|former(?:ly)?|earlier|past|history|hx|h/o"
    r"|compared|since|resol(?:ved|ution)|disappear(?:ed|ance)|converted from|changed from|was|were|used to"
)
# What comes before these in its clause is not asserted.
_AFTER = _anywhere(
    r"no longer|not (?:present|seen|evident|confirmed|excluded|detected|identified|apparent|noted|found|diagnostic|met)"
    r"|resolved|absent|disappeared|gone|ceased|rule[sd]? out|excluded|(?:replaced|superseded) (?:by|with)"
    r"|g[ai]ven? way to|(?:converted|changed|reverted) (?:in)?to|(?:can not|cannot) be|suspected|questionable|equivocal"
    r"|(?:is|are|was|were|be) (?:possible|probable|likely|unlikely|uncertain|unclear|doubtful)|unlikely|in the past"
    r"|previously|was|were|vs|versus"
)
# A clause of nothing but these and the above speaks of what stands before it: "AF, which is no longer present".
_FILL = _anywhere(
    r"is|are|has|have|been|be|now|which|that|both|it|they|this|these|as|by|the|a|to|of|but|and|also|present|seen"
    r"|evident|today|currently|here|clinically|only|criteria|diagnosis|finding"
)
_INCOMPLETE = _anywhere("incomplete")
_BUNDLE = r"(?:left |right )?bundle branch block|[lr]bbb"
# "RBBB, incomplete" is "incomplete RBBB", unless what follows is a block that "incomplete" belongs to.
_TURNED = re.compile(rf"\b({_BUNDLE}) incomplete\b(?! (?:{_BUNDLE}|left|right))")
_SENTENCE = re.compile(r"[.;](?=\s|$)")
_CLAUSE = re.compile(r"[,()\[\]]|:(?=\s|$)|(?<=\s)-+(?=\s)")
_CHECKED = 200
_SHOWN = 80


@lru_cache(maxsize=1)
def _phrases() -> re.Pattern[str]:
    """Return a pattern of the phrases of ``labels/mimic_iv_ecg.csv``, longer ones first, so that they are preferred."""
    longest_first = sorted(vocabulary("mimic_iv_ecg").rules, key=lambda phrase: (-len(phrase), phrase))
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![a-z0-9])")


def _plain(text: str) -> str:
    """Return words in lower case, one blank between them."""
    return " ".join(re.sub(r"[^a-z0-9:/]+", " ", text.lower()).split())


@lru_cache(maxsize=65536)
def parse_statement(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the phrases of the label table that one statement holds, and those that it does not assert.

    A phrase within a longer one does not count: "incomplete right bundle branch block" is no right bundle branch block.
    Within a sentence, a reservation ("possible", "rule out"), a negation ("no", "without") or the past ("previously",
    "has replaced") holds for what follows; one at the end of a clause ("AF, possible") and words such as "no longer
    present" or "cannot be excluded" hold for what comes before; a question mark holds for the whole sentence.

    Parameters
    ----------
    text : str
        Such as ``"Sinus rhythm with borderline 1st degree A-V block"``.
    """
    sure: set[str] = set()
    doubtful: set[str] = set()
    for sentence in _SENTENCE.split(text):
        said, unsure = _parse_sentence(sentence)
        sure |= said
        doubtful |= unsure
    return frozenset(sure), frozenset(doubtful - sure)


def _parse_sentence(text: str) -> tuple[set[str], set[str]]:
    """As `parse_statement`, of one sentence."""
    clauses = [clause for clause in map(_plain, _CLAUSE.split(text.lower().replace("partial", "incomplete"))) if clause]
    # Phrases may run over the end of a clause: "normal ECG, except for rate".
    plain = _TURNED.sub(r"incomplete \1", " ".join(clauses))
    found = list(_phrases().finditer(plain))
    # "Borderline ECG" is a phrase of its own, no reservation: phrases are blanked before reservations are looked for.
    blank = _phrases().sub(lambda match: "." * len(match[0]), plain)
    open_until = _not_asserted(blank, [len(clause) for clause in clauses])
    before = _BEFORE.search(blank)
    until = before.start() if before else len(plain)
    # "Left and right bundle branch block, both incomplete": neither is said to be complete.
    incomplete = _INCOMPLETE.search(blank) is not None
    sure: set[str] = set()
    doubtful: set[str] = set()
    for match in found:
        vague = incomplete and re.fullmatch(_BUNDLE, match[0]) is not None
        retracted = any(start <= match.start() < stop for start, stop in open_until)
        asserted = "?" not in text and match.start() < until and not retracted and not vague
        (sure if asserted else doubtful).add(match[0])
    return sure, doubtful


def _not_asserted(blank: str, lengths: list[int]) -> list[tuple[int, int]]:
    """Return the stretches of a sentence that words after them retract, from its clauses' lengths."""
    out = []
    start = 0
    for length in lengths:
        clause = blank[start : start + length]
        retracting = [match.start() for match in _AFTER.finditer(clause)]
        retracting += [match.start() for match in _BEFORE.finditer(clause) if match.end() == length]
        if retracting:
            bare = not _FILL.sub("", _BEFORE.sub("", _AFTER.sub("", clause))).strip()
            out.append((0 if bare else start, start + max(retracting)))
        start += length + 1
    return out


def parse_report(statements: list[str]) -> tuple[set[str], set[str]]:
    """Return the phrases that a record's statements make, and those that they do not assert.

    A report of which nothing is understood, or nothing but whether the ECG is normal, says nothing of the labels: its
    statements are returned as they stand, so that they count as codes that no table holds.

    Parameters
    ----------
    statements : list of str
        Of one record; none where the machine said nothing.
    """
    sure: set[str] = set()
    doubtful: set[str] = set()
    unknown: set[str] = set()
    for statement in statements:
        said, reserved = parse_statement(statement)
        sure |= said
        doubtful |= reserved
        if not said and not reserved:
            unknown.add(statement[:_SHOWN])
    summaries = {phrase for phrase in sure | doubtful if _SUMMARIES.search(phrase)}
    if not (sure | doubtful) - summaries:
        sure |= unknown
    if statements and not summaries & sure:
        sure.add(NO_SUMMARY)
    return sure, doubtful - sure


class MimicIvEcg(WfdbCohort):
    """MIMIC-IV-ECG.

    Parameters
    ----------
    root : Path
        The folder of ``record_list.csv`` and ``machine_measurements.csv``.
    skip_bad : bool
        Leave missing files to be found when records are read, rather than raise.

    Raises
    ------
    EcgfmError
        If a table is malformed, a record has no statements row, or files are missing.

    Notes
    -----
    A record's name is its ``study_id``. The leads are stored as I, II, III, aVR, aVF, aVL, V1 to V6 and read by name.
    Of the 800,000 files, 200 spread over the release are looked for; the others are an error when they are read.
    """

    def __init__(self, root: Path, *, skip_bad: bool = False) -> None:
        folder = Folder(root)
        path = folder.root / TABLE
        rows = read_table(folder, path, ("subject_id", "study_id", "path"))
        rows.index = rows["study_id"]
        rows["study_id"] = identifiers(rows, "study_id", path)
        rows, caution = rows_here(folder, keyed(rows, "study_id", path), "study_id")
        records = list(rows.index)
        names = dict(zip(records, rows["path"], strict=True))
        headers = {record: folder.root / f"{name}.hea" for record, name in names.items()}
        # Names that lead out of the folder are refused at the latest when a record is read.
        checked = [] if skip_bad else records[:: max(1, len(records) // _CHECKED)]
        for record in checked:
            folder.join(f"{names[record]}.hea", where=f"{path}: record {record!r}: path")
        missing = [
            f"record {record!r} ({names[record]})"
            for record in checked
            if not (headers[record].is_file() and headers[record].with_suffix(".dat").is_file())
        ]
        if missing:
            raise EcgfmError(
                f"{path}: {len(missing)} of {len(checked)} records that were checked are missing: {first_few(missing)}."
            )
        parsed = _read_reports(folder, records)
        harmonised = harmonise(
            {record: sure for record, (sure, _) in parsed.items()},
            "mimic_iv_ecg",
            source="mimic-iv-ecg",
            doubtful={record: unsure for record, (_, unsure) in parsed.items()},
        )
        super().__init__(
            "mimic-iv-ecg",
            folder,
            headers,
            continent="North America",
            table=cohort_table(
                records,
                patients=identifiers(rows, "subject_id", path),
                ages=[float("nan")] * len(records),
                sexes=[""] * len(records),
            ),
            labels=harmonised.labels,
            codes=harmonised.codes,
            sampling_rate=500,
            has_patients=True,
            label_notes=harmonised.notes,
            unmapped=harmonised.unmapped,
            caution=caution,
        )


def _read_reports(folder: Folder, records: list[str]) -> dict[str, tuple[set[str], set[str]]]:
    """Return the parsed statements of each record.

    Raises
    ------
    EcgfmError
        If the table is malformed, or lacks a record.
    """
    path = folder.root / MEASUREMENTS
    rows = read_table(folder, path, ("study_id",), optional=REPORTS)
    columns = [column for column in REPORTS if column in rows]
    if not columns:
        raise EcgfmError(f"{path}: no column of statements ({REPORTS[0]} to {REPORTS[-1]}).")
    rows.index = rows["study_id"]
    rows["study_id"] = identifiers(rows, "study_id", path)
    rows = keyed(rows, "study_id", path)
    said = dict(zip(rows.index, zip(*(rows[column] for column in columns), strict=True), strict=True))
    missing = [record for record in records if record not in said]
    if missing:
        raise EcgfmError(f"{path}: no row for {len(missing)} of {len(records)} records: {first_few(missing)}.")
    return {record: parse_report([text for text in said[record] if text]) for record in records}
