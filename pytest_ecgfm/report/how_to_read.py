"""One plain sentence for each kind of figure, on the page and for papers: how it is read."""

AUROC = (
    "Each mark is the mean AUROC over seeds and its bar the 95 % interval; the model is good enough where it lies "
    "above the short red line, the threshold, and the dotted line is chance."
)
TRANSFER = (
    "A row is the cohort whose probe it is and a column is where it was tested: the darker, the higher the AUROC, and "
    "a large drop means that the probe does not travel."
)
HEAT = (
    "A row is the cohort where the probe was fitted and a column is the one where it was tested (a star: seen in "
    "pretraining): the brighter, the higher the value."
)
STABILITY = (
    "Each mark is the median distance that records move and its bar the 95 % interval: the lower a line, the more "
    "stable the embedding, and 1 is as far as another patient."
)
LEADS = (
    "The darker a box, the more the probe uses that lead, by the share beside its name; a single dark box may be a "
    "shortcut, unless the disease shows in that lead."
)
MAP = (
    "Each dot is a record, and near dots have similar embeddings: labels should form islands of their own, and cohorts "
    "should mix; distances between islands mean little."
)
AGREEMENT = (
    "Each mark is how often neighbours share the label: one that lies right of its grey bar, which is what permuted "
    "labels give, is more than chance."
)
CHANGES = (
    "Each mark is a difference and its bar the 95 % interval: left of the dotted line is a loss, and an interval that "
    "is wholly left of the red margin is too large a loss."
)
GROUPS = (
    "A row is a group and a column is a cohort: each cell has the AUROC in that group with its 95 % interval, and a "
    "group marked ↓ is shown to be below all other patients."
)
RELIABILITY = (
    "Each curve is the observed share of records with the label by the probability that the probe predicted, with its "
    "95 % band: on the dotted line the probabilities are right, above it too low, below it too high."
)
LOSS = (
    "Each mark is a release minus the first one and its bar the 95 % interval: a line that falls release by release, "
    "below the short red line, is a slow loss."
)
RELEASES = (
    "Each mark is the value of a release and its bar the 95 % interval: the short red line is the threshold, and its "
    "foot points to the wrong side."
)
