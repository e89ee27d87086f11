"""Simulate releases of known quality, and count how often the default profile passes or blocks them.

::

    python benchmarks/releases.py --releases 200

Scores are binormal with a planted AUROC, 500 positives and 1,500 negatives, each of another patient. First, the
absolute gate: how often a model of AUROC 0.70, 0.80 or 0.90 passes or fails a threshold at, below and above it. Then
the gate against a baseline: an equal release, and ones that are worse, whose scores correlate with the baseline's as
those of two versions of a model do.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from scipy.stats import norm

from pytest_ecgfm.baseline import Scores, change
from pytest_ecgfm.checks import Case, judge
from pytest_ecgfm.profiles import load_profile
from pytest_ecgfm.statistics import mean_auroc

POSITIVES, NEGATIVES = 500, 1500


def drawn(rng, quality, shared, correlation):
    """Return scores with a planted AUROC that share a part of their noise."""
    noise = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.standard_normal(shared.size)
    targets = np.arange(shared.size) < POSITIVES
    return math.sqrt(2) * norm.ppf(quality) * targets + noise


def absolute(rng, releases):
    """Yield (AUROC, threshold, share that passes, share that fails)."""
    profile = load_profile("default")
    base = profile.threshold(Case("downstream.auroc", "m", "ptb-xl", "AF", 1.0))
    targets = np.arange(POSITIVES + NEGATIVES) < POSITIVES
    for quality in (0.7, 0.8, 0.9):
        for bound in (quality - 0.03, quality, quality + 0.03):
            words = []
            for _ in range(releases):
                scores = drawn(rng, quality, rng.standard_normal(targets.size), 0.0)
                found = mean_auroc(scores, targets)
                words.append(judge(found.value, found.low, found.high, type(base)(bound))[0])
            yield quality, bound, words.count("pass") / releases, words.count("fail") / releases


def paired(rng, releases, correlation):
    """Yield (AUROC of the baseline, loss, share that is blocked)."""
    threshold = load_profile("default").threshold(Case("downstream.auroc_change", "m", "ptb-xl", "AF", baseline="x"))
    names = np.array([f"r{i:04d}" for i in range(POSITIVES + NEGATIVES)])
    targets = (np.arange(names.size) < POSITIVES).astype(float)
    for quality in (0.7, 0.8, 0.9):
        for loss in (0.0, 0.01, 0.02, 0.03, 0.05):
            blocked = 0
            for _ in range(releases):
                shared = rng.standard_normal(names.size)
                then = Scores(names, names, drawn(rng, quality, shared, correlation), targets)
                now = Scores(names, names, drawn(rng, quality - loss, shared, correlation), targets)
                found = change(now, then, "x")
                outcome = judge(found.value, found.low, found.high, threshold)[0]
                blocked += outcome == "fail" or (outcome == "inconclusive" and threshold.inconclusive == "block")
            yield quality, loss, blocked / releases


def main():
    """Print Markdown tables; write the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--correlation", type=float, default=0.9)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{asked.releases} releases each, {POSITIVES} positives, {NEGATIVES} negatives\n")
    print("| AUROC | threshold | passes | fails |\n| --- | --- | --- | --- |")
    first = list(absolute(rng, asked.releases))
    for quality, bound, passes, fails in first:
        print(f"| {quality:.2f} | {bound:.2f} | {100 * passes:.1f} % | {100 * fails:.1f} % |")
    print(f"\nagainst a baseline, scores correlated by {asked.correlation:g} within a class\n")
    print("| AUROC of the baseline | loss | blocked |\n| --- | --- | --- |")
    second = list(paired(rng, asked.releases, asked.correlation))
    for quality, loss, blocked in second:
        print(f"| {quality:.2f} | {loss:.2f} | {100 * blocked:.1f} % |")
    if asked.json:
        asked.json.write_text(json.dumps({"absolute": first, "paired": second}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
