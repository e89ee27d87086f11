"""Transfer of one probe from one cohort, or from all others, to another (docs/method.md#transfer)."""

from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.transfer import Source, fit_source, transfer
from pytest_ecgfm.measurements.downstream import evaluated
from pytest_ecgfm.results.checks import OTHERS, Case, judge
from pytest_ecgfm.results.profiles import demanded
from pytest_ecgfm.run.run import Run


def drop(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC of the target's own probe minus that of a foreign one, paired; gated where the target is unseen."""
    exposure = encoder.card.exposure(case.cohort)
    reasons = [] if exposure == "unseen" else [f"the encoder has {_PHRASES[exposure]} this cohort in pretraining"]
    few = _fewest(run, case)
    if few < _ENOUGH:
        reasons.append(f"the source has {few} training records of a class")
    advisory = "; ".join(reasons)
    at_home = Case("downstream.auroc", case.encoder, case.cohort, case.label, 1.0)
    own = evaluated(run, encoder, at_home, "logistic")
    probe = _source_probe(run, encoder, case)
    if not isinstance(own.result, DownstreamResult) or probe is None:
        where = case.cohort if own.result is None else case.source
        return Measured.insufficient(f"too few records of a class in {where} for a probe", advisory=advisory)
    tested = {"positives": own.positives, "negatives": own.negatives, "split": own.split}
    if reason := _at_chance(run, at_home, own.over_seeds()):
        return Measured.insufficient(reason, **tested, advisory=advisory)
    target = run.cohort(case.cohort)
    embeddings = run.embeddings(encoder, target)[run.labelled(target, case.label).known]
    result = transfer(probe, embeddings, own.result)
    at = {"encoder": case.encoder, "source": case.source, "target": case.cohort, "label": case.label}
    cells = (Cell("transfer", at, result.values()),)
    return Measured.of(result.drop, **tested, cells=cells, note=exposure, advisory=advisory)


def _at_chance(run: Run, case: Case, own: Measured) -> str:
    """Say why there is nothing to lose: the target's own probe does not reach its own threshold. Empty where it does.

    A profile that demands too little, or decides by the value, must not make noise travel well: the interval has to
    lie above one half in any case.
    """
    threshold = demanded(run.settings.profile, case)
    outcome, _ = judge(own.value, own.low, own.high, threshold)
    if outcome == "pass" and own.low > 0.5:
        return ""
    found = f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}]"
    return f"nothing to lose: AUROC {found} of {case.cohort}'s own probe is not shown to reach {threshold.bound:g}"


_ENOUGH = 50  # training records of a class below which a drop tells of the source's size

_PHRASES = {"seen": "seen", "unknown": "perhaps seen"}


def _sources(run: Run, case: Case) -> list[str]:
    if case.source == OTHERS:
        return [name for name in run.settings.cohorts if name != case.cohort]
    return [case.source]


def _fewest(run: Run, case: Case) -> int:
    """Count the source's training records of its rarer class."""
    counts = [0, 0]
    for name in _sources(run, case):
        labelled = run.labelled(run.cohort(name), case.label)
        if labelled.split is not None:
            targets = labelled.targets[labelled.split.folds[0].train]
            counts = [counts[0] + int(targets.sum()), counts[1] + int((~targets).sum())]
    return min(counts)


def _source_probe(run: Run, encoder: Encoder, case: Case) -> Probe | None:
    names = _sources(run, case)

    def fit() -> Probe | None:
        sources = [one for one in (_source(run, encoder, name, case.label) for name in names) if one is not None]
        return fit_source(sources) if sources else None

    return run.once(("transfer source", encoder.card.name, *names, case.label), fit)


def _source(run: Run, encoder: Encoder, name: str, label: str) -> Source | None:
    cohort = run.cohort(name)
    labelled = run.labelled(cohort, label)
    if labelled.split is None:
        return None
    embeddings = run.embeddings(encoder, cohort)[labelled.known]
    return Source(embeddings, labelled.targets, labelled.patients, labelled.split)
