import os
import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pytest_ecgfm.cohorts.synthetic import EmbeddedCohort, load_embedded
from tests.cohorts.embedded_data import NAMES, small

with warnings.catch_warnings():
    # wfdb uses parts of pandas that newer versions deprecate.
    warnings.simplefilter("ignore")
    import wfdb  # noqa: F401

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Samples of the published cohorts, in their layouts; they do not come with the repository."""
    root = Path(os.environ.get("ECGFM_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
    if not (root / "ptb-xl" / "ptbxl_database.csv").is_file():
        pytest.skip(f"no sample recordings: set $ECGFM_DATA, or put them in {root}")
    return root


def make_leads(seed: int, samples: int, step: int = 1) -> np.ndarray:
    """Twelve leads as stored numbers (samples, leads) that obey the limb leads' relations but for rounding."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples)[:, np.newaxis]
    eight = 300 * np.sin(time / rng.uniform(5, 40, 8) + rng.uniform(0, 6, 8)) + rng.normal(0, 20, (samples, 8))
    one, two, chest = eight[:, :1], eight[:, 1:2], eight[:, 2:]
    limbs = (one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2)
    return np.rint(np.hstack([*limbs, chest]) * step).astype(np.int16)


@pytest.fixture
def limb_leads() -> Callable[..., np.ndarray]:
    """Make twelve leads as stored numbers: seed and samples to an array (samples, leads)."""
    return make_leads


@pytest.fixture
def write_record() -> Callable[..., Path]:
    """Write a WFDB record of format 16, as `.dat` or as the challenges' `.mat`; return the header's path."""

    def write(
        folder: Path,
        name: str,
        stored: np.ndarray | None = None,
        *,
        rate: object = 500,
        suffix: str = ".dat",
        gain: str = "1000(0)/mV",
        leads: Sequence[str] = LEADS,
        comments: Sequence[str] = (),
        file: str | None = None,
        record_line: str | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if stored is None:
            stored = make_leads(len(name), 500)
        samples, count = stored.shape
        data = stored.astype("<i2").tobytes()
        code = "16"
        if suffix == ".mat":
            data = struct.pack("<5i", 30, count, samples, 0, 4) + b"val\0" + data
            code = "16+24"
        (folder / f"{name}{suffix}").write_bytes(data)
        lines = [record_line or f"{name} {count} {rate} {samples}"]
        for lead, column in zip(leads, stored.T, strict=True):
            checksum = int(column.sum(dtype=np.int64) & 0xFFFF)
            lines.append(f"{file or name + suffix} {code} {gain} 16 0 {column[0]} {checksum} 0 {lead}")
        header = folder / f"{name}.hea"
        header.write_text("\n".join([*lines, *comments]) + "\n", encoding="utf-8")
        return header

    return write


@pytest.fixture(scope="module")
def cohorts() -> dict[str, EmbeddedCohort]:
    return {name: small(name) for name in NAMES}


@pytest.fixture(scope="module")
def europe() -> EmbeddedCohort:
    """Full size, for its rare labels: truths only, no signals."""
    return load_embedded("synthetic-europe")
