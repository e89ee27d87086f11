"""Measure coverage of the intervals of calibration and operating point, and what a threshold from training gives.

``--part calibration``: labels are drawn from odds that are the predicted ones times a slope plus a shift; ``--part
shares``: decisions at a fixed threshold on normally distributed scores; ``--part threshold``: a probe and its threshold
are fitted to training patients, with out-of-fold scores and, to compare, with the probe's own scores. In each, patients
have one record or several, whose noise correlates by one half; labels are those of patients. Run:
``python benchmarks/operating_point.py``.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from pytest_ecgfm.evaluations.calibration import POINTS, calibration
from pytest_ecgfm.evaluations.operating import chosen_threshold, operating_point, out_of_fold
from pytest_ecgfm.evaluations.probes import fit_probe

PREVALENCE = 0.2
INSIDE = slice(POINTS // 4, POINTS - POINTS // 4)  # of a reliability curve: the middle half


def noise(rng: np.random.Generator, patients: np.ndarray) -> np.ndarray:
    """Return normal noise, half of whose variance the records of a patient share."""
    return np.sqrt(0.5) * (rng.normal(size=patients.max() + 1)[patients] + rng.normal(size=patients.size))


def predicted(
    rng: np.random.Generator, records: int, repeats: int, slope: float, shift: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities, labels, patients and the true probabilities; a patient's draws correlate."""
    patients = np.repeat(np.arange(records // repeats), repeats)
    odds = -1.8 + 1.5 * noise(rng, patients)
    true = expit(slope * odds + shift)
    return expit(odds), norm.cdf(noise(rng, patients)) < true, patients, true


def calibrations(simulations: int, records: list[int], repeats: int) -> Iterator[str]:
    """Yield rows of coverage: slope, intercept, index, band."""
    for slope, shift in ((1.0, 0.0), (0.7, 0.0), (1.0, -0.7), (1.3, 0.3)):
        rng = np.random.default_rng(0)
        chances, targets, patients, true = predicted(rng, 400_000, repeats, slope, shift)
        index = float(np.abs(true - chances).mean())
        large = calibration(chances, targets, patients, resamples=1).intercept.value
        for count in records:
            hits, values = np.zeros(4), np.zeros(3)
            for seed in range(simulations):
                one = predicted(np.random.default_rng([seed, count, 1]), count, repeats, slope, shift)
                found = calibration(*one[:3])
                truth = (found.slope, slope), (found.intercept, large), (found.ici, index)
                hits[:3] += [limits.low <= value <= limits.high for limits, value in truth]
                curve = found.curve
                at = curve.predicted[INSIDE]
                right = expit(slope * np.log(at / (1 - at)) + shift)
                hits[3] += ((curve.low[INSIDE] <= right) & (right <= curve.high[INSIDE])).mean()
                values += found.slope.value, found.ici.value, found.chance
            words = " | ".join(f"{100 * hit / simulations:.0f}" for hit in hits)
            means = " | ".join(f"{value / simulations:.3f}" for value in values)
            positives = round(count * float(true.mean()))
            yield f"| {count} | {positives} | {slope:g} | {shift:g} | {index:.3f} | {words} | {means} |"


def shares(simulations: int, positives: list[int], repeats: int) -> Iterator[str]:
    """Yield rows of coverage: sensitivity, specificity, PPV and NPV at a fixed threshold."""
    for wanted in (0.8, 0.9, 0.97):
        threshold = 2.0 - norm.ppf(wanted)
        sensitivity, specificity = norm.sf(threshold - 2.0), norm.cdf(threshold)
        called = PREVALENCE * sensitivity + (1 - PREVALENCE) * (1 - specificity)
        truth = (
            sensitivity,
            specificity,
            PREVALENCE * sensitivity / called,
            (1 - PREVALENCE) * specificity / (1 - called),
        )
        for count in positives:
            hits = np.zeros(4)
            for seed in range(simulations):
                rng = np.random.default_rng([seed, count, 2])
                patients = np.repeat(np.arange(round(count / PREVALENCE / repeats)), repeats)
                targets = (rng.random(patients.max() + 1) < PREVALENCE)[patients]
                found = operating_point(noise(rng, patients) + 2.0 * targets >= threshold, targets, patients)
                hits += [one.low <= value <= one.high for one, value in zip(found.values(), truth, strict=True)]
            yield f"| {count} | {wanted:g} | " + " | ".join(f"{100 * hit / simulations:.1f}" for hit in hits) + " |"


def thresholds(simulations: int, positives: list[int], repeats: int) -> Iterator[str]:
    """Yield rows of the sensitivity that 0.90 in training comes to: of out-of-fold scores, and of the probe's own."""
    for dimensions in (20, 200):
        for count in positives:
            reached = np.zeros((2, simulations))
            for seed in range(simulations):
                rng = np.random.default_rng([seed, count, dimensions])
                parts = []
                for size in (round(count / PREVALENCE / repeats), 4000):
                    patients = np.repeat(np.arange(size), repeats)
                    targets = (rng.random(size) < PREVALENCE)[patients]
                    rows = np.stack([noise(rng, patients) for _ in range(dimensions)], axis=1)
                    rows[:, :4] += 0.9 * targets[:, None]
                    parts.append((rows.astype(np.float32), targets, patients))
                (rows, targets, patients), (tested, truth, _) = parts
                probe = fit_probe("logistic", rows, targets, patients, rows[:0], [])
                for place, scores in enumerate((out_of_fold(probe, rows, targets, patients), probe.scores(rows))):
                    cut = chosen_threshold(scores, targets, "sensitivity", 0.9).threshold
                    reached[place, seed] = (probe.scores(tested) >= cut)[truth].mean()
            words = " | ".join(f"{row.mean():.3f} (SD {row.std(ddof=1):.3f})" for row in reached)
            yield f"| {count} | {dimensions} | {words} |"


PARTS = {
    "calibration": (
        calibrations,
        "| records | positives | slope | shift | ICI | slope, % | intercept, % | ICI, % | band, % "
        "| mean slope | mean ICI | mean by chance |",
    ),
    "shares": (shares, "| positives | sensitivity | sensitivity, % | specificity, % | PPV, % | NPV, % |"),
    "threshold": (thresholds, "| training positives | dimensions | out-of-fold scores | the probe's own scores |"),
}


def main() -> None:
    """Print a table a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--records-a-patient", type=int, default=1)
    parser.add_argument("--counts", type=int, nargs="+", help="records of calibration, positives of the other parts")
    asked = parser.parse_args()
    for part in asked.part:
        rows, head = PARTS[part]
        print(head)
        print("| --- " * (head.count("|") - 1) + "|")
        usual = [250, 1000, 4000] if part == "calibration" else [20, 50, 200]
        for row in rows(asked.simulations, asked.counts or usual, asked.records_a_patient):
            print(row, flush=True)
        print()


if __name__ == "__main__":
    main()
