"""Heart rate of each record of a cohort, measured from its signals, for the quantity of this name."""

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Progress
from pytest_ecgfm.encoders import beats, heart_rate


def measured_rates(cohort: Cohort, progress: Progress) -> npt.NDArray[np.float64]:
    """Measure the heart rate of every record, in the order of ``cohort.records``.

    Parameters
    ----------
    cohort : Cohort
    progress : callable
        Told ``(done, total)`` records.

    Returns
    -------
    ndarray of float64, shape (records,)
        Beats a minute; NaN where a record is too short, sampled too slowly, or shows no two beats.

    Raises
    ------
    EcgfmError
        If a record cannot be read.
    """
    out = np.empty(len(cohort))
    for number, record in enumerate(cohort.records):
        out[number] = heart_rate.heart_rate_of(cohort.read(str(record)))
        progress(number + 1, len(cohort))
    return out


MODULES = (__name__, heart_rate.__name__, beats.__name__)
"""What measures: its code is part of the key by which rates are kept."""
