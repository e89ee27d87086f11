"""Print how far two records with the same defect lie apart: where the limit of `contract.hard_records` comes from.

Run::

    python -m benchmarks.defects

The two records of each embedded cohort that lie farthest apart become flat, clipped, short and so on, as in the check.
The table gives the distance between their embeddings, over that between records, where what reaches the encoder of
them still differs: the smallest over the cohorts. Two records count as one below `SAME`.
"""

import numpy as np
import torch

from benchmarks.rounding import Convolutions, Tokens, batch_of
from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.synthetic.specs import SPECS
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.evaluations.hard_records import SAME, between_defects

RECORDS = 8
SCALES = ("none", "zscore-per-lead", "minmax")


def encoders() -> dict[str, Encoder]:
    """Return the references, and two untrained networks on plain and on scaled input."""
    found = {name: load_encoder(name) for name in ("handcrafted", "random_conv", "demographics")}
    for build in (Convolutions, Tokens):
        for scale in SCALES:
            torch.manual_seed(0)
            card = parse_card("m", {"sampling_rate": 100, "normalize": scale}, where="")
            found[f"{build.__name__.lower()}, {scale}"] = Encoder(card, build())
    return found


def main() -> None:
    """Print the table."""
    batches = [batch_of(name).rows(range(RECORDS)) for name in SPECS]
    print("| encoder | smallest distance | defect |")
    print("| --- | --- | --- |")
    worst = np.inf
    for name, encoder in encoders().items():
        pairs = [
            (value, defect)
            for batch in batches
            for defect, value in between_defects(encoder.embed_batch, batch, encoder.prepared).items()
        ]
        value, defect = min(pairs)
        worst = min(worst, value)
        print(f"| {name} | {value:.3g} | {defect} |", flush=True)
    print(f"\nsmallest {worst:.3g}, {worst / SAME:.0f} times what counts as one ({SAME:g})")


if __name__ == "__main__":
    main()
