"""Golden vectors, cut to a size that can be committed.

Run from the repository's root, with `$ECGFM_GOLDEN` set: ``python -m tests.encoders.golden.cut NAME...``
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

COMMITTED = Path(__file__).parent
LARGEST = 300_000
"""Bytes of a model's vectors."""
STEPS = ".steps"
"""Signals in mV have three decimals: their differences in 1 uV, as 16-bit integers, take half the room."""
INPUT = 200
"""Samples that are kept of official inputs above `WHOLE_INPUT` bytes."""
WHOLE_INPUT = 50_000
ACTIVATION = 10_000
"""Bytes of an array, other than a signal or an embedding, that is kept."""


def restored(arrays):
    """Arrays by name, with signals in mV as float32."""
    found = {}
    for name in arrays.files:
        values = arrays[name]
        if name.endswith(STEPS):
            name, values = name.removesuffix(STEPS), np.cumsum(values, axis=-1, dtype=np.int32) / np.float32(1000)
            values = values.astype(np.float32)
        found[name] = values
    return found


def head(found, expected):
    """`found`, cut at its end as `expected` was."""
    return found[..., : expected.shape[-1]]


def steps(signals):
    """What `restored` makes signals of; None where it would not be exact."""
    microvolts = np.rint(signals * 1000.0)
    differences = np.diff(microvolts, axis=-1, prepend=0).astype(np.int16)
    again = (np.cumsum(differences, axis=-1, dtype=np.int32) / np.float32(1000)).astype(np.float32)
    return differences if np.array_equal(again, signals) else None


def is_read(name):
    """Whether a test asks for an array by its name, to whose end it may add."""
    tests = Path(__file__).parents[1].glob("test_*.py")
    stem = name.removesuffix("_synthetic").rstrip("0123456789")
    return any(f'"{stem}' in text for text in (path.read_text("utf-8") for path in tests))


def cut(arrays, records):
    """The first `records` of all that has an entry a record, the first samples of inputs, and small activations."""
    of_all, found = len(arrays["x_mv"]), {}
    for name, values in arrays.items():
        if not is_read(name):
            continue
        if values.shape[:1] == (of_all,):
            values = values[:records]
        in_mv = name.startswith("x_") and "_mv" in name
        if name.startswith("x_") and not in_mv:
            values = values[..., :INPUT] if values.nbytes > WHOLE_INPUT else values
        elif not in_mv and not name.startswith("embedding") and values.nbytes > ACTIVATION:
            continue
        small = steps(values) if in_mv else None
        found.update({name: values} if small is None else {f"{name}{STEPS}": small})
    return found


def main(names, records=2):
    whole = Path(os.environ["ECGFM_GOLDEN"])
    for name in names:
        with np.load(whole / name / "golden.npz", allow_pickle=False) as arrays:
            found = cut(dict(arrays), records)
        folder = COMMITTED / name
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / "golden.npz", **found)
        # One tensor a line.
        manifest = json.loads((whole / name / "manifest.json").read_text("utf-8"))
        text = json.dumps(manifest, separators=(",", ":")).replace('{"key"', '\n{"key"')
        (folder / "manifest.json").write_text(f"{text}\n", encoding="utf-8")
        size = (folder / "golden.npz").stat().st_size
        if size > LARGEST:
            raise SystemExit(f"{name}: {size} bytes are more than {LARGEST}: keep fewer arrays, or smaller ones")


if __name__ == "__main__":
    main(sys.argv[1:])
