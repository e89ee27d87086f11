"""Stream 100,000 generated records through a cheap encoder and the store: throughput, memory, size, resumption.

Records are 10 s of 12 leads at 500 Hz, as large as real ones, and made rather than read; the encoder is one matrix
product to 768 dimensions. What remains is what this package adds for each record. docs/scale.md does its arithmetic
with the result. Run: ``python benchmarks/scale.py`` (two to three minutes of one core, and 310 MB of disk).
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from peak import peak_memory

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.cohorts.base import LABELS, Cohort
from pytest_ecgfm.embeddings import EmbeddingCache, chunk_rows, embed_stretches
from pytest_ecgfm.embeddings.store import entries
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.signals.records import LEADS, Recording

DIMENSIONS = 768
_TEMPLATES = 64


class Generated(Cohort):
    """Records that are made when they are read: a template of noise, scaled by the record's number."""

    def __init__(self, records: int) -> None:
        index = pd.Index([f"{number:07d}" for number in range(records)], dtype=str)
        table = pd.DataFrame(
            {"patient": index, "age": 50.0, "sex": "", "fold": pd.array([pd.NA] * records, "Int64")}, index=index
        )
        labels = pd.DataFrame(dict.fromkeys(LABELS, False), index=index).astype("boolean")
        super().__init__(
            "generated", continent="Europe", table=table, labels=labels, sampling_rate=500, has_patients=False
        )
        rng = np.random.default_rng(0)
        self._templates = rng.normal(scale=0.3, size=(_TEMPLATES, 12, 5000)).astype(np.float32)

    def _read(self, record: str) -> Recording:
        number = int(record)
        return Recording(self._templates[number % _TEMPLATES] * np.float32(1 + number / 1e6), LEADS, 500.0)

    def _content_digest(self, records: Sequence[str]) -> str:
        return hashlib.sha256(" ".join(records).encode() + self._templates.tobytes()).hexdigest()


class Product:
    """Every tenth sample of four leads, times a matrix."""

    def __init__(self) -> None:
        weights = np.random.default_rng(1).normal(size=(4 * 500, DIMENSIONS))
        self.weights = weights.astype(np.float32) / np.float32(np.sqrt(len(weights)))

    def embed(self, signals: np.ndarray) -> np.ndarray:
        """Embed, shape (records, 768)."""
        return signals[:, ::3, ::10].reshape(len(signals), -1) @ self.weights


def main() -> None:
    """Print what was measured, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cohort = Generated(args.records)
    card = parse_card("product", {"sampling_rate": 500, "seconds": 10, "input": "array", "version": "1"}, where="")
    encoder = Encoder(card, Product())

    def make(missing: list[range]) -> Iterator[np.ndarray]:
        return embed_stretches(encoder, cohort, missing, batch_size=args.batch)

    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder), "benchmark")
        peaks, begun, clock = [], time.process_time(), time.perf_counter()
        done, marks = 0, [args.records * share // 10 for share in range(1, 11)]
        # One chunk at a time, as a worker or a run would write them: the array as a whole is never in memory.
        for _, values in cache.chunks(encoder, cohort, make, length=chunk_rows(args.batch)):
            done += len(values)
            if len(peaks) < len(marks) and done >= marks[len(peaks)]:
                peaks.append(peak_memory())
        cpu, wall = time.process_time() - begun, time.perf_counter() - clock
        (entry,) = entries(Path(folder))

        begun = time.process_time()
        read = sum(len(values) for _, values in cache.chunks(encoder, cohort, lambda missing: iter(())))
        checked = time.process_time() - begun
        assert done == read == entry.held == args.records

        lost = sorted(entry.folder.glob("*.npz"))[7]
        lost.write_bytes(lost.read_bytes()[:-1])
        made: list[range] = []
        begun = time.process_time()
        for _ in cache.chunks(
            encoder, cohort, lambda missing: (made.extend(missing), make(missing))[1], length=chunk_rows(args.batch)
        ):
            pass
        mended = time.process_time() - begun
        assert [len(one) for one in made] == [chunk_rows(args.batch)]
    found = {
        "benchmark": "scale",
        "records": args.records,
        "records_a_cpu_second": args.records / cpu,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_mb_at_each_tenth": peaks,
        "store_bytes": entry.size,
        "store_bytes_over_array_bytes": entry.size / (args.records * DIMENSIONS * 4),
        "read_and_checked_cpu_seconds": checked,
        "one_damaged_chunk_cpu_seconds": mended,
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{args.records} records, batches of {args.batch}, {DIMENSIONS} dimensions")
    speed = f"{found['records_a_cpu_second']:.0f} records a CPU second"
    print(f"  embedded and stored: {speed} ({cpu:.0f} s; {wall:.0f} s on the clock)")
    print(f"  peak memory at each tenth, MB: {', '.join(f'{one:.0f}' for one in peaks)}")
    print(f"  store: {entry.size / 1e6:.1f} MB, {found['store_bytes_over_array_bytes']:.4f} times the array's bytes")
    print(f"  read again and checked: {checked:.1f} CPU seconds; with one damaged chunk made again: {mended:.1f}")


if __name__ == "__main__":
    main()
