"""AUROCs that rounding cannot move by a pair at a time.

References
----------
.. [1] Zou, Hall, Shapiro (1997), Stat. Med. 16:2143-2156: smooth estimates of the ROC curve.
"""

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.evaluations.statistics.variance import Floats, checked

WIDTH = 0.1
"""SDs of the scores over which a pair of records goes from one order to the other."""


def smoothed_aurocs(scores: npt.ArrayLike, targets: npt.ArrayLike, width: float = WIDTH) -> Floats:
    """Return the AUROC of each row of scores, in which near pairs count in part: shape (k,), in [0, 1].

    Of a positive and a negative record, the AUROC counts 1 where the positive has the higher score, else 0: the last
    digit of a score may turn a pair over. Here the count grows evenly, from 0 where the positive lies `width` SDs below
    the negative to 1 where it lies as much above: the AUROC with each score spread out by a uniform kernel [1]_.

    Parameters
    ----------
    scores : array_like, shape (k, n) or (n,)
        Finite. Only differences in SDs of the row count, not its mean or its scale.
    targets : array_like of bool, shape (n,)
    width : float
        Positive, in SDs of the row's scores.

    Returns
    -------
    ndarray of float64, shape (k,)
        NaN where a class is missing; 0.5 where all scores are the same.

    Raises
    ------
    EcgfmError
        If shapes disagree.
    """
    rows, labels = checked(scores, targets)
    return np.array([_smoothed(row[labels], np.sort(row[~labels]), width * float(row.std())) for row in rows])


def _smoothed(positive: Floats, negative: Floats, reach: float) -> float:
    if not positive.size or not negative.size:
        return float("nan")
    if reach == 0:
        return 0.5
    below = np.searchsorted(negative, positive - reach)
    near = np.searchsorted(negative, positive + reach) - below
    # Sums from the mean on keep the digits that those of large scores lose.
    centre = negative.mean()
    sums = np.concatenate([[0.0], np.cumsum(negative - centre)])
    partly = near * (positive - centre + reach) - (sums[below + near] - sums[below])
    return float((below + partly / (2 * reach)).sum() / (positive.size * negative.size))
