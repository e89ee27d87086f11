"""Count how often nominal 95 % intervals of the AUROC hold the truth.

Records of two Gaussian classes, a logistic probe, and the interval that the gate uses. The truth of a kind of split is
the mean AUROC over its own simulations: a probe's true AUROC depends on how much it was trained on, and which records
it was trained on varies too. Run: ``python benchmarks/intervals.py``.
"""

import argparse

import numpy as np

from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.splits import make_split

RECORDS, POSITIVES, DIMENSIONS = 500, 60, 20


def simulate(kind: str, distance: float, seed: int) -> tuple[float, float, float]:
    """Evaluate one simulated cohort; return value, low and high."""
    rng = np.random.default_rng([seed, round(distance * 100)])
    targets = np.zeros(RECORDS, bool)
    targets[rng.choice(RECORDS, POSITIVES, replace=False)] = True
    embeddings = rng.normal(size=(RECORDS, DIMENSIONS)).astype(np.float32)
    embeddings[targets, 0] += distance
    patients = np.arange(RECORDS).astype(str)
    split = make_split(targets, patients, seed=seed, minimum_test_positives=0 if kind == "holdout" else RECORDS)
    assert split.kind == kind
    found = evaluate(embeddings, targets, patients, split, 1.0).estimate
    return found.value, found.low, found.high


def main() -> None:
    """Print coverage by kind of split and distance of the classes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    simulations = parser.parse_args().simulations
    print(f"{RECORDS} records, {POSITIVES} positive, {DIMENSIONS} dimensions, {simulations} simulations each")
    for kind in ("cv", "holdout"):
        for distance in (0.0, 0.7, 1.4):
            value, low, high = np.array([simulate(kind, distance, seed) for seed in range(simulations)]).T
            truth = 0.5 if distance == 0 else value.mean()
            held = np.mean((low <= truth) & (truth <= high))
            error = np.sqrt(held * (1 - held) / simulations)
            print(f"{kind:>8}: mean AUROC {value.mean():.3f}, coverage {held:.3f} (standard error {error:.3f})")


if __name__ == "__main__":
    main()
