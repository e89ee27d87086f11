"""Scores with a known AUROC, and DeLong's variance by comparing every pair."""

import math

import numpy as np
from scipy.stats import norm


def binormal(rng, area, positives, negatives, rows=1):
    """Scores whose true AUROC is `area`."""
    targets = np.arange(positives + negatives) < positives
    shift = math.sqrt(2) * norm.ppf(area)
    return rng.normal(size=(rows, targets.size)) + shift * targets, targets


def brute_placements(scores, targets):
    """V10 and V01 by comparing every pair."""
    difference = scores[targets][:, None] - scores[~targets][None, :]
    kernel = (difference > 0) + 0.5 * (difference == 0)
    return kernel.mean(axis=1), kernel.mean(axis=0)


def satterthwaite(test_variance, *spreads):
    """Degrees of freedom of a variance and of spreads over seeds, each (variance of the mean, seeds)."""
    total = test_variance + sum(variance for variance, _ in spreads)
    return total**2 / sum(variance**2 / (k - 1) for variance, k in spreads)


def mean_placements(rows, targets):
    return [np.mean(part, axis=0) for part in zip(*(brute_placements(row, targets) for row in rows), strict=True)]
