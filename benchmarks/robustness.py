"""Print what the Robustness Index reads on noise: one half, whatever the cohorts, their sizes and their prevalence.

Run it with ``python benchmarks/robustness.py [--simulations N]``. Each line is the mean over simulations with its
standard error, the standard deviation over simulations beside that of the interval, and how often an interval lies
above or below one half. Embeddings are normal; records of a patient are alike where patients repeat.
"""

import argparse

import numpy as np

from pytest_ecgfm.evaluations.robustness import Robustness, robustness_index

# Cohorts, patients of a cohort, prevalence, dimensions, records of a patient.
SETTINGS = (
    (2, 300, 0.2, 32, 1),
    (3, 300, 0.2, 32, 1),
    (4, 300, 0.2, 32, 1),
    (7, 300, 0.2, 32, 1),
    (2, 300, 0.02, 8, 1),
    (4, 250, 0.02, 64, 1),
    (2, 10, 0.5, 2, 1),
    (7, 10, 0.5, 64, 1),
    (4, 300, 0.5, 2, 1),
    (3, 100, 0.1, 8, 3),
    (2, 60, 0.5, 64, 5),
)


def noise(setting: tuple[int, int, float, int, int], seed: int) -> Robustness:
    """Evaluate one embedding without any structure but that of patients."""
    cohorts, size, share, dimensions, repeats = setting
    rng = np.random.default_rng([seed, cohorts, size, dimensions])
    positive = np.concatenate([rng.permutation(size) < max(5, round(share * size)) for _ in range(cohorts)])
    who = np.repeat(np.arange(cohorts * size), repeats)
    homes = np.repeat([f"c{number}" for number in range(cohorts)], size * repeats)
    rows = rng.normal(size=(who.size, dimensions))
    if repeats > 1:
        rows += 2 * rng.normal(size=(cohorts * size, dimensions))[who]
    return robustness_index(rows, positive[who], homes, who)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=40)
    count = parser.parse_args().simulations
    print("| cohorts | patients | prevalence | dimensions | records | index | SD | SD of interval | above | below |")
    print("| --- |" + " --- |" * 9)
    for setting in SETTINGS:
        found = np.array([noise(setting, seed) for seed in range(count)])
        value, low, high = found[:, 0], found[:, 1], found[:, 2]
        error, width = value.std(ddof=1) / count**0.5, float(np.mean(high - low)) / 3.92
        about = " | ".join(f"{one:g}" for one in setting)
        print(
            f"| {about} | {value.mean():.4f} ± {error:.4f} | {value.std(ddof=1):.4f} | {width:.4f} "
            f"| {np.mean(low >= 0.5):.3f} | {np.mean(high <= 0.5):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
