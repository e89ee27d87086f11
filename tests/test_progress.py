"""How far a stage is, in a log: lines of their own, not glued to what pytest prints."""

import sys
import unicodedata

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ecgfm.session import progress

STEPS = st.lists(st.floats(0, 30), min_size=1, max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.text(max_size=20) | st.just("::error::x\x1b[2J"))
def test_lines_of_their_own(capsys, monkeypatch, steps, description):
    clock = [0.0]
    with monkeypatch.context() as patch:
        patch.setattr(progress.time, "monotonic", lambda: clock[0])
        sys.stderr.write("test_a.py ..")
        with progress.bar(description) as show:
            for number, seconds in enumerate(steps, start=1):
                clock[0] += seconds
                show(number, len(steps))
    sys.stderr.write("..\n")
    *lines, end = capsys.readouterr().err.split("\n")
    assert end == ""
    if max(sum(steps[: number + 1]) for number in range(len(steps))) < 10:
        assert lines == ["test_a.py ...."]
        return
    first, *lines, last = lines
    assert first == "test_a.py .." and last == ".."
    assert len(lines) <= sum(steps) / 10 and all(" of " in line for line in lines)
    assert not any(line.lstrip().startswith("::") for line in lines)
    assert not any(unicodedata.category(one) == "Cc" for line in lines for one in line)


def test_silent_is_silent(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    for silent in (True, False):
        with progress.bar("embedding", silent=silent) as show:
            show(1, 2)
        assert ("embedding: 1 of 2 records" in capsys.readouterr().err) == (not silent)
