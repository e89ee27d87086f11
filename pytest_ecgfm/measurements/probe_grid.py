"""The probes of a cohort's downstream grid, fitted on a cluster where one was asked for."""

from collections.abc import Callable

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.fold_probes import Fit, Fitted, Prepared, first_tested, fit_fold
from pytest_ecgfm.evaluations.probe_kinds import PROBES
from pytest_ecgfm.evaluations.splits import Fold, seeds_for
from pytest_ecgfm.results.checks import CHECKS
from pytest_ecgfm.run.run import Run

Key = tuple[str, str, float, int, int]


def fit_anywhere(run: Run, encoder: Encoder, cohort: Cohort, label: str) -> Fit:
    """Return `fit_fold` for one label; on a cluster, all that the run asks of this cohort is begun at once.

    Probes that the grid does not hold, and those of kinds that only this process knows or can hold, are fitted here.
    """
    if run.cluster is None:
        return fit_fold

    def fit(kind: str, data: Prepared, fold: Fold, fraction: float, seed: int) -> Fitted:
        begun = run.once(("probe grid", encoder.card.name, cohort.name), lambda: _begun(run, encoder, cohort))
        # Taken out: results would otherwise stay in the workers' memory.
        result = begun.pop((label, kind, fraction, seed, first_tested(fold)), None)
        return fit_fold(kind, data, fold, fraction, seed) if result is None else result()

    return fit


def _begun(run: Run, encoder: Encoder, cohort: Cohort) -> dict[Key, Callable[[], Fitted]]:
    kind = run.settings.profile.grid.probe
    if run.cluster is None or not PROBES[kind].anywhere:
        return {}
    kinds = {name for name, kind in CHECKS.items() if kind.suite == "downstream" and kind.of == "label"}
    cases = [one for one in run.settings.planned() if one.check in kinds and one.cohort == cohort.name]
    labels = {one.label: run.labelled(cohort, one.label) for one in cases}
    labels = {name: one for name, one in labels.items() if one.split is not None}
    keys: dict[Key, tuple[str, str, int, float, int]] = {}
    for one in cases:
        fraction = 1.0 if one.fraction is None else one.fraction
        split = labels[one.label].split if one.label in labels else None
        for number, fold in enumerate(split.folds if split else ()):
            for seed in seeds_for(fraction)[: run.settings.seeds]:
                keys[one.label, kind, fraction, seed, first_tested(fold)] = one.label, kind, number, fraction, seed
    results = run.cluster.fit_probes(run.embeddings(encoder, cohort), labels, keys.values())
    return dict(zip(keys, results, strict=True))
