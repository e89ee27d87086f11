"""Holm's correction. Apart from other statistics, as a verdict needs it and none of what they import.

References
----------
.. [1] Holm (1979), Scand. J. Stat. 6:65-70.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def holm(p_values: npt.ArrayLike) -> Floats:
    """Return Holm's adjusted p-values [1]_ of one family of checks, in the order given.

    Parameters
    ----------
    p_values : array_like, shape (m,)
        NaN (not measured) stays NaN, but still counts as a member of the family.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")  # NaN last
    scaled = p[order] * np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.where(np.isnan(scaled), np.nan, np.minimum(np.fmax.accumulate(scaled), 1.0))
    return adjusted
