"""Separability of labels and cohorts for one encoder (docs/method.md#separability)."""

import math
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.embeddings import Part, Progress
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.evaluations import separability as evaluation
from pytest_ecgfm.evaluations.clusters import Space
from pytest_ecgfm.evaluations.geometry import intrinsic_dimension
from pytest_ecgfm.evaluations.measured import Cell, Measured
from pytest_ecgfm.evaluations.separability import Adjusted
from pytest_ecgfm.evaluations.umap_map import Map, umap_map
from pytest_ecgfm.measurements.features import dimensions, selected_in
from pytest_ecgfm.measurements.pair_metrics import Pair, pair_metrics
from pytest_ecgfm.measurements.record_probes import record_probes
from pytest_ecgfm.results.checks import Case, enough, judge
from pytest_ecgfm.results.profiles import demanded
from pytest_ecgfm.run.run import Run

Rows = npt.NDArray[np.intp]

MAP_MODULES = (umap_map.__module__,)
"""What draws the map."""

_CLUSTERED = 1000  # records that clustering algorithms see, at most
_DRAWN_BY = ("umap-learn", "pynndescent", "scikit-learn")  # another version may draw another map
_FLOOR = 0.8  # trustworthiness below which a map gates nothing, where the profile does not say


def neighbours(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Class-balanced agreement of the 10 nearest neighbours above chance, and the paper's metrics for the cube."""
    cohort = run.cohort(case.cohort)
    probes = record_probes(run, encoder, cohort, case.label)
    if probes is None:
        missing = f"too few records of a class of {case.label} in {case.cohort}"
        return Measured.insufficient(missing)
    if case.space == "selected":
        found, positives, negatives = _in_selected(run, encoder, cohort, case.label)
    else:
        found, positives, negatives = _in_space(run, encoder, cohort, case.label, case.space)
    cells = _label_cells(run, encoder, cohort, case)
    at = _at(case, "label", case.cohort, case.label, case.space)
    cells.append(Cell("separability", {**at, "metric": "balanced_knn"}, found.values()))
    advisory = ""
    if case.space == "umap" and not _map(run, encoder).trustworthiness >= _floor(run, case):
        advisory = f"the map's trustworthiness is below {_floor(run, case):g}"
    return Measured(found.adjusted, found.low, found.high, positives, negatives, cells=tuple(cells), advisory=advisory)


def robustness(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Robustness Index of a label over the pairs of cohorts in which it separates; the cube gets all pairs of cohorts.

    Where labels do not separate there is nothing to be robust: an embedding of noise reads one half.
    """
    pooled = _pooled_label(run, encoder, case.label)
    cells = _pair_cells(run, encoder, case, pooled)
    separated = [name for name in run.settings.cohorts if _separates(run, encoder, run.cohort(name), case.label)]
    if len(separated) < 2:
        where = f"in {separated[0]} only" if separated else "in no cohort"
        missing = f"separability.neighbours shows that {case.label} separates {where}, so there is nothing to be robust"
        return Measured.insufficient(missing, cells=tuple(cells))
    use = np.isin(pooled.homes, separated)
    found = evaluation.robustness_index(
        pooled.embeddings[use], pooled.targets[use], pooled.homes[use], pooled.patients[use]
    )
    if not math.isfinite(found.value):
        missing = "no pair of cohorts has 5 patients of each class, or no neighbour shares just one of label and cohort"
        return Measured.insufficient(missing, cells=tuple(cells))
    names = ("", "_low", "_high", "_null_mean", "_null_sd")
    values = {f"robustness_index{name}": value for name, value in zip(names, found, strict=True)}
    values["robustness_index_cohorts"] = float(len(separated))
    cells.append(Cell("separability", {"encoder": case.encoder, "label": case.label}, values))
    left_out = sorted(set(run.settings.cohorts) - set(separated))
    note = f"without {', '.join(left_out)}, where {case.label} does not separate" if left_out else ""
    return Measured.of(found, cells=tuple(cells), note=note)


def _separates(run: Run, encoder: Encoder, cohort: Cohort, label: str) -> bool:
    """Say whether a label separates in a cohort, by the threshold of `separability.neighbours`."""
    if run.labelled(cohort, label).split is None:
        return False
    found, positives, negatives = _in_space(run, encoder, cohort, label, "embedding")
    case = Case("separability.neighbours", encoder.card.name, cohort.name, label, space="embedding")
    threshold = demanded(run.settings.profile, case)
    return enough(positives, negatives) and judge(found.adjusted, found.low, found.high, threshold)[0] == "pass"


@dataclass(frozen=True)
class _Pooled:
    """The mapped records of all cohorts whose label is known, cohort by cohort."""

    embeddings: npt.NDArray[Any]
    targets: npt.NDArray[np.bool_]
    homes: npt.NDArray[Any]
    patients: npt.NDArray[Any]


def _pooled_label(run: Run, encoder: Encoder, label: str) -> _Pooled:
    embeddings, targets, homes, patients = [], [], [], []
    for name in run.settings.cohorts:
        cohort = run.cohort(name)
        rows, column = _sample(run, cohort), cohort.labels[label]
        known = rows[column.notna().to_numpy()[rows]]
        embeddings.append(run.embeddings(encoder, cohort)[known])
        targets.append(column.iloc[known].to_numpy(dtype=bool))
        homes.append(np.repeat(name, known.size))
        patients.append(np.array([f"{name} {one}" for one in cohort.patients.iloc[known]]))
    return _Pooled(*(np.concatenate(parts) for parts in (embeddings, targets, homes, patients)))


def cohort_auroc(run: Run, encoder: Encoder, case: Case) -> Measured:
    """AUROC of a classifier of cohorts; the cube gets the paper's metrics for pairs of cohorts."""
    embeddings, homes, patients = _pooled(run, encoder)
    found = evaluation.cohort_auroc(embeddings, homes, patients)
    if not math.isfinite(found.value):
        return Measured.insufficient("fewer than two cohorts have 10 records")
    cells = [Cell("separability", {"encoder": case.encoder}, {"cohort_auroc": found.value})]
    places, pairs = [], []
    for a, b in combinations(run.settings.cohorts, 2):
        use = (homes == a) | (homes == b)
        for space, features in (("embedding", embeddings), ("umap", _map(run, encoder).coordinates)):
            places.append(_at(case, "cohort", f"{a}|{b}", "", space))
            pairs.append(Pair(features[use], homes[use], patients[use], space != "umap", _CLUSTERED))
    cells += _kept_cells(run, encoder, "all records", places, pairs)
    return Measured.of(found, cells=tuple(cells))


def trustworthiness(run: Run, encoder: Encoder, case: Case) -> Measured:
    """Trustworthiness of the map; the cube gets the map itself."""
    found = _map(run, encoder)
    cells = []
    for name in run.settings.cohorts:
        sample = run.embeddings(encoder, run.cohort(name))[_sample(run, run.cohort(name))]
        value = intrinsic_dimension(Space(sample).features)
        cells.append(Cell("separability", {"encoder": case.encoder, "cohort": name}, {"intrinsic_dimension": value}))
    value = found.trustworthiness
    if not math.isfinite(value):
        return Measured.exact(value, cells=tuple(cells), missing="all cohorts together have fewer than 5 records")
    return Measured.exact(value, cells=tuple(cells), arrays=(_keep(run, case, found),))


def _at(case: Case, grouping: str, cohort: str, label: str, space: str) -> dict[str, Any]:
    return {"encoder": case.encoder, "space": space, "grouping": grouping, "cohort": cohort, "label": label}


def _metric_cells(
    at: dict[str, Any],
    space: Space,
    groups: npt.NDArray[Any],
    patients: npt.NDArray[Any],
) -> list[Cell]:
    return _cells_of(at, evaluation.adjusted_metrics(space, groups, patients))


def _cells_of(at: dict[str, Any], metrics: dict[str, Adjusted]) -> list[Cell]:
    return [Cell("separability", {**at, "metric": name}, one.values()) for name, one in metrics.items()]


def _floor(run: Run, case: Case) -> float:
    threshold = run.settings.profile.threshold(Case("separability.trustworthiness", case.encoder))
    return _FLOOR if threshold is None else threshold.bound


def _sample(run: Run, cohort: Cohort) -> Rows:
    """Rows of a cohort that are mapped: whole patients, seeded, its share of what the profile allows; ascending."""

    def make() -> Rows:
        most = run.settings.profile.grid.mapped_records // len(run.settings.cohorts)
        patients = cohort.patients.to_numpy(dtype=str)
        names, codes = np.unique(patients, return_inverse=True)
        place = np.random.default_rng(0).permutation(len(names))[codes.reshape(-1)]
        order = np.argsort(place, kind="stable")
        return np.sort(order[:most])

    return run.once(("mapped", cohort.name), make)


def _pooled(run: Run, encoder: Encoder) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Embeddings, cohorts and patients of the sample of all cohorts, cohort by cohort."""

    def make() -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        embeddings, homes, patients = [], [], []
        for name in run.settings.cohorts:
            cohort = run.cohort(name)
            rows = _sample(run, cohort)
            embeddings.append(run.embeddings(encoder, cohort)[rows])
            homes.append(np.repeat(name, rows.size))
            patients.append(np.array([f"{name} {one}" for one in cohort.patients.iloc[rows]]))
        return np.concatenate(embeddings), np.concatenate(homes), np.concatenate(patients)

    return run.once(("pooled", encoder.card.name), make)


def _space(run: Run, encoder: Encoder, cohort: Cohort, kind: str) -> Space:
    """Return the sample of a cohort in the z-scored embedding, or on the map."""

    def make() -> Space:
        if kind == "umap":
            _, homes, _ = _pooled(run, encoder)
            return Space(_map(run, encoder).coordinates[homes == cohort.name], scale=False, most=_CLUSTERED)
        return Space(run.embeddings(encoder, cohort)[_sample(run, cohort)], most=_CLUSTERED)

    return run.once(("space", encoder.card.name, cohort.name, kind), make)


def _in_space(run: Run, encoder: Encoder, cohort: Cohort, label: str, kind: str) -> tuple[Adjusted, int, int]:
    rows = _sample(run, cohort)
    column = cohort.labels[label].iloc[rows]
    known = column.notna().to_numpy()
    features = _space(run, encoder, cohort, kind).features[known]
    patients = cohort.patients.iloc[rows].to_numpy(dtype=str)[known]
    targets = column[known].to_numpy(dtype=bool)

    def near() -> Rows:
        return evaluation.neighbours_elsewhere(features, features, patients, patients)

    # Labels that are known for the same records share their neighbours.
    found = run.once(("neighbours", encoder.card.name, cohort.name, kind, known.tobytes()), near)
    agreement = evaluation.balanced_agreement(found, targets, targets, patients, places=np.arange(targets.size))
    return agreement, int(targets.sum()), int((~targets).sum())


def _in_selected(run: Run, encoder: Encoder, cohort: Cohort, label: str) -> tuple[Adjusted, int, int]:
    """Seek the neighbours of each fold's test records among the others, in the dimensions its training selects."""
    probes, chosen = record_probes(run, encoder, cohort, label), dimensions(run, encoder, cohort, label)
    if probes is None or chosen is None:
        return Adjusted(*[math.nan] * 6), 0, 0
    labelled = run.labelled(cohort, label)
    embeddings = labelled.of(run.embeddings(encoder, cohort))
    near, tested = [], []
    for fold, selection in zip(probes.fitted, chosen.selections, strict=True):
        probe = fold.probe
        features = (embeddings[:, selection] - probe.mean[selection]) / probe.scale[selection]
        rest = np.setdiff1d(np.arange(len(embeddings)), fold.test_rows)
        found = evaluation.neighbours_elsewhere(
            features[fold.test_rows], features[rest], labelled.patients[fold.test_rows], labelled.patients[rest]
        )
        near.append(np.where(found >= 0, rest[found], -1))
        tested.append(fold.test_rows)
    rows = np.concatenate(tested)
    targets = labelled.targets[rows]
    agreement = evaluation.balanced_agreement(
        np.concatenate(near), targets, labelled.targets, labelled.patients[rows], places=rows
    )
    return agreement, int(targets.sum()), int((~targets).sum())


def _label_cells(run: Run, encoder: Encoder, cohort: Cohort, case: Case) -> list[Cell]:
    """Return the paper's metrics for a label within a cohort."""
    at = _at(case, "label", case.cohort, case.label, case.space)
    patients = cohort.patients.to_numpy(dtype=str)
    if case.space == "selected":
        # Chosen on the first fold's training records, scored on its test records.
        probes, chosen = record_probes(run, encoder, cohort, case.label), dimensions(run, encoder, cohort, case.label)
        if probes is None or chosen is None:
            return []
        labelled, fold = run.labelled(cohort, case.label), probes.fitted[0]
        rows = labelled.rows[fold.test_rows]
        features = run.embeddings(encoder, cohort)[rows][:, chosen.selections[0]]
        targets = labelled.targets[fold.test_rows]
        return _metric_cells(at, Space(features, most=_CLUSTERED), targets, patients[rows])
    rows = _sample(run, cohort)
    column = cohort.labels[case.label].iloc[rows]
    if column.isna().any():
        known = column.notna().to_numpy()
        space = Space(
            _space(run, encoder, cohort, case.space).features[known], scale=case.space != "umap", most=_CLUSTERED
        )
        return _metric_cells(at, space, column[known].to_numpy(dtype=bool), patients[rows][known])
    return _metric_cells(at, _space(run, encoder, cohort, case.space), column.to_numpy(dtype=bool), patients[rows])


def _pair_cells(run: Run, encoder: Encoder, case: Case, pooled: _Pooled) -> list[Cell]:
    """Return the paper's metrics for pairs of cohorts, which should not separate.

    Among all records of a pair and among the positives of the label, in the embedding and in the dimensions that the
    label selects in the two. All records in the embedding are the same for every label: `cohort_auroc` has them.
    """
    places, pairs = [], []
    for a, b in combinations(run.settings.cohorts, 2):
        here = (pooled.homes == a) | (pooled.homes == b)
        selection = selected_in(run, encoder, (run.cohort(a), run.cohort(b)), case.label)
        every = np.arange(pooled.embeddings.shape[1])
        groupings = [("cohort_label", "embedding", every, here & pooled.targets)]
        if selection is not None:
            groupings.append(("cohort_label", "selected", selection, here & pooled.targets))
            groupings.append(("cohort", "selected", selection, here))
        for grouping, space, columns, use in groupings:
            places.append(_at(case, grouping, f"{a}|{b}", case.label, space))
            features = pooled.embeddings[use][:, columns]
            pairs.append(Pair(features, pooled.homes[use], pooled.patients[use], True, _CLUSTERED))
    return _kept_cells(run, encoder, case.label, places, pairs)


def _kept_cells(run: Run, encoder: Encoder, what: str, places: list[dict[str, Any]], pairs: list[Pair]) -> list[Cell]:
    found = pair_metrics(run, encoder, what, pairs)
    return [cell for at, metrics in zip(places, found, strict=True) for cell in _cells_of(at, metrics)]


def _map(run: Run, encoder: Encoder) -> Map:
    """Draw the map, or find it drawn: compiling UMAP takes longer than drawing it."""

    def make() -> Map:
        features = Space(_pooled(run, encoder)[0]).features
        drawn_by = (version(name).encode() for name in _DRAWN_BY)
        identity = digest([features.tobytes(), str(features.shape).encode(), *drawn_by])

        def drawn(_: Progress) -> npt.NDArray[np.float64]:
            found = umap_map(features)
            worth = np.tile([found.trustworthiness, found.agreement], (len(features), 1))
            return np.column_stack([found.coordinates.astype(np.float64), worth])

        # Kept under the first cohort's name; what it is of is in the identity.
        part = Part("map of all cohorts by UMAP", identity, len(features), MAP_MODULES)
        packed = run.derived(encoder, run.cohort(run.settings.cohorts[0]), part, drawn)
        return Map(packed[:, :2].astype(np.float32), float(packed[0, 2]), float(packed[0, 3]))

    return run.once(("map", encoder.card.name), make)


def _keep(run: Run, case: Case, found: Map) -> str:
    records, homes, labels = [], [], []
    for name in run.settings.cohorts:
        cohort = run.cohort(name)
        rows = _sample(run, cohort)
        records += [f"{name}/{cohort.records[row]}" for row in rows]
        homes += [name] * rows.size
        labels.append(
            cohort.labels[list(run.settings.labels)].iloc[rows].astype("Float32").to_numpy(np.float32, na_value=np.nan)
        )
    dataset = xr.Dataset(
        {
            "umap": (("record", "axis"), found.coordinates, {"long_name": "coordinates by UMAP", "units": "1"}),
            "cohort": (("record",), np.array(homes), {"long_name": "cohort", "units": "1"}),
            "labels": (("record", "label"), np.concatenate(labels), {"long_name": "label, 1 or 0", "units": "1"}),
        },
        {"record": records, "axis": ["x", "y"], "label": list(run.settings.labels)},
        {
            "group": f"map/{case.encoder}",
            "trustworthiness": found.trustworthiness,
            "procrustes_agreement": found.agreement,
        },
    )
    return run.keep(("map", case.encoder), dataset)
