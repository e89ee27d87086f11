"""The paper's metrics of pairs of cohorts, kept with the embeddings: they decide nothing, and take long to compute."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.embeddings import Part, Progress
from pytest_ecgfm.evaluations import separability as evaluation
from pytest_ecgfm.evaluations.clusters import METRICS, Space
from pytest_ecgfm.evaluations.separability import Adjusted

if TYPE_CHECKING:
    from pytest_ecgfm.encoders.base import Encoder
    from pytest_ecgfm.run.run import Run

# The code of this module, and of all that it imports, is part of the key: it imports nothing that judges.
MODULES = (__name__,)
"""What computes them."""

_COMPUTED_BY = ("numpy", "scipy", "scikit-learn")  # another version may find other clusters
_FIELDS = tuple(field.name for field in fields(Adjusted))


@dataclass(frozen=True)
class Pair:
    """Records of two cohorts in a space.

    Attributes
    ----------
    features : ndarray, shape (records, d)
    cohorts, patients : ndarray of str, shape (records,)
    scale : bool
        Whether to z-score each dimension; not for a map.
    most : int
        Records that clustering algorithms see, at most.
    """

    features: npt.NDArray[Any]
    cohorts: npt.NDArray[Any]
    patients: npt.NDArray[Any]
    scale: bool
    most: int

    @property
    def identity(self) -> str:
        """Everything that the metrics depend on."""
        names = json.dumps([self.cohorts.tolist(), self.patients.tolist(), self.scale, self.most])
        shape = f"{self.features.dtype} {self.features.shape}"
        return digest([self.features.tobytes(), shape.encode(), names.encode()])

    def metrics(self) -> dict[str, Adjusted]:
        """Compute them."""
        space = Space(self.features, scale=self.scale, most=self.most)
        return evaluation.adjusted_metrics(space, self.cohorts, self.patients)


def pair_metrics(run: "Run", encoder: "Encoder", what: str, pairs: Sequence[Pair]) -> list[dict[str, Adjusted]]:
    """Compute the paper's metrics of each pair, or find them computed.

    Parameters
    ----------
    run, encoder
        Where they are kept, and for which encoder.
    what : str
        What the pairs have in common, for the list of what the cache holds.
    pairs : sequence of Pair
        With a record of both cohorts at least.
    """
    if not pairs:
        return []

    def make(progress: Progress) -> npt.NDArray[np.float64]:
        out = np.empty((len(pairs), len(METRICS), len(_FIELDS)))
        for number, pair in enumerate(pairs):
            found = pair.metrics()
            out[number] = [[getattr(found[name], field) for field in _FIELDS] for name in METRICS]
            progress(number + 1, len(pairs))
        return out

    identity = json.dumps([*(pair.identity for pair in pairs), *map(version, _COMPUTED_BY)])
    # Kept under the first cohort's name; what they are of is in the identity.
    part = Part(f"metrics of pairs of cohorts, {what}", identity, len(pairs), MODULES)
    packed = run.derived(encoder, run.cohort(run.settings.cohorts[0]), part, make)
    return [{name: Adjusted(*values) for name, values in zip(METRICS, each.tolist(), strict=True)} for each in packed]
