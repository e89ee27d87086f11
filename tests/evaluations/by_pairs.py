"""AUROCs by their definition, pair by pair."""

import numpy as np


def smoothed(targets, scores, width=0.1):
    """Mean over pairs, each from 0 to 1, evenly, within `width` SDs of the scores on either side."""
    reach = width * scores.std()
    return np.clip(0.5 + (scores[targets][:, None] - scores[~targets]) / (2 * reach), 0, 1).mean()
