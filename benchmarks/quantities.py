"""Count how often nominal 95 % intervals of R2, mean absolute error and Spearman correlation hold the truth.

A quantity that is linear in one dimension plus noise, two records a patient that share most of the noise, a ridge
probe, and the intervals that the gate uses. The truth of a kind of split is the mean over its simulations, as in
``benchmarks/intervals.py``. With ``--tails 3`` the noise is Student's t with 3 degrees of freedom.

With ``--change``: how often ``downstream.r2_change`` blocks a release, as ``benchmarks/releases.py`` counts it for the
AUROC: an equal one, and ones of which one cell is worse. Predictions have a planted R2, and the errors of the two
releases correlate by 0.9. Run: ``python benchmarks/quantities.py``.
"""

import argparse
import math
from collections.abc import Iterator

import numpy as np

from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.evaluations.quantities import evaluate_quantity
from pytest_ecgfm.evaluations.splits import Split, make_split
from pytest_ecgfm.evaluations.statistics.regression import AGREEMENTS
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.results.profiles import load_profile
from pytest_ecgfm.results.rows import judged_row
from pytest_ecgfm.results.verdict import corrected

DIMENSIONS = 20
CORRELATION = 0.9


def noise(rng: np.random.Generator, count: int, tails: float) -> np.ndarray:
    """Return noise of variance 1: normal, or Student's t with so many degrees of freedom."""
    if math.isinf(tails):
        return rng.normal(size=count)
    return rng.standard_t(tails, size=count) / math.sqrt(tails / (tails - 2))


def simulated(records: int, share: float, tails: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, values of which the embedding holds a share of the variance, and patients of two records."""
    rng = np.random.default_rng([seed, records, round(share * 100)])
    patients = np.arange(records) // 2
    embeddings = rng.normal(size=(records, DIMENSIONS)).astype(np.float32)
    own = 0.8 * noise(rng, records // 2, tails)[patients] + 0.6 * noise(rng, records, tails)
    return embeddings, np.sqrt(share) * embeddings[:, 0] + np.sqrt(1 - share) * own, patients.astype(str)


def split_of(kind: str, values: np.ndarray, patients: np.ndarray, seed: int) -> Split:
    """Return a split of one kind, whatever the number of records."""
    return make_split(values, patients, seed=seed, minimum_test_positives=0 if kind == "holdout" else len(values))


def coverage(kind: str, records: int, share: float, tails: float, simulations: int) -> None:
    """Print the coverage of each agreement."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in AGREEMENTS}
    for seed in range(simulations):
        embeddings, values, patients = simulated(records, share, tails, seed)
        result = evaluate_quantity(embeddings, values, patients, split_of(kind, values, patients, seed), 1.0)
        for name in AGREEMENTS:
            found[name].append(tuple(result.agreement[name].mean))
    words = []
    for name, limits in found.items():
        value, low, high = np.array(limits).T
        truth = value.mean()
        words.append(f"{np.mean((low <= truth) & (truth <= high)):.3f} ({name} {truth:.3f})")
    print(f"| {kind} | {records} | {share:g} | {tails:g} | {' | '.join(words)} |", flush=True)


def one_cell(rng: np.random.Generator, r2: float, loss: float, records: int, tails: float) -> Measured:
    """Return what the gate would measure of a quantity in one cohort: R2 now, minus that of an earlier run."""
    values = noise(rng, records, tails)
    shared = noise(rng, records, tails)
    names = np.array([f"r{number:04d}" for number in range(records)])
    sides = []
    for planted in (r2 - loss, r2):
        errors = math.sqrt(CORRELATION) * shared + math.sqrt(1 - CORRELATION) * noise(rng, records, tails)
        # The least squares' prediction: its error has a variance of 1 - R2.
        found = planted * values + math.sqrt(planted * (1 - planted)) * errors
        sides.append(Scores(names, names, found, values, quantity=True))
    moved = change(*sides, "x")
    return Measured(moved.value, moved.low, moved.high, records=records)


def changes(
    releases: int, records: int, tails: float, planted: list[float], lost: list[float]
) -> Iterator[tuple[int, float, float, float]]:
    """Yield the number of cells, the R2 of the earlier run, the loss of one cell, and the share that is blocked."""
    rng = np.random.default_rng(0)
    case = Case("downstream.r2_change", "m", "ptb-xl", "quantity:age", baseline="x")
    threshold = load_profile("default").threshold(case)
    assert threshold is not None
    for cells in (1, 16):
        for r2 in planted:
            for loss in lost:
                blocked = 0
                for _ in range(releases):
                    losses = (loss, *[0.0] * (cells - 1))
                    rows = [
                        judged_row(case, threshold, one_cell(rng, r2, one, records, tails), cells) for one in losses
                    ]
                    blocked += any(row.blocks for row in corrected(rows))
                yield cells, r2, loss, blocked / releases


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--records", type=int, nargs="+", default=[50, 100, 500])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 0.9], help="of the variance in reach")
    parser.add_argument("--tails", type=float, default=math.inf, help="degrees of freedom of the noise")
    parser.add_argument("--holdout", action="store_true", help="instead of cross-validation")
    parser.add_argument("--change", action="store_true")
    parser.add_argument("--r2", type=float, nargs="+", default=[0.3, 0.5, 0.8], help="of the earlier run")
    parser.add_argument("--losses", type=float, nargs="+", default=[0.0, 0.02, 0.05, 0.1], help="of one cell")
    asked = parser.parse_args()
    if asked.change:
        print("| records | tails | cells | R2 before | loss of one cell | blocked |")
        print("| --- | --- | --- | --- | --- | --- |")
        for records in asked.records:
            for cells, r2, loss, blocked in changes(asked.simulations, records, asked.tails, asked.r2, asked.losses):
                print(
                    f"| {records} | {asked.tails:g} | {cells} | {r2:g} | {loss:g} | {100 * blocked:.1f} % |", flush=True
                )
        return
    print("| split | records | share of the variance in reach | tails | R2 | mean absolute error | Spearman |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for records in asked.records:
        for share in asked.shares:
            coverage("holdout" if asked.holdout else "cv", records, share, asked.tails, asked.simulations)


if __name__ == "__main__":
    main()
