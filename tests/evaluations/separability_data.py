"""Planted groups and cohorts, for tests of separability."""

import numpy as np
from scipy.stats import binom


def planted(seed, distance, n=200, d=8, share=0.3):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(n) < share * n
    direction = rng.normal(size=d)
    direction *= distance / np.linalg.norm(direction)
    return rng.normal(size=(n, d)) + groups[:, None] * direction, groups, np.array([f"p{i}" for i in range(n)])


def tolerated(trials, nominal, chance=1e-4):
    """Return how many misses are plausible: the binomial quantile that is passed with a probability of `chance`."""
    return int(binom.ppf(1 - chance, trials, nominal))
