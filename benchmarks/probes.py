"""Compare our logistic probes with scikit-learn's, called cell by cell.

One cohort with planted labels, split by patient as a run does it; every fraction of the training patients, seed and C
of the default profile::

    python benchmarks/probes.py --records 20000 --dimensions 768

The peer is what one would write: a `StandardScaler` for each subset, `LogisticRegression` with its default solver and
tolerance for each C, the C of best smoothed AUROC on validation. Both get the same float32 embeddings and take turns,
cell by cell; times are the processor's, of all threads, so that other work on the machine does not count. Both have to
reach the same AUROC on the test records, within 0.002, in every cell. With `--exact` the peer has float64 and a
tolerance of 1e-9: it then finds the coefficients that ours finds, within 2e-5.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pytest_ecgfm.evaluations.fold_probes import fit_fold, prepared
from pytest_ecgfm.evaluations.logistic import C_GRID
from pytest_ecgfm.evaluations.splits import make_split, nested_subset, seeds_for
from pytest_ecgfm.evaluations.statistics.smoothed import smoothed_aurocs

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
EQUAL = 0.002


def planted(records, dimensions, labels, seed=0):
    """Return float32 embeddings with a spectrum that decays as those of encoders do, and labels (labels, records)."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    rows = (rng.standard_normal((records, dimensions)) * np.arange(1, dimensions + 1) ** -0.5) @ basis
    logits = rng.standard_normal((labels, dimensions)) @ basis @ rows.T
    logits = 2 * logits / logits.std(axis=1, keepdims=True) - 3
    return rows.astype(np.float32), rng.random(logits.shape) < 1 / (1 + np.exp(-logits))


def plain(embeddings, targets, rows, held, tested, exact=False):
    """Return the AUROC that scikit-learn's own calls reach."""
    # Single precision ends long before a strict tolerance.
    embeddings = embeddings.astype(np.float64) if exact else embeddings
    tolerance = 1e-9 if exact else 1e-4
    scaler = StandardScaler().fit(embeddings[rows])
    train, validation, test = (scaler.transform(embeddings[part]) for part in (rows, held, tested))
    models = [LogisticRegression(C=C, tol=tolerance, max_iter=10_000).fit(train, targets[rows]) for C in C_GRID]
    areas = smoothed_aurocs([model.decision_function(validation) for model in models], targets[held])
    return roc_auc_score(targets[tested], models[int(np.argmax(areas))].decision_function(test))


def measure(records, dimensions, labels, seeds=10, exact=False):
    """Time both sides over the grid; return processor seconds, their ratio, and the largest difference of AUROCs."""
    embeddings, truth = planted(records, dimensions, labels)
    patients = np.arange(records).astype(str)
    spent, worst, cells = {"ours": 0.0, "peer": 0.0}, 0.0, []
    for targets in truth:
        split = make_split(targets, patients)
        fold = split.folds[0]
        # What is done once a label is ours to pay for, and is counted with the first cell, as a run does it.
        begun = time.process_time()
        data = prepared(embeddings, targets, patients)
        once = time.process_time() - begun
        for fraction in FRACTIONS:
            for seed in seeds_for(fraction)[:seeds]:
                begun = time.process_time()
                probe, rows = fit_fold("logistic", data, fold, fraction, seed)
                ours = roc_auc_score(targets[fold.test], probe.scores(embeddings[fold.test]))
                middle = time.process_time()
                nested_subset(fold.train, targets, patients, fraction, seed)
                theirs = plain(embeddings, targets, rows, fold.validation, fold.test, exact)
                times = {"ours": middle - begun + once, "peer": time.process_time() - middle}
                once = 0.0
                spent = {side: spent[side] + times[side] for side in spent}
                worst = max(worst, abs(ours - theirs))
                cells.append({"fraction": fraction, "seed": seed, "records": rows.size, **times, "auroc": ours})
    return {"seconds": spent, "ratio": spent["peer"] / spent["ours"], "auroc_difference": worst, "cells": cells}


def main():
    """Print seconds by fraction, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--labels", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10, help="at most so many a fraction")
    parser.add_argument(
        "--exact", action="store_true", help="let the peer be as exact as ours: float64, tolerance 1e-9"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # rounding may end a line search first: as exact as it gets
    found = measure(arguments.records, arguments.dimensions, arguments.labels, arguments.seeds, arguments.exact)
    for fraction in FRACTIONS:
        mine = [cell for cell in found["cells"] if cell["fraction"] == fraction]
        ours, peer = (sum(cell[side] for cell in mine) for side in ("ours", "peer"))
        print(
            f"{fraction:6.0%} {len(mine):3} cells: ours {ours:7.2f} s, scikit-learn {peer:7.2f} s, {peer / ours:5.1f}"
        )
    print(f"ratio {found['ratio']:.1f}, AUROCs differ by {found['auroc_difference']:.5f} at most")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if found["auroc_difference"] > EQUAL:
        raise SystemExit(f"AUROCs differ by more than {EQUAL}.")


if __name__ == "__main__":
    main()
