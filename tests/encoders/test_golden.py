"""The committed golden vectors: how large they are, and that neither they nor the weights change unnoticed."""

import numpy as np
import pytest

from tests.encoders.golden.cut import ACTIVATION, COMMITTED, INPUT, LARGEST, STEPS, cut, restored, steps
from tests.encoders.synthetic_weights import synthetic_weights

FOLDERS = sorted(path for path in COMMITTED.iterdir() if (path / "golden.npz").is_file())
EXPECTED = [-0.3759985864162445, -0.6490787863731384, 0.12344419956207275]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_model_has_a_manifest_a_row_in_the_readme_and_at_most_300_kb(folder):
    assert (folder / "manifest.json").is_file()
    assert f"`{folder.name}`" in (COMMITTED / "README.md").read_text("utf-8")
    assert sum(path.stat().st_size for path in folder.glob("*.npz")) <= LARGEST


def test_signals_are_kept_without_loss(rng, tmp_path):
    signals = (rng.integers(-4000, 4000, (2, 3, 50)) / 1000).astype(np.float32)
    np.savez(tmp_path / "some.npz", **{f"x_mv{STEPS}": steps(signals), "embedding": signals[..., 0]})
    with np.load(tmp_path / "some.npz", allow_pickle=False) as arrays:
        found = restored(arrays)
    np.testing.assert_array_equal(found["x_mv"], signals)
    np.testing.assert_array_equal(found["embedding"], signals[..., 0])
    # Four decimals, and steps that 16 bits do not hold.
    assert steps(signals + np.float32(0.0004)) is None
    assert steps(10 * signals) is None


def test_what_is_cut_away():
    zeros = np.zeros((4, 12, 5000), np.float32)
    whole = {"x_mv": zeros, "x_in": zeros, "embedding": zeros[:, 0, :768], "stem": zeros[0, 0, :ACTIVATION]}
    # Spelt so that no test holds the name, this one included.
    found = cut(whole | {"_".join(("never", "read")): zeros[0, 0, :3]}, 2)
    assert {name: values.shape for name, values in found.items()} == {
        f"x_mv{STEPS}": (2, 12, 5000),
        "x_in": (2, 12, INPUT),
        "embedding": (2, 768),
    }


def entry(key, *shape, **more):
    return {"key": key, "shape": list(shape), "dtype": "float32", **more}


def test_weights_are_drawn_from_key_shape_and_salt():
    entries = [entry("a.weight", 2, 3), entry("a.bias", 2), entry("norm.weight", 2), entry("table", 1, 2)]
    second = synthetic_weights({"state_dict": entries})
    # Golden vectors hold only with these very numbers.
    np.testing.assert_allclose(second["a.weight"][0], EXPECTED, rtol=1e-6)
    first = synthetic_weights({"tensors": entries})
    np.testing.assert_array_equal(first["a.weight"], second["a.weight"])
    assert not np.allclose(synthetic_weights({"state_dict": entries}, "#other")["a.weight"], second["a.weight"])
    # Fan-in of a table of one row is its width by the first rule; by the second its spread is a half.
    np.testing.assert_allclose(first["table"] * np.sqrt(2), second["table"] * 2, rtol=1e-6)


def test_tensors_that_are_not_drawn():
    entries = [
        entry("b.weight", 2, 2, alias_of="a.weight"),
        entry("a.weight", 2, 2),
        entry("omega", 3, init="constructed"),
        entry("bn.num_batches_tracked", init="constructed") | {"dtype": "int64"},
    ]
    found = synthetic_weights({"state_dict": entries})
    assert set(found) == {"a.weight", "b.weight", "bn.num_batches_tracked"}
    np.testing.assert_array_equal(found["a.weight"], found["b.weight"])
    assert found["bn.num_batches_tracked"] == 0 and found["bn.num_batches_tracked"].dtype == np.int64
