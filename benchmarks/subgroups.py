"""Count how often the checks of subgroups fail by chance, and how often they find a gap that is there.

Everybody's scores have one AUROC, or those of one age band a lower one; two sexes, three age bands and their six
intersections are looked at, as in a run. A check fails where its interval excludes the bound. For `subgroups.worst`
the bound is the true AUROC of the worst group, for `subgroups.gap` it is 0, and 0.05 where that is said. With
``--records-a-patient 2``, patients repeat, and are resampled. Run: ``python benchmarks/subgroups.py``.
"""

import argparse

import numpy as np
from scipy.stats import norm

from pytest_ecgfm.evaluations.subgroups import subgroups

PREVALENCE = 0.2
BANDS = {"below 40": 0.15, "40 to 64": 0.4, "65 and above": 0.45}


def distance(auroc: float) -> float:
    """Return how many SDs two normal distributions lie apart that have this AUROC."""
    return float(np.sqrt(2) * norm.ppf(auroc))


def simulated(
    positives: int, auroc: float, gap: float, band: str, seed: int, repeats: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return scores, labels, patients and groups; the scores of a patient's records correlate by one half."""
    rng = np.random.default_rng([seed, positives, round(1000 * auroc)])
    count = round(positives / PREVALENCE / repeats)
    patients = np.repeat(np.arange(count), repeats)
    sex = rng.choice(["F", "M"], count)[patients]
    age = rng.choice(list(BANDS), count, p=list(BANDS.values()))[patients]
    diseased = (rng.random(count) < PREVALENCE)[patients]
    noise = np.sqrt(0.5) * (rng.normal(size=count)[patients] + rng.normal(size=patients.size))
    apart = np.where(age == band, distance(auroc - gap), distance(auroc))
    both = np.char.add(np.char.add(sex, ", "), age)
    return noise + apart * diseased, diseased, patients, {"sex": sex, "age": age, "sex x age": both}


def shares(
    positives: int, auroc: float, gap: float, band: str, simulations: int, repeats: int
) -> tuple[float, float, float, float]:
    """Return shares of simulations: lowest group below the truth, gap above 0 and above 0.05, the right band named."""
    counts = np.zeros(4)
    for seed in range(simulations):
        scores, targets, patients, columns = simulated(positives, auroc, gap, band, seed, repeats)
        found = subgroups(scores, targets, patients, columns)
        widest = found.widest().low
        named = any(band in one.name for one in found.shown_wider(0.0))
        counts += (found.lowest().high < auroc - gap, widest > 0.0, widest > 0.05, named)
    lowest, some, wide, named = (counts / simulations).tolist()
    return lowest, some, wide, named


def main() -> None:
    """Print false alarms without a gap, and power with one, by tested positives and AUROC."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--records-a-patient", type=int, default=1)
    parser.add_argument("--positives", type=int, nargs="+", default=[50, 100, 300, 1000])
    parser.add_argument("--aurocs", type=float, nargs="+", default=[0.8, 0.9, 0.97])
    parser.add_argument("--gaps", type=float, nargs="+", default=[0.0, 0.05, 0.1])
    asked = parser.parse_args()
    print("| positives | AUROC | gap | of whom | worst fails | gap fails at 0 | gap fails at 0.05 | band named at 0 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for gap in asked.gaps:
        for band in ("65 and above", "below 40") if gap else ("65 and above",):
            for positives in asked.positives:
                for auroc in asked.aurocs:
                    found = shares(positives, auroc, gap, band, asked.simulations, asked.records_a_patient)
                    words = " | ".join(f"{100 * share:.1f}" for share in found)
                    print(f"| {positives} | {auroc:g} | {gap:g} | {band if gap else 'nobody'} | {words} |", flush=True)


if __name__ == "__main__":
    main()
