"""Published layouts, read as records with harmonised labels; and the cohorts that come with the package."""

from collections.abc import Callable
from pathlib import Path

from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.errors import EcgfmError

__all__ = ["LABELS", "Cohort", "available_cohorts", "load_cohort"]


def available_cohorts(root: Path | None) -> tuple[str, ...]:
    """Name the cohorts found below `root`, or the embedded ones if there is no `root`.

    Raises
    ------
    EcgfmError
        If `root` is no folder, or holds no cohort.
    """
    if root is None:
        from pytest_ecgfm.cohorts.synthetic import SPECS

        return tuple(SPECS)
    from pytest_ecgfm.cohorts.discovery import LAYOUTS, discover

    if not root.is_dir():
        raise EcgfmError(f"data folder {root}: no such folder.")
    found = tuple(discover(root))
    if not found:
        known = ", ".join(dict.fromkeys(name for layout in LAYOUTS for name in layout.names))
        raise EcgfmError(
            f"data folder {root}: no cohort found. Layouts that are recognised: {known}; "
            "and a folder of WFDB records whose labels.csv has a column `record` and at least one column of a label."
        )
    return found


def load_cohort(
    name: str,
    root: str | Path | None = None,
    *,
    sampling_rate: float | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip_bad: bool = False,
) -> Cohort:
    """Load a cohort. Its table and labels are read now, its signals only when they are needed.

    Parameters
    ----------
    name : str
        Such as ``"ptb-xl"`` or ``"synthetic-europe"``.
    root : path, optional
        Folder that contains it, at any depth. Not for embedded cohorts.
    sampling_rate : float, optional
        In Hz, for cohorts that are published at several rates.
    cache : Path, optional
        Where embedded cohorts keep their signals; in memory by default.
    progress : callable, optional
        Called with the number of records generated and of all, for embedded cohorts.
    skip_bad : bool
        Leave out records whose header is malformed or whose files are missing, instead of raising an error; the reason
        is then in the cohort's `excluded`. For problems that can be seen only when signals are read, use
        `bad_records.without_bad_records`.

    Raises
    ------
    EcgfmError
        If there is no such cohort; the message lists those that were found.
    """
    if root is not None:
        from pytest_ecgfm.cohorts.discovery import load_cohort as load

        return load(name, Path(root), sampling_rate=sampling_rate, skip_bad=skip_bad)
    from pytest_ecgfm.cohorts.synthetic import SPECS, load_embedded
    from pytest_ecgfm.errors import unknown_name

    if name not in SPECS:
        raise unknown_name("embedded cohort", name, SPECS)
    return load_embedded(name, cache=cache, progress=progress)
