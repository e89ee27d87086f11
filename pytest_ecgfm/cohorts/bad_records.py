"""Leaving out records that cannot be used, when that is asked for: each with its reason."""

from collections.abc import Callable

import numpy as np

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.limit import part_of
from pytest_ecgfm.cohorts.read_ahead import read_ahead
from pytest_ecgfm.errors import EcgfmError


def without_bad_records(
    cohort: Cohort, progress: Callable[[int, int], None] | None = None, *, workers: int | None = None
) -> tuple[Cohort, dict[str, str]]:
    """Read every record of a cohort once, and leave out those that cannot be read or hold NaN.

    Parameters
    ----------
    cohort : Cohort
        Not changed.
    progress : callable, optional
        Called with the number of records done and of all.
    workers : int, optional
        Threads, as for `Cohort.batches`.

    Returns
    -------
    Cohort
        `cohort` itself, if all is well; else one of the same kind with fewer records.
    dict of str to str
        The records left out, and why.

    Raises
    ------
    EcgfmError
        If no record is left.
    """
    reasons: dict[str, str] = {}

    def judge(record: str) -> str:
        try:
            recording = cohort.read(record)
        except EcgfmError as error:
            return str(error)
        holes = int(np.isnan(recording.signals).sum())
        return f"{holes} of {recording.signals.size} samples are NaN" if holes else ""

    ahead = read_ahead(judge, list(cohort.records), cohort.default_workers if workers is None else workers)
    for done, (record, verdict) in enumerate(ahead, start=1):
        if verdict:
            reasons[record] = verdict
        if progress is not None:
            progress(done, len(cohort))
    if not reasons:
        return cohort, {}
    if len(reasons) == len(cohort):
        raise EcgfmError(
            f"cohort {cohort.name}: none of {len(cohort)} records is usable. {next(iter(reasons.values()))}"
        )
    return part_of(cohort, ~cohort.records.isin(list(reasons)), excluded=reasons), reasons
