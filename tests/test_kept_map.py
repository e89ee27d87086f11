"""The map is kept with the embeddings: it is drawn once for what it shows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pytest_ecgfm.embeddings import EmbeddingCache
from pytest_ecgfm.evaluations.umap_map import Map
from pytest_ecgfm.measurements import separability


class Cohort:
    name, digest = "synthetic-europe", "records"
    table = pd.DataFrame({"age": [50.0], "sex": ["female"]})


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a map of embeddings in a new process, as it were; count how often UMAP is asked."""
    asked = []

    def umap_map(features):
        asked.append(features)
        return Map(features[:, :2].astype(np.float32), 0.9, np.nan)

    monkeypatch.setattr(separability, "umap_map", umap_map)

    def draw(embeddings, fingerprint="weights"):
        encoder = SimpleNamespace(card=SimpleNamespace(name="mine"), fingerprint=fingerprint)
        cache = EmbeddingCache(tmp_path, "run")
        run = SimpleNamespace(
            settings=SimpleNamespace(cohorts=("synthetic-europe",)),
            once=lambda key, make: make(),
            cohort=lambda name: Cohort(),
            derived=lambda encoder, cohort, part, make: cache.get(
                encoder, cohort, lambda missing: [make(None)], part=part
            ),
        )
        monkeypatch.setattr(separability, "_pooled", lambda run, encoder: (embeddings, None, None))
        return separability._map(run, encoder)

    return draw, asked


def test_a_map_is_drawn_once_and_found_again_whole(drawn, rng):
    draw, asked = drawn
    embeddings = rng.normal(size=(30, 5)).astype(np.float32)
    first, again = draw(embeddings), draw(embeddings.copy())
    assert len(asked) == 1
    np.testing.assert_array_equal(again.coordinates, first.coordinates)
    np.testing.assert_array_equal(first.coordinates, asked[0][:, :2].astype(np.float32))
    assert again.coordinates.dtype == np.float32
    assert again.trustworthiness == 0.9 and np.isnan(again.agreement)


def test_other_embeddings_and_other_encoders_have_other_maps(drawn, rng):
    draw, asked = drawn
    embeddings = rng.normal(size=(30, 5)).astype(np.float32)
    draw(embeddings)
    draw(embeddings + rng.normal(size=(30, 5)).astype(np.float32))
    draw(embeddings, fingerprint="other weights")
    assert len(asked) == 3
