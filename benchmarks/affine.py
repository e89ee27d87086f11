"""Print what a probe reads from copies of an embedding that say the same: shifted, scaled, rotated.

First table: AUROC of AF in synthetic-europe at 1 % of the training patients, by the least unit of a dimension (as a
share of its SD among all training records; 0 is scikit-learn's z-score of the subset alone). Second: the largest
difference of the AUROC to that of the embedding as it is, over cohorts and labels. With ``--constants``, instead: how
many AUROCs at 100 % a constant in every dimension moves, and in how many simulations C changes, where C is chosen by
AUROC and by smoothed AUROC::

    python benchmarks/affine.py
    python benchmarks/affine.py --encoder handcrafted random_conv --constants
"""

import argparse
from collections.abc import Iterator

import numpy as np

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.embeddings import embed_cohort
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.evaluations import fold_probes, probes
from pytest_ecgfm.evaluations.downstream import evaluate
from pytest_ecgfm.evaluations.splits import Split, make_split
from pytest_ecgfm.evaluations.statistics import aurocs
from pytest_ecgfm.evaluations.statistics.smoothed import smoothed_aurocs

COHORTS = ("synthetic-europe", "synthetic-asia", "synthetic-north-america", "synthetic-south-america")
LABELS = ("CD", "AF", "SB", "STach")
FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
CONSTANTS = (200, 201.3, 150, 130.7, 255, 230.1, 177.7, 190, -200, -151, 220.22, 244)
"""Of one power of two, so that float32 leaves all alike digits."""
Cell = tuple[str, str, np.ndarray, np.ndarray, np.ndarray, Split]


def copies(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the embedding, and what says the same, as float32."""
    rng = np.random.default_rng(0)
    wide = rows.astype(np.float64)
    spread = np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1.0)
    turn = np.linalg.qr(rng.normal(size=(rows.shape[1],) * 2))[0]
    found = {
        "as it is": wide,
        "+ 200": wide + 200,
        "+ 1e4 x spread": wide + 1e4 * spread,
        "x 1e-6": wide * 1e-6,
        "x 1e6": wide * 1e6,
        "x 1e-6 to 1e6 by dimension": wide * 10 ** rng.uniform(-6, 6, rows.shape[1]),
        "rotated": wide @ turn,
        "z-scored, then rotated": (wide - wide.mean(axis=0)) / spread @ turn,
    }
    return {name: one.astype(np.float32) for name, one in found.items()}


def cells(encoder_name: str) -> Iterator[Cell]:
    """Embed each cohort; yield its labels with their splits."""
    encoder = load_encoder(encoder_name, device="cpu")
    for name in COHORTS:
        cohort = load_cohort(name)
        embeddings = embed_cohort(encoder, cohort)
        for label in LABELS:
            known = cohort.labels[label].notna().to_numpy()
            targets = cohort.labels[label][known].to_numpy(dtype=bool)
            patients = cohort.patients[known].to_numpy(dtype=str)
            split = make_split(targets, patients, cohort.folds[known].to_numpy(dtype=object), cohort.split)
            yield name, label, embeddings[known], targets, patients, split


def constants(every: list[Cell]) -> None:
    """Print how far constants move AUROCs at 100 %, by what chooses C."""
    for name, criterion in (("AUROC", aurocs), ("smoothed AUROC", smoothed_aurocs)):
        probes.smoothed_aurocs = criterion
        plain, moved = [], []
        for _, _, embeddings, targets, patients, split in every:
            plain.append(evaluate(embeddings, targets, patients, split, 1.0).estimate.value)
            for constant in CONSTANTS:
                rows = (embeddings.astype(np.float64) + constant).astype(np.float32)
                moved.append(abs(evaluate(rows, targets, patients, split, 1.0).estimate.value - plain[-1]))
        print(
            f"C by {name}: mean AUROC {np.mean(plain):.4f}; of {len(moved)}, {np.sum(np.array(moved) > 1e-3)} move by "
            f"more than 0.001, and the most by {max(moved):.5f}",
            flush=True,
        )


def simulated(seeds: int = 80) -> None:
    """Print how often rounding changes C, where float32 keeps three digits of 40 normally distributed dimensions."""
    for name, criterion in (("AUROC", aurocs), ("smoothed AUROC", smoothed_aurocs)):
        probes.smoothed_aurocs = criterion
        changed = 0
        for trained in (60, 300, 700):
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                direction = rng.normal(size=40) * (rng.random(40) < 0.3)
                targets = rng.random(trained + 100) < 0.25
                targets[:12] = np.arange(12) < 6
                rows = rng.normal(size=(targets.size, 40)) + targets[:, None] * direction / np.linalg.norm(direction)
                chosen = set()
                for constant in (0, 2e4):
                    moved = (rows.astype(np.float32) + np.float32(constant)).astype(np.float32)
                    train, held = (moved[:trained], targets[:trained]), (moved[trained:], targets[trained:])
                    chosen.add(probes.fit_probe("logistic", *train, np.arange(trained), *held).C)
                changed += len(chosen) > 1
        print(f"C by {name}: changed by rounding in {changed} of {3 * seeds} simulations", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", nargs="+", default=["handcrafted"])
    parser.add_argument("--constants", action="store_true")
    asked = parser.parse_args()
    every = [cell for encoder in asked.encoder for cell in cells(encoder)]
    if asked.constants:
        constants(every)
        simulated()
        return
    name, label, embeddings, targets, patients, split = next(one for one in every if one[1] == "AF")
    # Not 0 itself, which would make nothing of infinite units.
    shares = (1e-12, 0.1, fold_probes.LEAST_SHARE, 1.0)
    print(f"AUROC of {label} in {name} at 1 %, by least unit\n| copy | " + " | ".join(f"{one:g}" for one in shares))
    chosen = fold_probes.LEAST_SHARE
    for kind, rows in copies(embeddings).items():
        values = []
        for share in shares:
            fold_probes.LEAST_SHARE = share
            values.append(evaluate(rows, targets, patients, split, 0.01).estimate.value)
        print(f"| {kind} | " + " | ".join(f"{one:.4f}" for one in values), flush=True)
    fold_probes.LEAST_SHARE = chosen
    print("largest difference to the embedding as it is, over cohorts and labels\n| copy | fraction: difference (cell)")
    worst: dict[tuple[str, float], tuple[float, str]] = {}
    for name, label, embeddings, targets, patients, split in every:
        found = copies(embeddings)
        plain = {f: evaluate(embeddings, targets, patients, split, f).estimate.value for f in FRACTIONS}
        for kind in list(found)[1:]:
            for f in FRACTIONS:
                value = evaluate(found[kind], targets, patients, split, f).estimate.value - plain[f]
                worst[kind, f] = max(
                    worst.get((kind, f), (0.0, "")), (value, f"{name} {label}"), key=lambda x: abs(x[0])
                )
    for kind in list(found)[1:]:
        each = ", ".join(f"{f:g}: {worst[kind, f][0]:+.4f} ({worst[kind, f][1]})" for f in FRACTIONS)
        print(f"| {kind} | {each}")


if __name__ == "__main__":
    main()
