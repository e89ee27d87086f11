"""Count how often nominal 95 % intervals of R2, mean absolute error and Spearman correlation hold the truth.

A quantity that is linear in one dimension plus noise, two records a patient that share most of the noise, a ridge
probe, and the intervals that the gate uses. The truth of a kind of split is the mean over its simulations, as in
``benchmarks/intervals.py``. With ``--change``: how often the margin of ``downstream.r2_change`` passes an encoder that
lost nothing, and one that lost 0.05. Run: ``python benchmarks/quantities.py``.
"""

import argparse

import numpy as np

from pytest_ecgfm.evaluations.quantities import QuantityResult, evaluate_quantity, paired_r2
from pytest_ecgfm.evaluations.splits import Split, make_split
from pytest_ecgfm.evaluations.statistics.regression import AGREEMENTS

DIMENSIONS = 20
MARGIN = -0.02


def simulated(records: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, values of which the embedding holds a share of the variance, and patients of two records."""
    rng = np.random.default_rng([seed, records, round(share * 100)])
    patients = np.arange(records) // 2
    embeddings = rng.normal(size=(records, DIMENSIONS)).astype(np.float32)
    own = 0.8 * rng.normal(size=records // 2)[patients] + 0.6 * rng.normal(size=records)
    return embeddings, np.sqrt(share) * embeddings[:, 0] + np.sqrt(1 - share) * own, patients.astype(str)


def split_of(kind: str, values: np.ndarray, patients: np.ndarray, seed: int) -> Split:
    """Return a split of one kind, whatever the number of records."""
    return make_split(values, patients, seed=seed, minimum_test_positives=0 if kind == "holdout" else len(values))


def coverage(kind: str, records: int, share: float, simulations: int) -> None:
    """Print the coverage of each agreement."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in AGREEMENTS}
    for seed in range(simulations):
        embeddings, values, patients = simulated(records, share, seed)
        result = evaluate_quantity(embeddings, values, patients, split_of(kind, values, patients, seed), 1.0)
        for name in AGREEMENTS:
            found[name].append(tuple(result.agreement[name].mean))
    words = []
    for name, limits in found.items():
        value, low, high = np.array(limits).T
        truth = value.mean()
        words.append(f"{np.mean((low <= truth) & (truth <= high)):.3f} ({name} {truth:.3f})")
    print(f"| {kind} | {records} | {share:g} | {' | '.join(words)} |", flush=True)


def change(records: int, lost: float, simulations: int) -> None:
    """Print how often a release that lost so much R2 passes, and how often the whole interval is below 0."""
    passed = blocked = 0
    for seed in range(simulations):
        embeddings, values, patients = simulated(records, 0.5, seed)
        rng = np.random.default_rng([seed, 7])
        results: list[QuantityResult] = []
        for noise in (0.05, 0.05 + 2 * lost):
            # Another training of the same encoder: noise of its own in every dimension.
            seen = (embeddings + np.sqrt(noise) * rng.normal(size=embeddings.shape)).astype(np.float32)
            results.append(evaluate_quantity(seen, values, patients, split_of("cv", values, patients, seed), 1.0))
        found = paired_r2(results[1], results[0])
        passed += found.value >= MARGIN or found.high >= 0
        blocked += found.value < MARGIN and found.high < 0
    print(f"{records} records, R2 lost {lost:g}: passes {passed / simulations:.3f}, blocks {blocked / simulations:.3f}")


def main() -> None:
    """Print coverage by kind of split, records and share of the variance that can be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--change", action="store_true")
    asked = parser.parse_args()
    if asked.change:
        for records in (200, 600):
            for lost in (0.0, 0.05):
                change(records, lost, asked.simulations)
        return
    print("| split | records | R2 of the truth | R2 | mean absolute error | Spearman |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, records in (("cv", 100), ("cv", 300), ("holdout", 1000)):
        for share in (0.0, 0.5):
            coverage(kind, records, share, asked.simulations)


if __name__ == "__main__":
    main()
