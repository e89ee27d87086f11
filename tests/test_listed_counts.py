"""What `--ecgfm-list` says of the embedded cohorts without drawing them is what it would count."""

import pytest

from pytest_ecgfm.cohorts.synthetic import SPECS, load_embedded
from pytest_ecgfm.session.counts import Counts, counts_of, embedded_counts


def _as_written(counts):
    pairs = {key: {name: list(pair) for name, pair in getattr(counts, key).items()} for key in ("labels", "columns")}
    return Counts(**{**vars(counts), **pairs})


@pytest.mark.parametrize("name", SPECS)
def test_the_kept_counts_are_those_of_the_cohort(name):
    counted = _as_written(counts_of(load_embedded(name)))
    again = "python -m pytest_ecgfm.session.counts writes them again"
    assert embedded_counts()[name] == counted, again


def test_each_embedded_cohort_has_counts():
    assert list(embedded_counts()) == list(SPECS)
