"""Transfer of one probe from one cohort, or from all others, to another (docs/method.md#transfer)."""

from pytest_ecgfm.cohorts.quantities import units_of
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations.downstream import DownstreamResult
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.probes import Probe
from pytest_ecgfm.evaluations.quantities import QuantityResult
from pytest_ecgfm.evaluations.quantity_transfer import transfer_quantity
from pytest_ecgfm.evaluations.splits import strata
from pytest_ecgfm.evaluations.transfer import Source, fit_source, transfer
from pytest_ecgfm.measurements.downstream import DownstreamCell, errors_in_words, evaluated
from pytest_ecgfm.measurements.without_age import embeddings_for
from pytest_ecgfm.results.checks import OTHERS, Case, judge
from pytest_ecgfm.results.profiles import demanded
from pytest_ecgfm.results.rounded import chosen, rounded, spanned
from pytest_ecgfm.run.run import Run
from pytest_ecgfm.signals.records import FloatArray


def drop(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC of the target's own probe minus that of a foreign one, paired; gated where the target is unseen."""
    advisory = advisory_reason(run, encoder, case, "of a class", 1)
    at_home = Case("downstream.auroc", case.encoder, case.cohort, case.label, 1.0)
    own = evaluated(run, encoder, at_home, "logistic")
    probe = source_probe(run, encoder, case)
    if not isinstance(own.result, DownstreamResult) or probe is None:
        return Measured.insufficient(
            f"too few records of a class in {lacking(own, case)} for a probe", advisory=advisory
        )
    tested = {"positives": own.positives, "negatives": own.negatives, "split": own.split}
    if reason := _at_chance(run, at_home, own.over_seeds(), 0.5):
        return Measured.insufficient(reason, **tested, advisory=advisory)
    result = transfer(probe, target_embeddings(run, encoder, case), own.result)
    at = {"encoder": case.encoder, "source": case.source, "target": case.cohort, "label": case.label}
    cells = (Cell("transfer", at, result.values()),)
    return Measured.of(result.drop, **tested, cells=cells, note=encoder.card.exposure(case.cohort), advisory=advisory)


def spearman_drop(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Spearman correlation of the target's own probe of a quantity minus that of a foreign one, paired."""
    advisory = advisory_reason(run, encoder, case, "of the quantity", 2)
    at_home = Case("downstream.r2", case.encoder, case.cohort, case.label, 1.0)
    own = evaluated(run, encoder, at_home)
    probe = source_probe(run, encoder, case)
    if not isinstance(own.result, QuantityResult) or probe is None:
        return Measured.insufficient(f"too few records of {lacking(own, case)} state it for a probe", advisory=advisory)
    tested = {"records": own.positives + own.negatives, "split": own.split}
    if reason := _at_chance(run, at_home, own.over_seeds(), 0.0):
        return Measured.insufficient(reason, **tested, advisory=advisory)
    result = transfer_quantity(probe, target_embeddings(run, encoder, case), own.result)
    at = {"encoder": case.encoder, "source": case.source, "target": case.cohort, "quantity": case.label}
    cells = (Cell("quantity_transfer", at, result.values()),)
    units = units_of(run.settings.quantities[case.label], run.cohort(case.cohort))
    errors = errors_in_words(result.mae, result.spearman, units)
    note = f"{encoder.card.exposure(case.cohort)}; the foreign probe's R2 {rounded(result.r2.value)}, {errors}"
    return Measured.of(result.spearman_drop, **tested, cells=cells, note=note, advisory=advisory)


def advisory_reason(run: Run, encoder: Encoder, case: Case, what: str, classes: int) -> str:
    """Say why what a foreign probe is worth never blocks; empty where it may."""
    exposure = encoder.card.exposure(case.cohort)
    reasons = [] if exposure == "unseen" else [f"the encoder has {_PHRASES[exposure]} this cohort in pretraining"]
    few = _fewest(run, case) * classes
    if few < _ENOUGH * classes:
        reasons.append(f"the source has {few} training records {what}")
    return "; ".join(reasons)


def lacking(own: DownstreamCell, case: Case) -> str:
    """Name the cohort that has too few records for a probe."""
    return case.cohort if own.result is None else case.source


def target_embeddings(run: Run, encoder: Encoder, case: Case) -> FloatArray:
    """Embed the records of the target whose label, or quantity, is known."""
    target = run.cohort(case.cohort)
    return run.labelled(target, case.label).of(embeddings_for(run, encoder, target, case.label))


def _at_chance(run: Run, case: Case, own: Measured, chance: float) -> str:
    """Say why there is nothing to lose: the target's own probe does not reach its own threshold. Empty where it does.

    A profile that demands too little, or decides by the value, must not make noise travel well: the interval has to
    lie above `chance` in any case.
    """
    threshold = demanded(run.settings.profile, case)
    outcome, _ = judge(own.value, own.low, own.high, threshold)
    if outcome == "pass" and own.low > chance:
        return ""
    found = spanned(own.value, own.low, own.high)
    name = "AUROC" if case.check == "downstream.auroc" else "R2"
    least = chosen(threshold.bound)
    return f"nothing to lose: {name} {found} of {case.cohort}'s own probe is not shown to reach {least}"


_ENOUGH = (
    50  # training records of a class, or on either side of a median, below which a drop tells of the source's size
)

_PHRASES = {"seen": "seen", "unknown": "perhaps seen"}


def sources_of(run: Run, case: Case) -> list[str]:
    """Name the cohorts that the probe comes from."""
    if case.source == OTHERS:
        return [name for name in run.settings.cohorts if name != case.cohort]
    return [case.source]


def _fewest(run: Run, case: Case) -> int:
    """Count the source's training records of its rarer class; of a quantity, on the smaller side of its median."""
    counts = [0, 0]
    for name in sources_of(run, case):
        labelled = run.labelled(run.cohort(name), case.label)
        if labelled.split is not None:
            targets = strata(labelled.targets[labelled.split.folds[0].train])
            counts = [counts[0] + int(targets.sum()), counts[1] + int((~targets).sum())]
    return min(counts)


def source_probe(run: Run, encoder: Encoder, case: Case) -> Probe | None:
    """Fit the probe of the source, once in a process; None where its training records lack a class."""

    def fit() -> Probe | None:
        sources = source_parts(run, encoder, case)
        return fit_source(sources) if sources else None

    return run.once(("transfer source", encoder.card.name, *sources_of(run, case), case.label), fit)


def source_parts(run: Run, encoder: Encoder, case: Case) -> list[Source]:
    """Return the records of each source cohort that has enough for a split."""
    found = (_source(run, encoder, name, case.label) for name in sources_of(run, case))
    return [one for one in found if one is not None]


def _source(run: Run, encoder: Encoder, name: str, label: str) -> Source | None:
    cohort = run.cohort(name)
    labelled = run.labelled(cohort, label)
    if labelled.split is None:
        return None
    embeddings = labelled.of(embeddings_for(run, encoder, cohort, label))
    return Source(embeddings, labelled.targets, labelled.patients, labelled.split)
