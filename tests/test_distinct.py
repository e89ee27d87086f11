"""Work that is done once for each different row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_ecgfm.encoders.preprocessing import resample
from pytest_ecgfm.signals.distinct import by_distinct_rows, distinct

# Few values, so that rows repeat, and rows that hold the same values in another order.
SIGNALS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan]))
)


@given(SIGNALS)
def test_rows_are_different_and_make_the_whole(signals):
    rows, place = distinct(signals)
    assert place.shape == signals.shape[:-1]
    assert rows[place].tobytes() == signals.tobytes()
    assert len({row.tobytes() for row in rows}) == len(rows)
    assert set(place.ravel().tolist()) == set(range(len(rows)))


@given(SIGNALS)
def test_function_sees_each_row_once(signals):
    seen = []

    def reversed_rows(rows):
        seen.extend(row.tobytes() for row in rows)
        return rows[:, ::-1]

    found = by_distinct_rows(reversed_rows, signals)
    np.testing.assert_array_equal(found, signals[..., ::-1])
    assert len(seen) == len(set(seen))


def test_doubles_and_strides():
    signals = np.arange(24.0).reshape(2, 6, 2).transpose(0, 2, 1)
    rows, place = distinct(np.concatenate([signals, signals]))
    assert rows.dtype == np.float64 and len(rows) == 4
    np.testing.assert_array_equal(rows[place][2:], signals)


def test_a_row_is_resampled_as_it_is_alone(rng):
    signals = rng.normal(size=(3, 4, 500)).astype(np.float32)
    signals[1, 1:] = signals[0, 0]
    signals[2] = 0
    found = resample(signals, 500, 250)
    alone = np.stack([[resample(lead, 500, 250) for lead in record] for record in signals])
    np.testing.assert_array_equal(found, alone)
    assert not found[2].any()
