"""Compare what a run measures with a plain script of library calls that finds the same numbers for the same cells.

One embedded cohort, written as WFDB files, and one encoder, both its own work and the same on either side::

    python benchmarks/plain.py                       # 1,000 records, two labels, `handcrafted`
    python benchmarks/plain.py --records 300 --labels AF --only probes

The plain script reads each record by `wfdb.rdrecord`; fits each probe by `StandardScaler` and `LogisticRegression`
(tolerance 1e-6, for the same coefficients) and judges it by `roc_auc_score`; calls the metrics of scikit-learn for each
label and each permutation of it, with neighbours and clusters made once; explains all probes of a record in one call of
`shap.ExactExplainer`. It takes from this package what says which cell
is meant: splits, subsets of the training patients, C's, the smoothed AUROC that chooses among them, and which leads a
coalition holds. Intervals, subgroups, transfer, stability and the report are left out: ours would be asked for more
than the script has. So is the map: `umap.UMAP` draws it on either side, and draws another one where random numbers are
drawn in another order.

The two take turns, part by part, in one process. Times are the processor's, of all threads, so that other work on the
machine does not count. What both import is imported before.
"""

import argparse
import json
import math
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import shap
from pipeline import write_cohort
from probes import FRACTIONS
from separability import plain as plain_metrics
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, roc_auc_score, silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

import pytest_ecgfm
from pytest_ecgfm.evaluations.clusters import METRICS, NEIGHBOURS, Space
from pytest_ecgfm.evaluations.fold_probes import fit_fold, fold_probes, prepared
from pytest_ecgfm.evaluations.logistic import C_GRID
from pytest_ecgfm.evaluations.separability import PERMUTATIONS, adjusted_metrics
from pytest_ecgfm.evaluations.shapley import lead_shapley, projected
from pytest_ecgfm.evaluations.splits import make_split, nested_subset, patient_folds, seeds_for
from pytest_ecgfm.evaluations.standardise import LEAST_SHARE
from pytest_ecgfm.evaluations.statistics.smoothed import smoothed_aurocs
from pytest_ecgfm.signals.coalitions import complete, players, with_leads

with warnings.catch_warnings():
    # wfdb uses parts of pandas that newer versions deprecate.
    warnings.simplefilter("ignore")
    import wfdb

EXPLAINED = 4
"""Records whose leads are explained."""

PARTS = ("records", "probes", "metrics", "leads")


def cells(labels, patients, seeds):
    """Yield each label's targets, its split, a fraction and a seed."""
    for targets in labels:
        split = make_split(targets, patients)
        for fraction in FRACTIONS:
            for seed in seeds_for(fraction)[:seeds]:
                yield targets, split, fraction, seed


def scaled(embeddings, train, least):
    """Standardise by the training rows; a dimension that hardly varies there, by no less than a share of its SD."""
    scaler = StandardScaler().fit(embeddings[train])
    scaler.scale_ = np.maximum(scaler.scale_, least)
    return scaler.transform(embeddings)


def plain_probe(embeddings, targets, patients, fold, fraction, seed):
    """Return the scores of the probe that scikit-learn fits, for the test records."""
    train = nested_subset(fold.train, targets, patients, fraction, seed)
    if targets[train].all() or not targets[train].any():
        return np.zeros(fold.test.size)
    least = LEAST_SHARE * StandardScaler().fit(embeddings[fold.train]).scale_ if fraction < 1 else 0

    def models(rows):
        table = scaled(embeddings, rows, least)
        fits = [LogisticRegression(C=C, tol=1e-6, max_iter=10_000).fit(table[rows], targets[rows]) for C in C_GRID]
        return table, fits

    table, fits = models(train)
    held, positives = fold.validation, targets[fold.validation].sum()
    total = np.zeros(len(C_GRID))
    known = set(patients[train][targets[train]]), set(patients[train])
    folds = min(5, len(known[0]), len(known[1] - known[0]))
    if positives >= 10 or folds < 2:
        total = smoothed_aurocs([fit.decision_function(table[held]) for fit in fits], targets[held])
    else:
        part = patient_folds(targets[train], patients[train], folds, seed)
        for number in range(folds):
            inner, inner_fits = models(train[part != number])
            rest = train[part == number]
            total += smoothed_aurocs([fit.decision_function(inner[rest]) for fit in inner_fits], targets[rest])
    chosen = 3 if np.isnan(total).all() else int(np.flatnonzero(total >= total.max() - 1e-9)[0])
    return fits[chosen].decision_function(table[fold.test])


def plain_probes(embeddings, labels, patients, seeds):
    """Return the mean AUROC over folds of each cell."""
    out = []
    for targets, split, fraction, seed in cells(labels, patients, seeds):
        folds = [
            roc_auc_score(targets[one.test], plain_probe(embeddings, targets, patients, one, fraction, seed))
            for one in split.folds
        ]
        out.append(np.mean(folds))
    return np.array(out)


def our_probes(embeddings, labels, patients, seeds):
    """Return the same by ours, prepared once a label as in a run."""
    out, data = [], {}
    for targets, split, fraction, seed in cells(labels, patients, seeds):
        if id(targets) not in data:
            data[id(targets)] = prepared(embeddings, targets, patients)
        folds = []
        for fold in split.folds:
            probe, _ = fit_fold("logistic", data[id(targets)], fold, fraction, seed)
            folds.append(roc_auc_score(targets[fold.test], probe.scores(embeddings[fold.test])))
        out.append(np.mean(folds))
    return np.array(out)


def plain_metrics_of(embeddings, labels):
    """Return the paper's metrics of each label, each less its mean over permutations where clusters play no part."""
    rng, out = np.random.default_rng(0), []
    rows = StandardScaler().fit_transform(embeddings.astype(np.float64))
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(rows).kneighbors(return_distance=False)
    for targets in labels:
        found = plain_metrics(embeddings, targets)
        out.append([found[name] for name in METRICS])
        for _ in range(PERMUTATIONS):
            drawn = rng.permutation(targets)
            silhouette_score(rows, drawn)
            davies_bouldin_score(rows, drawn)
            calinski_harabasz_score(rows, drawn)
            (drawn[near] == drawn[:, None]).mean()
    return np.array(out)


def our_metrics(embeddings, labels, patients):
    """Return the same by ours, whose null distributions hold all metrics."""
    space = Space(embeddings, most=1000)
    found = [adjusted_metrics(space, targets, patients) for targets in labels]
    return np.array([[one[name].value for name in METRICS] for one in found])


def weights_of(embeddings, labels, patients):
    """Return weights and offset of the logit of each label and fraction."""
    out = []
    for targets, split, fraction, seed in cells(labels, patients, 1):
        probe = fold_probes(embeddings, targets, patients, split, fraction, seed)[0].probe
        weights = probe.coefficients / probe.scale
        out.append((weights, probe.intercept - float(weights @ probe.mean)))
    return out


def plain_leads(encoder, batch, probes):
    """Return Shapley values (probes, records, leads): all probes of a record in one call."""
    cast = players(encoder.card.leads)
    weights, offsets = np.stack([one for one, _ in probes]), np.array([offset for _, offset in probes])
    nothing, here = np.zeros((1, len(cast))), np.ones((1, len(cast)))
    out = np.zeros((len(probes), len(batch), len(cast)))
    for row in range(len(batch)):
        one = batch.rows([row])

        def logits(present, one=one):
            rows = one.rows([0] * len(present))
            masked = with_leads(rows, np.zeros_like(rows.signals), cast, np.asarray(present) > 0.5)
            return encoder.embed_batch(masked).astype(np.float64) @ weights.T + offsets

        explainer = shap.ExactExplainer(logits, shap.maskers.Independent(nothing))
        out[:, row] = explainer(here).values[0].T
    return out


def our_leads(encoder, batch, probes):
    """Return the same by ours."""
    cast = players(encoder.card.leads)
    found = lead_shapley(partial(map, encoder.embed_batch), batch, np.zeros_like(batch.signals), cast)
    return np.stack([projected(found.values, weights) for weights, _ in probes])


def measured(asked):
    """Return seconds of both sides and the largest difference, by part."""
    encoder = pytest_ecgfm.load_encoder(asked.encoder)
    with tempfile.TemporaryDirectory() as place:
        cohort = write_cohort(Path(place), asked.records)
        source = pytest_ecgfm.load_cohort("synthetic-europe")
        names = list(source.records[: asked.records])
        patients = source.patients.loc[names].to_numpy(dtype=str)
        labels = [source.labels.loc[names, one].to_numpy(dtype=bool) for one in asked.labels]
        files = [str(Path(place) / record) for record in cohort.records]

        def by_wfdb():
            read = [wfdb.rdrecord(file).p_signal.T.astype(np.float32) for file in files]
            return np.stack(read)

        def by_us():
            return np.concatenate([batch.signals for batch in cohort.batches(64)])

        signals = by_us()
        order = np.concatenate([batch.records for batch in cohort.batches(64)])
        place_of = {record: row for row, record in enumerate(order)}
        rows = [place_of[record] for record in cohort.records]
        embeddings = np.concatenate([encoder.embed_batch(batch) for batch in cohort.batches(64)])[rows]
        batch = complete(next(iter(cohort.batches(EXPLAINED))), encoder.card.leads)
        probes = weights_of(embeddings, labels, patients)
        ways = {
            "records": (by_wfdb, lambda: by_us()[rows]),
            "probes": (
                partial(plain_probes, embeddings, labels, patients, asked.seeds),
                partial(our_probes, embeddings, labels, patients, asked.seeds),
            ),
            "metrics": (
                partial(plain_metrics_of, embeddings, labels),
                partial(our_metrics, embeddings, labels, patients),
            ),
            "leads": (partial(plain_leads, encoder, batch, probes), partial(our_leads, encoder, batch, probes)),
        }
        del signals
        found = {}
        for part in asked.only:
            values, seconds = [], []
            for way in ways[part]:
                begin = time.process_time()
                values.append(way())
                seconds.append(time.process_time() - begin)
            difference = float(np.nanmax(np.abs(values[0] - values[1])))
            found[part] = {"plain": seconds[0], "ours": seconds[1], "difference": difference}
            print(f"{part}: plain {seconds[0]:.2f}, ours {seconds[1]:.2f}, differ by {difference:.1e}", flush=True)
    return found


def main():
    """Print a Markdown table; write the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--labels", type=lambda text: text.split(","), default=["CD", "AF"])
    parser.add_argument("--encoder", default="handcrafted")
    parser.add_argument("--seeds", type=int, default=10, help="at most so many a fraction")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.only = asked.only or list(PARTS)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", module="numba|sklearn")
    found = measured(asked)
    total = {side: math.fsum(one[side] for one in found.values()) for side in ("plain", "ours")}
    print("| part | plain, CPU s | ours, CPU s | times as fast | largest difference |\n| --- | --- | --- | --- | --- |")
    for part, one in {**found, "all": {**total, "difference": math.nan}}.items():
        ratio = one["plain"] / one["ours"]
        shown = "" if math.isnan(one["difference"]) else f"{one['difference']:.1e}"
        print(f"| {part} | {one['plain']:.2f} | {one['ours']:.2f} | {ratio:.1f} | {shown} |")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
