"""Part of a cohort, such as for a dry run."""

from collections.abc import Mapping
from copy import copy

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.published import PublishedCohort


def limited(cohort: Cohort, records: int, *, seed: int = 0) -> Cohort:
    """Take at most so many records: whole patients, chosen by a seed, with the labels' shares kept.

    Parameters
    ----------
    cohort : Cohort
        Not changed.
    records : int
        Upper bound.
    seed : int
        Of the choice.

    Returns
    -------
    Cohort
        Of the same kind, with fewer records.
    """
    if len(cohort) <= records:
        return cohort
    # Patients are laid out in the order of their label combination, shuffled within it; every k-th is then a
    # sample in which each combination keeps its share.
    patients = cohort.patients
    signature = cohort.labels.astype("Int8").fillna(-1).astype(str).agg("".join, axis=1).groupby(patients).max()
    order = np.random.default_rng(seed).permutation(len(signature))
    shuffled = signature.iloc[order].sort_values(kind="stable")
    sizes = patients.value_counts()
    positions = np.argsort((np.arange(len(shuffled)) * 0.6180339887498949) % 1.0, kind="stable")
    chosen, held = [], 0
    for patient in shuffled.index[positions]:
        if held + sizes[patient] <= records:
            chosen.append(patient)
            held += int(sizes[patient])
    return part_of(cohort, patients.isin(chosen).to_numpy())


def part_of(cohort: Cohort, keep: npt.NDArray[np.bool_], *, excluded: Mapping[str, str] | None = None) -> Cohort:
    """Return a cohort of the same kind with some of the records.

    Parameters
    ----------
    cohort : Cohort
        Not changed.
    keep : ndarray of bool, shape (records,)
        Which ones.
    excluded : mapping of str to str, optional
        Why others are left out; added to what the cohort itself leaves out.
    """
    part = copy(cohort)
    part.__dict__.pop("digest", None)
    part.table = cohort.table[keep]
    part.labels = cohort.labels[keep]
    part.columns = cohort.columns[keep]
    if excluded and isinstance(part, PublishedCohort):
        part.excluded = {**part.excluded, **excluded}
    return part
