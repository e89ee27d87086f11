"""How numbers are written: the page's and the terminal's formatter are one, and write no power of ten."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_ecgfm.report.charts import tick_text, ticks
from pytest_ecgfm.report.terminal import summary_lines
from pytest_ecgfm.report.words import bound_text, plain, text_of
from pytest_ecgfm.results.checks import Case, Threshold
from pytest_ecgfm.results.rounded import chosen, decimals, rounded, spanned
from pytest_ecgfm.results.rows import Measured, judged_row
from pytest_ecgfm.results.verdict import decide

SIZES = st.floats(-12, 6).map(lambda power: 10.0**power)
SIGNED = st.builds(lambda size, sign: sign * size, SIZES, st.sampled_from([1, -1]))
VALUES = st.one_of(st.just(0.0), st.floats(-1e5, 1e5), SIGNED)
BOUNDS = st.one_of(st.just(math.nan), st.just(0.0), st.floats(-10, 10), SIZES)


def read(text):
    return float(text.replace("−", "-"))


@given(VALUES, BOUNDS)
def test_a_measured_number_has_decimals_and_no_power_of_ten(value, bound):
    for text in (rounded(value, bound), text_of(value, bound), rounded(value, bound, sign="+")):
        assert "e" not in text and "E" not in text
        # Rounded, and never further off than half of its last place.
        places = len(text.partition(".")[2])
        assert abs(read(text) - value) <= 0.5 * 10.0**-places * (1 + 1e-6)
        # What is next to nothing has no sign of its own, and is as long as any other number.
        if read(text) == 0:
            assert text.lstrip("+") == f"{0:.{decimals(bound)}f}"
    assert abs(value) >= 100 or text_of(value, bound).replace("−", "-") == rounded(value, bound)
    for text in (spanned(value, value, value, bound), plain(value, value - 1, value + 1, bound)):
        assert "e-" not in text and "e+" not in text


@given(st.floats(-9e-4, 9e-4))
def test_a_small_difference_is_never_a_power_of_ten(value):
    assume(abs(value) < 5e-4)
    assert rounded(value) == text_of(value) == "0.000"


@given(VALUES)
def test_a_number_that_somebody_chose_is_told_whole(value):
    for text in (chosen(value), bound_text(value), tick_text(value)):
        assert "e" not in text
        assert read(text) == pytest.approx(value, rel=5e-6, abs=0)


@given(VALUES, SIZES)
def test_ticks_are_decimals(low, size):
    assume(low + size > low)
    assert all("e" not in tick_text(one) for one in ticks(low, low + size))


@given(st.floats(-1, 1), st.floats(1e-6, 1e-3))
def test_the_terminal_writes_as_the_page_does(value, half):
    case = Case("downstream.r2", "m", "cohort", "quantity:x", 1.0)
    row = judged_row(case, Threshold(-0.5), Measured(value, value - half, value + half, 60, 90, "cv"))
    lines = list(summary_lines(decide([row], [case], models=["m"]), [row]))
    (told,) = (line.split()[1] for line in lines if line.startswith("  cohort "))
    assert told.rstrip("!?u") == text_of(value).replace("−", "-")
    assert text_of(value, -0.5) in row.interval().replace("-", "−")
