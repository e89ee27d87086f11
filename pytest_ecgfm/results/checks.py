"""Checks: what they are called, and which cells they have. `judging` says how a value becomes an outcome."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.results.check_kind import CheckKind as CheckKind
from pytest_ecgfm.results.check_kind import Target
from pytest_ecgfm.results.judging import GATED_POSITIVES as GATED_POSITIVES
from pytest_ecgfm.results.judging import GATED_RECORDS as GATED_RECORDS
from pytest_ecgfm.results.judging import MINIMUM_POSITIVES as MINIMUM_POSITIVES
from pytest_ecgfm.results.judging import MINIMUM_RECORDS as MINIMUM_RECORDS
from pytest_ecgfm.results.judging import SIDE as SIDE
from pytest_ecgfm.results.judging import Outcome as Outcome
from pytest_ecgfm.results.judging import Threshold as Threshold
from pytest_ecgfm.results.judging import Tier as Tier
from pytest_ecgfm.results.judging import applicable_tier as applicable_tier
from pytest_ecgfm.results.judging import enough as enough
from pytest_ecgfm.results.judging import evidence as evidence
from pytest_ecgfm.results.judging import judge as judge
from pytest_ecgfm.results.judging import may_be_chance as may_be_chance
from pytest_ecgfm.signals.perturbations import VARIANTS

LAST = "contract.unchanged"
"""The check that looks back on the whole run: judged after all others."""

DECLARED = "*"
"""In place of a check's name in a suite: all checks that others declared."""

COORDINATES = ("source", "cohort", "label", "fraction", "reference", "baseline", "perturbation", "space")
"""What a check can be evaluated for, in the order in which its cells are named."""

SPACES = ("embedding", "selected", "umap")
"""Spaces of the separability suite: z-scored, its dimensions of highest relevance, two dimensions by UMAP."""

OTHERS = "others"
"""As the source of a transfer: all other cohorts together."""

_DEFINITION = "docs/method.md#"


def _kind(
    name: str, title: str, *cells: str, limits: tuple[float, float] = (-math.inf, math.inf), of: Target = "label"
) -> CheckKind:
    return CheckKind(name, title, _DEFINITION + name, cells, limits, of=of)


_SHARE, _DIFFERENCE, _ANY = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
_ADJUSTED = (-math.inf, 1.0)
_R2, _R2_DIFFERENCE = (-math.inf, 1.0), (-math.inf, math.inf)
_LABEL = ("cohort", "label")
_CELL = (*_LABEL, "fraction")

_APART = "Largest distance between embeddings of a record, as a multiple of the distance between records,"

CHECKS: dict[str, CheckKind] = {}
"""Every check there is, the package's own and those that others declare."""


def register(kind: CheckKind) -> None:
    """Add a check: the one door for the package's own checks and for those of others.

    Raises
    ------
    EcgfmError
        If the name, or the suite of a check that somebody else declares, is taken.
    """
    if kind.name in CHECKS:
        held = CHECKS[kind.name].where or "pytest-ecgfm itself"
        raise EcgfmError(f"{kind.where}: a check named {kind.name!r} is already declared by {held}.")
    ours = {one.suite for one in CHECKS.values() if not one.where}
    if kind.where and kind.suite in ours:
        raise EcgfmError(
            f"{kind.where}: the check {kind.name!r} begins with the name of a suite of pytest-ecgfm; "
            f"begin it with a name of your own, such as 'mine.{kind.name.partition('.')[2]}'."
        )
    CHECKS[kind.name] = kind


for _one in (
    _kind("contract.repeatable", f"{_APART} in two passes", "cohort", limits=_ANY),
    _kind("contract.batch", f"{_APART} in batches of one, of many, and in another order", "cohort", limits=_ANY),
    _kind("contract.frozen", "Parameters and buffers that changed while embedding", "cohort", limits=_ANY),
    _kind("contract.lead_order", f"{_APART} with its leads in another order", "cohort", limits=_ANY),
    _kind("contract.declared_leads", "Share of leads that are read if, and only if, the card declares them", "cohort"),
    _kind("contract.declared_seconds", "Share of the card's seconds that are read, in quarters", "cohort"),
    _kind("contract.hard_records", "Share of unusual records that are embedded, or refused clearly", "cohort"),
    _kind("contract.generated", "Share of generated records that are embedded, or refused clearly"),
    _kind("contract.unchanged", f"{_APART} at the beginning and at the end of the run", "cohort", limits=_ANY),
    _kind("contract.memory", "Memory that a pass leaves behind, divided by the size of its records", limits=_ANY),
    _kind("downstream.auroc", "AUROC of a linear probe", *_CELL, limits=_SHARE),
    _kind(
        "downstream.auroc_gain",
        "AUROC minus that of a reference encoder on the same records",
        *_CELL,
        "reference",
        limits=_DIFFERENCE,
    ),
    _kind(
        "downstream.auroc_change",
        "AUROC minus that of an earlier run on the same records",
        "cohort",
        "label",
        "baseline",
        limits=_DIFFERENCE,
    ),
    _kind("downstream.macro_auroc", "Mean AUROC over a named set of labels", *_CELL, limits=_SHARE, of="set"),
    _kind("downstream.r2", "R2 of a linear probe of a quantity", *_CELL, limits=_R2, of="quantity"),
    _kind(
        "downstream.r2_gain",
        "R2 minus that of a reference encoder on the same records",
        *_CELL,
        "reference",
        limits=_R2_DIFFERENCE,
        of="quantity",
    ),
    _kind(
        "downstream.r2_change",
        "R2 minus that of an earlier run on the same records",
        "cohort",
        "label",
        "baseline",
        limits=_R2_DIFFERENCE,
        of="quantity",
    ),
    _kind(
        "downstream.sensitivity",
        "Sensitivity at a threshold that was chosen on the training patients",
        *_LABEL,
        limits=_SHARE,
    ),
    _kind("subgroups.worst", "Lowest AUROC of a group of patients", *_LABEL, limits=_SHARE),
    _kind(
        "subgroups.gap",
        "Largest gap between the AUROC of a group of patients and that of the rest",
        *_LABEL,
        limits=_DIFFERENCE,
    ),
    _kind(
        "transfer.drop",
        "AUROC of a probe of this cohort minus that of another cohort's probe, on the same records",
        "source",
        "cohort",
        "label",
        limits=_DIFFERENCE,
    ),
    _kind(
        "transfer.spearman_drop",
        "Spearman correlation of a probe of this cohort minus that of another cohort's probe, on the same records",
        "source",
        "cohort",
        "label",
        limits=(-2.0, 2.0),
        of="quantity",
    ),
    _kind(
        "transfer.sensitivity",
        "Sensitivity of another cohort's probe, at a threshold that was chosen there",
        "source",
        "cohort",
        "label",
        limits=_SHARE,
    ),
    _kind("stability.effective_rank", "Effective rank of the embedding: has it collapsed?", "cohort", limits=_ANY),
    _kind(
        "stability.displacement",
        "Distance to the clean embedding, in units of the distance between patients",
        "cohort",
        "perturbation",
        limits=_ANY,
    ),
    _kind(
        "stability.retrieval",
        "Share of perturbed records whose nearest record is their clean twin",
        "cohort",
        "perturbation",
        limits=_SHARE,
    ),
    _kind(
        "stability.auroc_drop",
        "AUROC on clean minus AUROC on perturbed records, mean over labels",
        "cohort",
        "perturbation",
        limits=_DIFFERENCE,
    ),
    _kind(
        "stability.noticed",
        "Displacement by a change that should be noticed",
        "cohort",
        "perturbation",
        limits=_ANY,
    ),
    _kind(
        "stability.retest",
        "Distance between the halves of a record, in units of the distance between patients",
        "cohort",
        limits=_ANY,
    ),
    _kind("stability.precision", "Displacement by bfloat16 instead of float32", "cohort", limits=_ANY),
    _kind("stability.history", "Displacement of new records by similar ones embedded before", "cohort", limits=_ANY),
    replace(
        _kind("relevance.efficiency", "Largest error of a sum of Shapley values", "cohort", limits=_ANY),
        arithmetic=True,
    ),
    _kind("relevance.shuffled_labels", "Agreement with probes of shuffled labels", *_LABEL, limits=_SHARE),
    _kind("relevance.baselines", "Agreement of lead profiles over two baselines", *_LABEL, limits=_SHARE),
    _kind("relevance.cohorts", "Agreement of lead profiles over cohorts", "label", limits=_SHARE),
    _kind("relevance.concentration", "Relevance of the most relevant lead", *_LABEL, limits=_SHARE),
    _kind(
        "relevance.deletion",
        "AUROC lost without the most relevant leads, minus AUROC lost without random ones",
        *_LABEL,
        limits=_DIFFERENCE,
    ),
    _kind("relevance.prior", "Agreement with the leads where cardiologists look", *_LABEL, limits=_ANY),
    _kind(
        "relevance.selected_auroc",
        "AUROC on the dimensions of highest relevance alone",
        "cohort",
        "label",
        limits=_SHARE,
    ),
    _kind(
        "separability.neighbours",
        "Class-balanced neighbour agreement above chance",
        *_LABEL,
        "space",
        limits=_ADJUSTED,
    ),
    _kind(
        "separability.robustness",
        "Robustness Index: whether neighbours share the label or the cohort, mean over pairs",
        "label",
        limits=_SHARE,
    ),
    _kind("separability.cohort_auroc", "AUROC of a classifier of cohorts", limits=_SHARE),
    _kind("separability.trustworthiness", "Trustworthiness of the map by UMAP", limits=_SHARE),
):
    register(_one)


def is_declared(check: str) -> bool:
    """Say whether somebody else declared a check."""
    return check in CHECKS and CHECKS[check].evaluate is not None


def forget_declared() -> None:
    """Remove the checks that others declared: they belong to one pytest run."""
    for name in [name for name, kind in CHECKS.items() if kind.where]:
        del CHECKS[name]


def suites() -> tuple[str, ...]:
    """Names of all suites, in the order in which they run: the package's own first."""
    return tuple(dict.fromkeys(kind.suite for kind in CHECKS.values()))


SUITES = suites()
"""Names of the package's own suites, in the order in which they run."""


@dataclass(frozen=True)
class Case:
    """One cell of one check: what a parametrised test evaluates. Coordinates that the check does not use are empty."""

    check: str
    encoder: str
    cohort: str = ""
    label: str = ""
    fraction: float | None = None
    reference: str = ""
    source: str = ""
    perturbation: str = ""
    space: str = ""
    baseline: str = ""

    @property
    def cell(self) -> str:
        """The part in square brackets of `name`."""
        source = f"from-{self.source}" if self.source else ""
        fraction = "" if self.fraction is None else f"{self.fraction:.6g}"
        reference = f"vs-{self.reference}" if self.reference else ""
        baseline = f"since-{self.baseline}" if self.baseline else ""
        parts = (source, self.cohort, self.label, fraction, reference, baseline, self.perturbation, self.space)
        return ",".join(part for part in parts if part)

    @property
    def name(self) -> str:
        """Name of the check with its cell; the same in every installation, unlike pytest's node ids."""
        return f"{self.check}[{self.cell}]" if self.cell else self.check

    @property
    def family(self) -> str:
        """Checks that are corrected together: all cells of this one, against the same reference or earlier run."""
        against = f" vs-{self.reference}" if self.reference else ""
        return f"{self.check}{against}{f' since-{self.baseline}' if self.baseline else ''}"

    @property
    def id(self) -> str:
        """What pytest shows in brackets."""
        return "-".join((self.encoder, *(part for part in self.cell.split(",") if part)))


def family_of(case: Case, threshold: Threshold) -> tuple[str, str, str]:
    """Return which cells are corrected together: those that can block are a family of their own."""
    return case.encoder, case.family, threshold.tier


def cells(
    encoder: str,
    *,
    cohorts: tuple[str, ...],
    labels: tuple[str, ...],
    fractions: tuple[float, ...],
    references: tuple[str, ...],
    baselines: tuple[str, ...] = (),
    suites: tuple[str, ...],
    quantities: tuple[str, ...] = (),
    sets: tuple[str, ...] = (),
) -> Iterator[Case]:
    """Enumerate the cells of every check of the chosen suites, for one encoder."""
    grid: dict[str, tuple[Any, ...]] = {
        "source": (*cohorts, *((OTHERS,) if len(cohorts) > 2 else ())),
        "cohort": cohorts,
        "fraction": fractions,
        # An encoder is not compared with itself.
        "reference": tuple(name for name in references if name != encoder),
        "baseline": baselines,
        "perturbation": tuple(VARIANTS),
        "space": SPACES,
    }
    named = {"label": labels, "quantity": quantities, "set": sets}
    for kind in CHECKS.values():
        if kind.suite not in suites:
            continue
        grid["label"] = named[kind.of]
        for values in product(*(grid[name] for name in kind.cells)):
            case = Case(kind.name, encoder, **dict(zip(kind.cells, values, strict=True)))
            # Nothing is transferred from a cohort to itself.
            if not case.source or case.source != case.cohort:
                yield case
