"""Simulate leaderboards of models of known quality, and count how often all intervals of ranks hold.

::

    python -m benchmarks.ranks --boards 200 --positives 30 200

Scores are binormal with a planted AUROC in two cohorts, three negatives a positive, each of another patient; half of
the noise is shared by all models. Models of equal quality may truly have any of their ranks: an interval has to hold
them all.
"""

import argparse

import numpy as np

from benchmarks.releases import classes, drawn
from pytest_ecgfm.evaluations.ranks import Scored, ranked

SERIES = {
    "four equal": (0.8, 0.8, 0.8, 0.8),
    "eight equal": (0.8,) * 8,
    "two equal pairs": (0.85, 0.85, 0.8, 0.8),
    "steps of 0.02": (0.86, 0.84, 0.82, 0.80),
}


def board(qualities, positives, rng):
    """Return where each model stands on one simulated board."""
    targets, cells = classes(positives), {}
    names = np.array([f"r{number:04d}" for number in range(targets.size)])
    for cohort in ("a", "b"):
        shared = rng.standard_normal(targets.size)
        scores = np.stack([drawn(rng, quality, targets, shared, 0.5) for quality in qualities])
        cells[cohort] = [Scored(scores, targets, names)]
    return ranked(cells)


def simulated(qualities, positives, boards, rng):
    """Return the share of boards on which all intervals hold, and the mean number of ranks in an interval."""
    held = np.array(qualities)
    truth = [(1 + int((held > one).sum()), int((held >= one).sum())) for one in qualities]
    holds, widths = 0, []
    for _ in range(boards):
        found = board(qualities, positives, rng)
        holds += all(one.best <= low and one.worst >= high for one, (low, high) in zip(found, truth, strict=True))
        widths.append(np.mean([one.worst - one.best + 1 for one in found]))
    return holds / boards, float(np.mean(widths))


def main():
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=200)
    parser.add_argument("--positives", type=int, nargs="+", default=[30, 200])
    args = parser.parse_args()
    print("| models | positives a cohort | all intervals hold | ranks in an interval, mean |")
    print("| --- | --- | --- | --- |")
    for name, qualities in SERIES.items():
        for positives in args.positives:
            holds, width = simulated(qualities, positives, args.boards, np.random.default_rng(0))
            print(f"| {name} | {positives} | {100 * holds:.1f} % | {width:.2f} |", flush=True)


if __name__ == "__main__":
    main()
