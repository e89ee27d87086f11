"""Simulate releases of known quality, and count how often the default profile passes or blocks them.

::

    python benchmarks/releases.py --releases 200 --positives 50 100 500

Scores are binormal with a planted AUROC, three negatives a positive, each of another patient. First, the
absolute gate: how often a model of AUROC 0.70, 0.80 or 0.90 passes or fails a threshold at, below and above it. Then
the gate against a baseline: an equal release, and ones that are worse, whose scores correlate with the baseline's as
those of two versions of a model do: with one cell (one label in one cohort), and with sixteen, of which one is worse.
Last, five releases in a row that lose a little each: how often every one passes against the one before, and how often
``ecgfm history``, or a baseline that stays the first release, then finds the loss.
"""

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.stats import norm

from pytest_ecgfm.evaluations.statistics import mean_auroc
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.checks import Case, judge
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.rows import Measured, judged_row
from pytest_ecgfm.results.verdict import corrected

_NEGATIVES = 3  # for each positive


def classes(positives):
    """Return which records are positive."""
    return np.arange(positives * (1 + _NEGATIVES)) < positives


def drawn(rng, quality, targets, shared, correlation):
    """Return scores with a planted AUROC that share a part of their noise."""
    noise = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.standard_normal(shared.size)
    return math.sqrt(2) * norm.ppf(quality) * targets + noise


def absolute(rng, releases, positives):
    """Yield (AUROC, threshold, share that passes, share that fails)."""
    profile = load_profile("default")
    base = profile.threshold(Case("downstream.auroc", "m", "ptb-xl", "AF", 1.0))
    targets = classes(positives)
    for quality in (0.7, 0.8, 0.9):
        for bound in (quality - 0.03, quality, quality + 0.03):
            words = []
            for _ in range(releases):
                scores = drawn(rng, quality, targets, rng.standard_normal(targets.size), 0.0)
                found = mean_auroc(scores, targets)
                words.append(judge(found.value, found.low, found.high, type(base)(bound))[0])
            yield quality, bound, words.count("pass") / releases, words.count("fail") / releases


def one_cell(rng, quality, loss, correlation, positives):
    """Return what the gate would measure for one label in one cohort."""
    targets = classes(positives)
    names = np.array([f"r{i:04d}" for i in range(targets.size)])
    shared = rng.standard_normal(names.size)
    then = Scores(names, names, drawn(rng, quality, targets, shared, correlation), targets.astype(float))
    now = Scores(names, names, drawn(rng, quality - loss, targets, shared, correlation), targets.astype(float))
    found = change(now, then, "x")
    return Measured(found.value, found.low, found.high, positives, positives * _NEGATIVES)


def paired(rng, releases, correlation, cells, positives):
    """Yield (cells, AUROC of the baseline, loss of one of them, share of releases that are blocked)."""
    case = Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="x")
    threshold = load_profile("default").threshold(case)
    for quality in (0.7, 0.8, 0.9):
        for loss in (0.0, 0.01, 0.02, 0.03, 0.05):
            blocked = 0
            for _ in range(releases):
                losses = (loss, *[0.0] * (cells - 1))
                rows = [
                    judged_row(case, threshold, one_cell(rng, quality, one, correlation, positives), cells)
                    for one in losses
                ]
                blocked += any(row.blocks for row in corrected(rows))
            yield cells, quality, loss, blocked / releases


def in_a_row(rng, series, correlation, positives, count=5):
    """Yield (AUROC of the first, loss of each, share of series whose steps all pass, and of them whose loss is found).

    One cell. Each release shares the same part of its noise with all others.
    """
    case = Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="x")
    threshold = load_profile("default").threshold(case)
    targets = classes(positives)
    names = np.array([f"r{i:04d}" for i in range(targets.size)])

    def blocks(now, then):
        found = change(now, then, "x")
        measured = Measured(found.value, found.low, found.high, positives, positives * _NEGATIVES)
        return judged_row(case, threshold, measured).blocks

    for quality in (0.7, 0.8, 0.9):
        for loss in (0.0, 0.008, 0.012):
            passed = found = 0
            for _ in range(series):
                shared = rng.standard_normal(targets.size)
                runs = [
                    Scores(names, names, drawn(rng, quality - loss * one, targets, shared, correlation), targets * 1.0)
                    for one in range(count)
                ]
                if not any(blocks(now, then) for then, now in pairwise(runs)):
                    passed += 1
                    found += blocks(runs[-1], runs[0])
            yield quality, loss, passed / series, found / max(passed, 1)


def main():
    """Print Markdown tables; write the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--correlation", type=float, default=0.9)
    parser.add_argument("--positives", type=int, nargs="+", default=[50, 100, 500])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    written = {count: tables(asked.releases, asked.correlation, count) for count in asked.positives}
    if asked.json:
        asked.json.write_text(json.dumps(written, indent=1), encoding="utf-8")


def tables(releases, correlation, positives):
    """Print what the gate does with so many positives, as Markdown; return it."""
    rng = np.random.default_rng(0)
    print(f"{releases} releases each, {positives} positives, {positives * _NEGATIVES} negatives\n")
    print("| AUROC | threshold | passes | fails |\n| --- | --- | --- | --- |")
    first = list(absolute(rng, releases, positives))
    for quality, bound, passes, fails in first:
        print(f"| {quality:.2f} | {bound:.2f} | {100 * passes:.1f} % | {100 * fails:.1f} % |")
    print(f"\nagainst a baseline, scores correlated by {correlation:g} within a class\n")
    print("| cells | AUROC of the baseline | loss of one cell | blocked |\n| --- | --- | --- | --- |")
    second = [row for cells in (1, 16) for row in paired(rng, releases, correlation, cells, positives)]
    for cells, quality, loss, blocked in second:
        print(f"| {cells} | {quality:.2f} | {loss:.2f} | {100 * blocked:.1f} % |", flush=True)
    print("\nfive releases in a row, one cell\n")
    print("| AUROC of the first | loss of each | every step passes | of these, loss found |\n| --- | --- | --- | --- |")
    third = list(in_a_row(np.random.default_rng(0), releases, correlation, positives))
    for quality, loss, passed, found in third:
        print(f"| {quality:.2f} | {loss:.3f} | {100 * passed:.1f} % | {100 * found:.1f} % |", flush=True)
    print()
    return {"absolute": first, "paired": second, "in_a_row": third}


if __name__ == "__main__":
    main()
