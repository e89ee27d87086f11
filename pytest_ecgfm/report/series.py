"""What the figures show, read from the cube once: the page draws it as SVG, `figures` for papers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.report.loaded import Loaded, at, estimate, numbers
from pytest_ecgfm.report.marks import Dot, Group, Line, Mark, Point
from pytest_ecgfm.report.words import Triple, percent, plain_name
from pytest_ecgfm.signals.perturbations import PERTURBATIONS
from pytest_ecgfm.signals.records import LEADS

Floats = npt.NDArray[np.float64]


class Example(NamedTuple):
    """A stretch of one record: signals in mV by lead, in Hz, and what it is a stretch of."""

    signals: Mapping[str, Floats]
    sampling_rate: float
    record: str


@dataclass(frozen=True)
class Places:
    """A map: where each record lies, and what it is.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
    records, cohorts : list of str
    labels : list of str
    positive : ndarray of bool, shape (n, labels)
        Unknown labels count as absent.
    trustworthiness, agreement : float
        See `pytest_ecgfm.evaluations.umap_map.Map`.
    """

    points: Floats
    records: list[str]
    cohorts: list[str]
    labels: list[str]
    positive: npt.NDArray[np.bool_]
    trustworthiness: float
    agreement: float

    def rarest(self) -> list[str]:
        """Return each record's rarest label, or nothing."""
        order = np.argsort(self.positive.sum(axis=0), kind="stable")
        return [next((self.labels[one] for one in order if row[one]), "") for row in self.positive]

    def some(self, most: int) -> "Places":
        """Return a seeded choice of at most so many records, in their order."""
        if len(self.records) <= most:
            return self
        rows = np.sort(np.random.default_rng(0).choice(len(self.records), most, replace=False))
        return Places(
            self.points[rows],
            [self.records[row] for row in rows],
            [self.cohorts[row] for row in rows],
            self.labels,
            self.positive[rows],
            self.trustworthiness,
            self.agreement,
        )


def styles(run: Loaded) -> dict[str, str]:
    """Return the style of each encoder: a colour and a shape for models, grey for references."""
    models = {name: f"s{1 + position % 8}" for position, name in enumerate(run.models)}
    return models | {name: f"r{1 + position % 3}" for position, name in enumerate(run.references)}


def palette(names: Sequence[str]) -> dict[str, str]:
    """Return the style of each of several cohorts or labels."""
    return {name: f"s{1 + position % 8}" for position, name in enumerate(names)}


def known(dataset: xr.Dataset | None, variable: str) -> xr.Dataset | None:
    """Return a group that has a variable."""
    return dataset if dataset is not None and variable in dataset else None


def auroc_lines(run: Loaded, cohort: str, label: str) -> list[Line]:
    """Return AUROC by share of the training patients (x: its logarithm), references first."""
    held = known(run.group("downstream"), "auroc_mean")
    if held is None:
        return []
    style, probe = styles(run), str(held["probe"].values[0])
    lines = []
    for encoder in (*run.references, *run.models):
        where = {"encoder": encoder, "cohort": cohort, "label": label, "probe": probe}
        points = [
            Point(math.log(one), percent(one), Triple(*estimate(held, "auroc_mean", **where, fraction=one)))
            for one in fractions(run)
        ]
        lines.append(Line(encoder, style.get(encoder, "r1"), tuple(points)))
    return _drawn(lines)


def fractions(run: Loaded) -> list[float]:
    """Return the shares of the training patients that were evaluated."""
    held = run.group("downstream")
    return [] if held is None else [float(one) for one in held["fraction"].values]


def auroc_limits(run: Loaded) -> tuple[float, float]:
    """Return the limits of all AUROC charts: chance to 1, or lower where an interval goes there."""
    held = known(run.group("downstream"), "auroc_mean_low")
    lows = np.array([0.5]) if held is None else held["auroc_mean_low"].values
    lowest = float(np.nanmin(lows)) if np.isfinite(lows).any() else 0.5
    return max(0.0, min(0.5, math.floor(lowest * 10) / 10)), 1.0


def bounds(run: Loaded, cohort: str, label: str) -> list[Mark]:
    """Return what the profile demands of AUROC at each share (x: its logarithm)."""
    mine = run.checks
    mine = mine[(mine["kind"] == "downstream.auroc") & (mine["cohort"] == cohort) & (mine["label"] == label)]
    found = mine.drop_duplicates("fraction")
    return [
        Mark(math.log(fraction), threshold, str(sense))
        for fraction, threshold, sense in zip(found["fraction"], found["threshold"], found["sense"], strict=True)
    ]


def transfer_cells(run: Loaded, encoder: str, label: str) -> dict[tuple[str, str], tuple[Triple, Triple]]:
    """Return AUROC and drop of each (source, target) that was evaluated."""
    held = known(run.group("transfer"), "auroc")
    if held is None:
        return {}
    out = {}
    for source in held["source"].values.astype(str).tolist():
        for target in held["target"].values.astype(str).tolist():
            where = {"encoder": encoder, "source": source, "target": target, "label": label}
            auroc, drop = (Triple(*estimate(held, name, **where)) for name in ("auroc", "drop"))
            if math.isfinite(auroc.value):
                out[source, target] = (auroc, drop)
    return out


def travelled_quantities(run: Loaded) -> tuple[str, ...]:
    """Return the quantities whose probes were tested in other cohorts."""
    held = known(run.group("quantity_transfer"), "r2")
    return () if held is None else tuple(held["quantity"].values.astype(str).tolist())


def travelled_cells(run: Loaded, encoder: str, quantity: str, variable: str) -> dict[tuple[str, str], Triple]:
    """Return what a quantity's probe is worth in another cohort, by (source, target); `variable` is of the cube."""
    held = known(run.group("quantity_transfer"), variable)
    if held is None:
        return {}
    out = {}
    for source, target in product(*(held[side].values.astype(str).tolist() for side in ("source", "target"))):
        where = {"encoder": encoder, "source": source, "target": target, "quantity": quantity}
        found = Triple(*estimate(held, variable, **where))
        if math.isfinite(found.value):
            out[source, target] = found
    return out


def stability_lines(run: Loaded, encoder: str, perturbation: str) -> list[Line]:
    """Return displacement by severity (x: its position), one line a cohort."""
    held = known(run.group("stability"), "displacement")
    if held is None:
        return []
    style = palette(run.cohorts)
    lines = []
    for cohort in run.cohorts:
        points = []
        for position, severity in enumerate(severities(perturbation)):
            where = {"encoder": encoder, "cohort": cohort, "perturbation": perturbation, "severity": severity}
            found = Triple(*estimate(held, "displacement", **where))
            points.append(Point(position, severity_text(perturbation, severity), found))
        lines.append(Line(cohort, style[cohort], tuple(points)))
    return _drawn(lines)


def severities(perturbation: str) -> tuple[float, ...]:
    """Return a perturbation's severities, the mildest first; factors by their size, on both sides of 1."""
    one = PERTURBATIONS[perturbation]
    return tuple(sorted(one.severities)) if one.units == "1" and one.parameter else one.severities


def severity_text(perturbation: str, severity: float) -> str:
    """Write a severity with its unit; a perturbation that is there or not has none."""
    one = PERTURBATIONS[perturbation]
    if not one.parameter:
        return ""
    return f"{severity:g}{f' {one.units}' if one.units and one.units != '1' else ''}"


def severity_axis(perturbation: str) -> str:
    """Name the axis of a perturbation's severities, with its unit."""
    one = PERTURBATIONS[perturbation]
    return f"severity, {(one.units if one.units != '1' else 'a factor') if one.parameter else 'on or off'}"


def _drawn(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if any(math.isfinite(point.found.value) for point in line.points)]


def lead_shares(run: Loaded, encoder: str, cohort: str, label: str) -> dict[str, Triple]:
    """Return the relevance of each of the twelve leads at the largest share; nothing where none was evaluated."""
    held = known(run.group("relevance"), "relevance")
    if held is None:
        return {}
    names = held["baseline"].values.astype(str).tolist()
    where = {"encoder": encoder, "cohort": cohort, "label": label, "fraction": float(held["fraction"].max())}
    where["baseline"] = "zero" if "zero" in names else names[0]
    shares = {lead: Triple(*estimate(held, "relevance", **where, lead=lead)) for lead in LEADS}
    return shares if any(math.isfinite(one.value) for one in shares.values()) else {}


def example_beat(run: Loaded, cohort: str) -> Example | None:
    """Return one beat of the cohort's example record, or the whole stretch where no beat is found in it."""
    from pytest_ecgfm.encoders.beats import find_beats

    held = known(run.group("examples"), "signal")
    if held is None or cohort not in held["cohort"].values.astype(str):
        return None
    here = held.sel(cohort=cohort)
    signals = here["signal"].transpose("lead", "sample").values.astype(np.float64)
    signals = signals[:, np.isfinite(signals).any(axis=0)]
    rate = float(held.attrs.get("sampling_rate", math.nan))
    if math.isfinite(rate) and signals.shape[1] >= rate:
        before, after = int(_BEFORE * rate), int(_AFTER * rate)
        whole = [
            int(peak)
            for peak in find_beats(np.nan_to_num(signals), rate).peaks
            if before <= peak <= signals.shape[1] - after
        ]
        if whole:
            signals = signals[:, whole[0] - before : whole[0] + after]
    leads = here["lead"].values.astype(str).tolist()
    record = str(here["record"].values) if "record" in here else ""
    return Example(dict(zip(leads, signals, strict=True)), rate, record)


_BEFORE, _AFTER = 0.28, 0.46  # seconds around the R peak: P wave to the end of T at usual rates


def places(run: Loaded, encoder: str) -> Places | None:
    """Return an encoder's map."""
    held = run.children("map").get(encoder)
    if held is None or "umap" not in held:
        return None
    points = held["umap"].values.astype(np.float64)
    labels = held["label"].values.astype(str).tolist() if "label" in held.coords else []
    positive = np.nan_to_num(held["labels"].values) > 0.5 if labels else np.zeros((len(points), 0), dtype=bool)
    there = np.isfinite(points).all(axis=1)
    if not there.any():
        return None
    return Places(
        points[there],
        held["record"].values.astype(str)[there].tolist(),
        held["cohort"].values.astype(str)[there].tolist(),
        labels,
        positive[there],
        float(held.attrs.get("trustworthiness", math.nan)),
        float(held.attrs.get("procrustes_agreement", math.nan)),
    )


def null_groups(run: Loaded) -> list[Group]:
    """Return class-balanced neighbour agreement with its chance level, by label and cohort."""
    held = known(run.group("separability"), "value")
    if held is None:
        return []
    style = styles(run)
    groups = []
    for label in run.labels:
        for cohort in run.cohorts:
            dots = []
            for encoder in run.models:
                where = {"encoder": encoder, "space": "embedding", "grouping": "label", "cohort": cohort}
                where |= {"label": label, "metric": "balanced_knn"}
                value, mean, sd = numbers(held, ("value", "null_mean", "null_sd"), **where)
                if math.isfinite(value):
                    dots.append(Dot(style[encoder], encoder, value, mean, sd))
            if dots:
                groups.append(Group(f"{label}, {cohort}", tuple(dots)))
    return groups


def cohort_separation(run: Loaded, encoder: str) -> tuple[dict[str, float], float]:
    """Return an encoder's Robustness Index by label, and the AUROC of a classifier of cohorts."""
    held = run.group("separability")
    if held is None:
        return {}, math.nan
    index = {
        label: float(at(held["robustness_index"], encoder=encoder, label=label))
        if "robustness_index" in held
        else math.nan
        for label in run.labels
    }
    return index, float(at(held["cohort_auroc"], encoder=encoder)) if "cohort_auroc" in held else math.nan


def perturbations(run: Loaded) -> list[str]:
    """Return the perturbations of the signal that the run has, in their customary order."""
    return [name for name in PERTURBATIONS if any(stability_lines(run, encoder, name) for encoder in run.models)]


def perturbation_title(name: str) -> str:
    """Write a perturbation as people would."""
    words = {"50hz": "50 Hz", "60hz": "60 Hz", "la": "LA", "v2": "V2"}
    return " ".join(words.get(one, one) for one in plain_name(name).split())
