"""Which checks share a worker: those that share embeddings, probes or the map."""

import pytest

pytest.importorskip("xdist")

from pytest_ecgfm.results.checks import Case
from pytest_ecgfm.session.distribution import group_of


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (
            Case("downstream.auroc", "a", "here", "AF", fraction=1.0),
            Case("separability.neighbours", "a", "here", "CD", space="selected"),
            True,
        ),
        (Case("downstream.auroc", "a", "here", "AF"), Case("downstream.auroc", "a", "there", "AF"), False),
        (Case("downstream.auroc", "a", "here", "AF"), Case("downstream.auroc", "b", "here", "AF"), False),
        (
            Case("separability.neighbours", "a", "here", "AF", space="umap"),
            Case("separability.trustworthiness", "a"),
            True,
        ),
        (
            Case("separability.robustness", "a", label="AF"),
            Case("relevance.cohorts", "a", label="AF"),
            True,
        ),
        (
            Case("separability.robustness", "a", label="AF"),
            Case("separability.robustness", "a", label="CD"),
            False,
        ),
        (Case("separability.robustness", "a", label="AF"), Case("downstream.auroc", "a", "here", "AF"), False),
    ],
)
def test_checks_that_share_work_share_a_worker(one, other, together):
    assert (group_of(one) == group_of(other)) is together
