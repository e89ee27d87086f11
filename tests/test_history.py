"""Copies of the process, in which new records are embedded."""

import os

import numpy as np
import pytest

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.measurements import history
from pytest_ecgfm.measurements.history import _in_copy, _uncopied

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be copied here")


def test_a_copy_answers_and_leaves_no_trace():
    seen = []

    def embed():
        seen.append(1)
        return np.full((3, 70_000), len(seen), np.float32)

    for _ in range(2):
        # Larger than a pipe holds; and the second copy knows nothing of the first.
        np.testing.assert_array_equal(_in_copy(embed), np.ones((3, 70_000)))
    assert not seen


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: (_ for _ in ()).throw(EcgfmError("record 7 is too short.")), "record 7 is too short"),
        (lambda: os._exit(3), "ended without an answer"),
    ],
)
def test_a_copy_that_cannot_embed_says_why(embed, message):
    with pytest.raises(EcgfmError, match=message):
        _in_copy(embed)


def test_a_copy_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(history, "_SECONDS", 0.3)
    children = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])

    def hang():
        import time

        while True:
            time.sleep(1)

    with pytest.raises(EcgfmError, match=r"did not embed new records in 0\.3 s"):
        _in_copy(hang)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


def test_a_process_on_a_graphics_card_is_not_copied():
    card = parse_card("m", {"sampling_rate": 100, "seconds": 10, "pretrained_on": []}, where="test")
    encoder = Encoder(card, lambda signals: signals)
    assert _uncopied(encoder) == ""
    encoder.device = "cuda"
    assert "graphics card" in _uncopied(encoder)
