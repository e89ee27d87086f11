"""A finished run with something in every section of the page: made up, and written as a real one is."""

import json
from itertools import product

import numpy as np
import xarray as xr

from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.cube import build_cube, write_cube
from pytest_ecgfm.results.rows import Cell, Measured, judged_row
from pytest_ecgfm.results.verdict import decide
from pytest_ecgfm.signals.perturbations import PERTURBATIONS, VARIANTS
from pytest_ecgfm.signals.records import LEADS

RATE = 250.0
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

CARD = {
    "intended_use": "Embeddings for research on rhythm and conduction, of records of 10 s at rest.",
    "excluded_uses": ["Diagnosis of single patients.", "Children."],
    "limitations": ["Paced rhythms were left out of training."],
    "traps": ["It reads the first 5 s: a label of the whole 10 s may rest on what it does not read."],
    "pretrained_on": ["ptb-xl"],
    "licence": "CC BY-NC 4.0",
}
SHEET = {
    "country": "Germany",
    "years": "1989 to 1996",
    "devices": "Schiller AG",
    "licence": "CC BY 4.0",
    "label_origin": "SCP-ECG statements by up to two cardiologists",
    "source": "Wagner et al. 2020, Scientific Data 7:154; PhysioNet ptb-xl 1.0.3, doi:10.13026/kfzx-aw45",
    "age": {
        "known": 990,
        "quartiles": [50.0, 62.0, 72.0],
        "bands": {"below 40": 90, "40 to 64": 450, "65 and above": 450},
    },
    "sex": {"F": 480, "M": 510, "unknown": 10},
}


class Made:
    """Rows and arrays of a run."""

    def __init__(self, folder, models, cohorts, labels, fractions, records, why, seed):
        self.folder, self.rng, self.why = folder, np.random.default_rng(seed), why
        self.models, self.cohorts, self.labels = models, cohorts, labels
        self.fractions, self.records = fractions, records
        self.rows = []
        (folder / "arrays").mkdir(parents=True)

    def add(self, check, encoder, bound, value, *, half=0.05, sense="minimum", cells=(), arrays=(), n=60, **where):
        case = Case(check, encoder, **where)
        measured = Measured(value, value - half, value + half, n, 90, "cv", tuple(cells), tuple(arrays))
        self.rows.append(judged_row(case, Threshold(bound, sense, reason=self.why), measured))

    def keep(self, name, dataset):
        dataset.to_netcdf(self.folder / "arrays" / f"{name}.nc", engine="h5netcdf")
        return f"arrays/{name}.nc"

    def downstream(self):
        for (number, encoder), cohort, label in product(enumerate(self.models), self.cohorts, self.labels):
            for fraction in self.fractions:
                cells = []
                for name, level in ((encoder, 0.7 - 0.05 * number), ("random_conv", 0.6)):
                    # A reference's cell comes with each check that uses it, with the same values.
                    if name in self.models or not number:
                        value = float(level + 0.2 * fraction + self.rng.uniform(0, 0.05))
                        at = {"encoder": name, "cohort": cohort, "label": label, "probe": "logistic"}
                        found = {"auroc_mean": value, "auroc_mean_low": value - 0.05, "auroc_mean_high": value + 0.05}
                        cells.append(Cell("downstream", at | {"fraction": fraction}, found))
                value = cells[0].values["auroc_mean"]
                where = {"cohort": cohort, "label": label, "fraction": fraction}
                self.add("downstream.auroc", encoder, 0.7, value, cells=cells, **where)
            moved = float(self.rng.uniform(-0.03, 0.03))
            where = {"cohort": cohort, "label": label, "baseline": "spring"}
            self.add("downstream.auroc_change", encoder, -0.02, moved, half=0.01, **where)

    def transfer(self):
        for encoder, source, target, label in product(self.models, self.cohorts, self.cohorts, self.labels):
            if source != target:
                drop = float(self.rng.uniform(-0.02, 0.2))
                at = {"encoder": encoder, "source": source, "target": target, "label": label}
                values = {"auroc": 0.9 - drop, "auroc_low": 0.85 - drop, "auroc_high": 0.95 - drop}
                values |= {"drop": drop, "drop_low": drop - 0.05, "drop_high": drop + 0.05}
                cells = (Cell("transfer", at, values),)
                where = {"cohort": target, "label": label, "source": source}
                self.add("transfer.drop", encoder, 0.1, drop, sense="maximum", cells=cells, **where)

    def operating(self):
        """A threshold that loses sensitivity abroad, and probabilities that are too low there."""
        for encoder, source, target, label in product(self.models, self.cohorts, self.cohorts, self.labels):
            lost = 0.0 if source == target else 0.2
            at = {"encoder": encoder, "source": source, "target": target, "label": label}
            found = {"sensitivity": 0.9 - lost, "specificity": 0.8, "ppv": 0.4, "npv": 0.95, "slope": 1.1}
            found |= {"intercept": 4 * lost, "ici": 0.05 + lost / 4}
            found = {name: value + float(self.rng.uniform(-0.02, 0.02)) for name, value in found.items()}
            limits = {f"{name}_low": value - 0.04 for name, value in found.items()}
            limits |= {f"{name}_high": value + 0.04 for name, value in found.items()}
            counts = {"threshold": 0.07, "n_test": 150.0, "n_test_positive": 60.0}
            cells = [Cell("operating", at, found | limits | counts)]
            for point in range(21):
                predicted = 0.01 + 0.03 * point
                observed = predicted + lost / 2
                values = {"predicted": predicted, "observed": observed}
                values |= {"observed_low": observed - 0.01, "observed_high": observed + 0.05}
                cells.append(Cell("operating", at | {"point": point}, values))
            check, where = "downstream.sensitivity", {"cohort": target, "label": label}
            if lost:
                check, where = "transfer.sensitivity", {**where, "source": source}
            self.add(check, encoder, 0.8, found["sensitivity"], half=0.04, cells=cells, **where)

    def subgroups(self):
        """One group is below the rest, one has too few records, and the sex of some is unknown."""
        groups = (("sex", "sex F", 60), ("sex", "sex M", 62), ("age", "age below 40", 4), ("age", "age 40 to 64", 118))
        for encoder, cohort, label in product(self.models, self.cohorts, self.labels):
            at = {"encoder": encoder, "cohort": cohort, "label": label}
            cells = [Cell("subgroups", at | {"column": column}, {"n_unknown": 3.0}) for column in ("sex", "age")]
            low = float(self.rng.uniform(0.6, 0.7))
            for column, group, n in groups:
                values = {"n_test": 3.0 * n, "n_test_positive": float(n), "judged": float(n > 9)}
                if n > 9:
                    gap = 0.15 if group == "sex F" else -0.15
                    values |= {"auroc": low - gap, "auroc_low": low - gap - 0.05, "auroc_high": low - gap + 0.05}
                    values |= {"gap": gap, "gap_low": gap - 0.1, "gap_high": gap + 0.1, "below": float(gap > 0)}
                cells.append(Cell("subgroups", at | {"column": column, "group": group}, values))
            where = {"cohort": cohort, "label": label}
            self.add("subgroups.worst", encoder, 0.65, low - 0.15, cells=cells, **where)

    def stability(self):
        # Numbers of its own: one more perturbation leaves all other suites as they are.
        rng = np.random.default_rng(len(self.models))
        for encoder, cohort, (variant, (one, severity)) in product(self.models, self.cohorts, VARIANTS.items()):
            value = 0.1 * (1 + PERTURBATIONS[one.name].severities.index(severity)) + float(rng.uniform(0, 0.1))
            at = {"encoder": encoder, "cohort": cohort, "perturbation": one.name, "severity": severity}
            values = {"displacement": value, "displacement_low": value - 0.05, "displacement_high": value + 0.05}
            cells = (Cell("stability", at, values),)
            where = {"cohort": cohort, "perturbation": variant}
            self.add("stability.displacement", encoder, 0.3, value, sense="maximum", cells=cells, **where)

    def relevance(self):
        seconds = np.arange(int(2.5 * RATE)) / RATE
        wave = sum(
            high * np.exp(-0.5 * (((seconds - 0.4) % 0.8 - at) / wide) ** 2)
            for high, at, wide in ((0.12, 0.2, 0.02), (1.1, 0.36, 0.01), (-0.25, 0.39, 0.01), (0.3, 0.6, 0.04))
        )
        for cohort in self.cohorts:
            signal = (np.linspace(0.4, 1.2, 12)[:, None] * wave)[None]
            signal += 0.01 * self.rng.normal(size=signal.shape)
            record = np.array([f"{cohort}-1"])
            example = xr.Dataset(
                {"signal": (("cohort", "lead", "sample"), signal), "record": (("cohort",), record)},
                {"cohort": [cohort], "lead": list(LEADS), "sample": np.arange(signal.shape[-1])},
                {"group": "examples", "sampling_rate": RATE},
            )
            path = self.keep(f"example-{self.cohorts.index(cohort)}", example)
            for encoder, label in product(self.models, self.labels):
                at = {"encoder": encoder, "cohort": cohort, "label": label, "fraction": 1.0, "baseline": "zero"}
                shares = self.rng.dirichlet(np.ones(len(INDEPENDENT)))
                cells = [
                    Cell(
                        "relevance",
                        {**at, "lead": lead},
                        {"relevance": share, "relevance_low": 0.9 * share, "relevance_high": 1.1 * share},
                    )
                    for lead, share in zip(INDEPENDENT, shares.tolist(), strict=True)
                ]
                where = {"cohort": cohort, "label": label}
                top = float(shares.max())
                more = {"sense": "maximum", "cells": cells, "arrays": [path]}
                self.add("relevance.concentration", encoder, 0.5, top, **more, **where)

    def separability(self):
        for encoder in self.models:
            homes = np.repeat(self.cohorts, self.records // len(self.cohorts))
            points = self.rng.normal(size=(len(homes), 2)) + np.searchsorted(np.sort(self.cohorts), homes)[:, None]
            positive = (self.rng.random((len(homes), len(self.labels))) < 0.2).astype(np.float32)
            positive[::50] = np.nan
            mapped = xr.Dataset(
                {
                    "umap": (("record", "axis"), points),
                    "cohort": (("record",), homes),
                    "labels": (("record", "label"), positive),
                },
                {
                    "record": [f"{home}/r{number}" for number, home in enumerate(homes)],
                    "axis": ["x", "y"],
                    "label": list(self.labels),
                },
                {"group": f"map/{encoder}", "trustworthiness": 0.91, "procrustes_agreement": 0.83},
            )
            path = self.keep(f"map-{self.models.index(encoder)}", mapped)
            self.add("separability.trustworthiness", encoder, 0.8, 0.91, half=0.0, arrays=[path])
            for cohort, label in product(self.cohorts, self.labels):
                at = {"encoder": encoder, "space": "embedding", "grouping": "label", "cohort": cohort, "label": label}
                value = float(self.rng.uniform(0.5, 0.8))
                cells = (
                    Cell(
                        "separability",
                        at | {"metric": "balanced_knn"},
                        {"value": value, "null_mean": 0.5, "null_sd": 0.02},
                    ),
                )
                where = {"cohort": cohort, "label": label, "space": "embedding"}
                self.add("separability.neighbours", encoder, 0.0, value - 0.5, cells=cells, **where)

    def sets_and_quantities(self):
        for encoder, cohort in product(self.models, self.cohorts):
            where = {"cohort": cohort, "fraction": 1.0}
            at = {"encoder": encoder, **where}
            mean = {"macro_auroc": 0.8, "macro_auroc_low": 0.75, "macro_auroc_high": 0.85, "n_labels": 1.0}
            named = at | {"set": "all", "probe": "logistic"}
            cells = [Cell("sets", named, mean)]
            for number, label in enumerate(self.labels):
                cells.append(Cell("sets", named | {"label": label}, {"included": float(number == 0)}))
            self.add("downstream.macro_auroc", encoder, 0.7, 0.8, cells=cells, label="all", **where)
            found = {"n_test": 150.0}
            for name, value in (("r2", 0.4), ("mae", 7.0), ("spearman", 0.6)):
                found |= {f"{name}_mean": value, f"{name}_mean_low": 0.9 * value, f"{name}_mean_high": 1.1 * value}
            cells = [Cell("quantities", at | {"quantity": "quantity:EF"}, found)]
            whose = {"encoder": encoder, "cohort": cohort, "quantity": "quantity:EF", "column": "sex"}
            limits = {f"{name}{end}": 0.4 for name in ("r2", "mae", "spearman") for end in ("", "_low", "_high")}
            cells.append(Cell("quantity_groups", whose | {"group": "sex F"}, {"judged": 1.0, "n_test": 90.0} | limits))
            cells.append(Cell("quantity_groups", whose | {"group": "sex M"}, {"judged": 0.0, "n_test": 12.0}))
            self.add("downstream.r2", encoder, 0.05, 0.4, cells=cells, label="quantity:EF", **where)
            for source in (name for name in self.cohorts if name != cohort):
                found = {}
                for name, value in (
                    ("r2", 0.3),
                    ("mae", 8.0),
                    ("spearman", 0.5),
                    ("r2_drop", 0.1),
                    ("spearman_drop", 0.2),
                ):
                    found |= {name: value, f"{name}_low": 0.9 * value, f"{name}_high": 1.1 * value}
                at = {"encoder": encoder, "source": source, "target": cohort, "quantity": "quantity:EF"}
                more = {"sense": "maximum", "cells": [Cell("quantity_transfer", at, found)], "source": source}
                self.add("transfer.spearman_drop", encoder, 0.5, 0.1, label="quantity:EF", cohort=cohort, **more)


def write_run(
    folder,
    models=("one", "two"),
    cohorts=("ptb-xl", "georgia"),
    labels=("CD", "AF"),
    fractions=(0.05, 0.25, 1.0),
    records=200,
    why="",
    seed=0,
):
    """Write a run; return its folder and rows."""
    made = Made(folder, list(models), list(cohorts), list(labels), list(fractions), records, why, seed)
    made.downstream()
    made.transfer()
    made.operating()
    made.subgroups()
    made.stability()
    made.relevance()
    made.separability()
    made.sets_and_quantities()
    exposure = {name: "seen" if name == cohorts[0] else "unseen" for name in cohorts}
    continents = ("Europe", "North America", "Asia", "South America")
    about = {
        "run_id": "0a1b2c3d",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:10:00Z",
        "plugin_version": "0.1.0",
        "profile": 'name = "default"\n',
        "packages": json.dumps({"numpy": "2.4.6"}),
        "encoders": json.dumps(
            {name: {"exposure": exposure, "weights_sha256": "ab" * 32, "card": CARD} for name in models}
        ),
        "cohorts": json.dumps(
            {
                name: {
                    "continent": continents[number % 4],
                    "records": 1000,
                    "digest": "cd" * 32,
                    "units": {"quantity:EF": "%"},
                    "unknown": dict.fromkeys(labels, 30),
                    "sheet": SHEET,
                }
                for number, name in enumerate(cohorts)
            }
        ),
    }
    write_cube(build_cube(made.rows, folder / "arrays", about), folder / "cube.nc")
    verdict = decide(made.rows, [], models=list(models))
    summary = f"{' and '.join(models)} were tested."
    (folder / "verdict.json").write_text(json.dumps({**verdict.to_json(), "summary": summary}))
    return folder, made.rows
