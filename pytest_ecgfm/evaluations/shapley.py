"""Exact Shapley values of leads, of the whole embedding at once.

References
----------
.. [1] Shapley, *A value for n-person games* (1953).
.. [2] Lundberg, Lee, NeurIPS 2017 (arXiv 1705.07874): Shapley values of a model's inputs.

The value is linear in the game [1]_, and a probe's logit is linear in the embedding. The coalitions' embeddings do not
depend on the label: the Shapley value of the embedding, a vector a player, is computed once, and each label, fraction
and seed is then a dot product with its probe.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.signals.coalitions import Player, coalitions, with_leads
from pytest_ecgfm.signals.records import RecordBatch

Floats = npt.NDArray[np.float64]
EmbedAll = Callable[[Iterable[RecordBatch]], Iterable[npt.NDArray[Any]]]


@dataclass(frozen=True)
class LeadShapley:
    """Shapley values of the embedding.

    Attributes
    ----------
    values : ndarray of float64, shape (records, players, d)
        Sum over players: `full` minus `empty`.
    empty, full : ndarray of float64, shape (records, d)
        Embedding with every player's leads taken away, and with all of them there.
    """

    values: Floats
    empty: Floats
    full: Floats


def shapley_weights(count: int) -> Floats:
    """Return what each coalition's value counts for each player, shape (2 ** count, count).

    The value of player i is the sum over coalitions S without i of ``|S|! (p - |S| - 1)! / p!`` times
    ``v(S + i) - v(S)`` [1]_; here gathered by coalition: with i in it, it counts by the weight of S - i, else by minus
    that of S.
    """
    present = coalitions(count)
    size = present.sum(axis=1)
    with np.errstate(divide="ignore"):
        # |S|! (p - |S| - 1)! / p! = 1 / (p * C(p - 1, |S|))
        weight = np.array([1.0 / (count * comb(count - 1, s)) if s < count else 0.0 for s in range(count + 1)])
    values: Floats = np.where(present, weight[np.maximum(size - 1, 0)][:, None], -weight[size][:, None])
    return values


def lead_shapley(
    embed_all: EmbedAll,
    batch: RecordBatch,
    background: npt.NDArray[Any],
    cast: Sequence[Player],
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> LeadShapley:
    """Compute the exact Shapley value of every player for the embedding of every record.

    Parameters
    ----------
    embed_all : callable
        Takes batches of records and returns their embeddings, (records, d) each, in the same order; such as
        ``functools.partial(map, encoder.embed_batch)``.
    batch : RecordBatch
        The records.
    background : ndarray, shape like ``batch.signals``
        What replaces leads that are taken away, in mV.
    cast : sequence of Player
        From `pytest_ecgfm.signals.coalitions.players`; each record is embedded ``2 ** len(cast)`` times.
    batch_size : int
        Records a batch.
    progress : callable, optional
        Called with the number of embeddings made, and of all.

    Returns
    -------
    LeadShapley
        Sums are in float64, so they add up to the change of the embedding within the rounding of float32.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_ecgfm.signals.coalitions import players
    >>> from pytest_ecgfm.signals.records import RecordBatch
    >>> signals = np.random.default_rng(0).normal(size=(3, 2, 100)).astype(np.float32)
    >>> batch = RecordBatch(signals, ("V1", "V2"), 100.0, ("a", "b", "c"))
    >>> embed = lambda batches: (batch.signals.mean(axis=2) for batch in batches)
    >>> found = lead_shapley(embed, batch, np.zeros_like(signals), players(batch.leads))
    >>> np.allclose(found.values.sum(axis=1), found.full - found.empty)
    True
    """
    count = len(cast)
    present, weights = coalitions(count), shapley_weights(count)
    total = len(batch) * len(present)
    values = empty = full = np.empty(0)
    # Coalition by coalition within a record: a batch mixes records, and nothing but the sums is kept.
    numbers = [np.arange(begin, min(begin + batch_size, total)) for begin in range(0, total, batch_size)]

    def masked() -> Iterator[RecordBatch]:
        for number in numbers:
            record, subset = number // len(present), number % len(present)
            yield with_leads(batch.rows(record.tolist()), background[record], cast, present[subset])

    for number, part in zip(numbers, embed_all(masked()), strict=True):
        record, subset = number // len(present), number % len(present)
        found = np.asarray(part, dtype=np.float64)
        if not values.size:
            values = np.zeros((len(batch), count, found.shape[1]))
            empty, full = np.zeros((2, len(batch), found.shape[1]))
        for one in np.unique(record):
            mine = record == one
            values[one] += weights[subset[mine]].T @ found[mine]
        empty[record[subset == 0]] = found[subset == 0]
        full[record[subset == len(present) - 1]] = found[subset == len(present) - 1]
        if progress is not None:
            progress(int(number[-1]) + 1, total)
    return LeadShapley(values, empty, full)


def projected(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Return the Shapley values of a linear function of the embedding, shape (records, players).

    Parameters
    ----------
    values : array_like, shape (records, players, d)
        Of the embedding.
    weights : array_like, shape (d,) or (records, d)
        Of the function, on the embedding as it is: a probe's coefficients over its scale. One a record where records
        are scored by probes of different folds.
    """
    slopes = np.asarray(weights, dtype=np.float64)
    return np.asarray(np.einsum("npd,nd->np" if slopes.ndim == 2 else "npd,d->np", np.asarray(values), slopes))


def efficiency_error(phi: npt.ArrayLike, logits: npt.ArrayLike, background_logits: npt.ArrayLike) -> Floats:
    """Return by how much the sum of a record's Shapley values differs from the change of its logit, shape (records,).

    Examples
    --------
    >>> efficiency_error([[1.0, 2.0]], logits=[4.0], background_logits=[1.0])
    array([0.])
    """
    change = np.asarray(logits, dtype=np.float64) - np.asarray(background_logits, dtype=np.float64)
    return np.asarray(np.abs(np.asarray(phi, dtype=np.float64).sum(axis=1) - change))
