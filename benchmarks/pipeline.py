"""Compare embedding a cohort from its files with the bare forward pass on tensors that are there already.

ECGFounder on WFDB records (12 leads, 10 s, 500 Hz) that are written for the purpose. One side reads, decodes, checks,
preprocesses, embeds and stores them; one only calls the module; and a naive loop reads with wfdb, preprocesses and
calls the module, one thing after the other. They alternate in one process, so that a busy machine slows all alike.
Speed does not depend on the weights' values: without a checkpoint they are drawn. Run::

    python benchmarks/pipeline.py [--checkpoint 12_lead_ECGFounder.pth]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: threads that spin while they wait for a core that another process has would be measured.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.folder import FolderCohort
from pytest_ecgfm.embeddings import EmbeddingCache, chunk_rows, embed_stretches
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.ecgfounder import Net1D, preprocess
from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.signals.records import LEADS

with warnings.catch_warnings():
    # wfdb uses parts of pandas that newer versions deprecate.
    warnings.simplefilter("ignore")
    import wfdb

GOAL = 1.10


def write_cohort(folder: Path, records: int) -> Cohort:
    """Write a WFDB folder with labels."""
    source = load_cohort("synthetic-europe")
    lines = ["record,patient,age,sex,AF"]
    for name in list(source.records[:records]):
        read = source.read(name)
        signals = np.resize(read.signals.T, (5000, 12)).astype(np.float64)
        wfdb.wrsamp(
            name.replace("-", "_"),
            fs=500,
            units=["mV"] * 12,
            sig_name=list(LEADS),
            p_signal=signals,
            fmt=["16"] * 12,
            write_dir=str(folder),
        )
        lines.append(f"{name.replace('-', '_')},{name},60,F,0")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return FolderCohort(folder)


def drawn_checkpoint(folder: Path) -> Path:
    """Write a checkpoint of the right keys and shapes, its weights as torch draws them."""
    torch.manual_seed(0)
    path = folder / "drawn.pth"
    torch.save({"state_dict": Net1D(12).state_dict()}, path)
    return path


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def preloaded(encoder: Encoder, cohort: Cohort, batch: int) -> list[torch.Tensor]:
    """Return what the module is given for each batch."""
    seen: list[torch.Tensor] = []
    handle = encoder.module.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    list(embed_stretches(encoder, cohort, [range(len(cohort))], batch_size=batch))
    handle.remove()
    return seen


def main() -> None:
    """Print the ratios, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="official weights (default: drawn ones)")
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        cohort = write_cohort(folder / "data", args.records)
        checkpoint = args.checkpoint or drawn_checkpoint(folder)
        encoder = load_encoder("ecgfounder", checkpoint=checkpoint, device="cpu")
        inputs = preloaded(encoder, cohort, args.batch)
        assert sum(map(len, inputs)) == len(cohort) == args.records

        def bare() -> None:
            with torch.inference_mode():
                for one in inputs:
                    encoder.module(one)

        def naive() -> None:
            paths = [str(folder / "data" / name) for name in cohort.records]
            with torch.inference_mode():
                for begin in range(0, len(paths), args.batch):
                    read = [wfdb.rdrecord(path).p_signal.T for path in paths[begin : begin + args.batch]]
                    encoder.module(torch.from_numpy(preprocess(np.stack(read).astype(np.float32), 500)))

        def prepare() -> None:
            for _ in inputs:
                preprocess(records, 500)

        def whole(number: int) -> None:
            # A cache of its own each time: everything is made, and everything is written.
            cache = EmbeddingCache(folder / f"cache{number}", "benchmark")
            found = cache.get(
                encoder,
                cohort,
                lambda missing: embed_stretches(encoder, cohort, missing, batch_size=args.batch),
                length=chunk_rows(args.batch),
            )
            assert found.shape == (args.records, 1024)

        records = next(cohort.batches(args.batch)).signals
        bare()
        rounds = [
            (seconds(bare), seconds(lambda number=number: whole(number)), seconds(naive), seconds(prepare))
            for number in range(args.rounds)
        ]
    wall, cpu = ([ours[kind] / bare[kind] for bare, ours, _, _ in rounds] for kind in (0, 1))
    each = [statistics.median(one[side][1] for one in rounds) / args.records for side in range(4)]
    found = {
        "benchmark": "pipeline",
        "threads": torch.get_num_threads(),
        "batch": args.batch,
        "records": args.records,
        "cpu_seconds_a_record": dict(zip(("bare", "whole", "naive", "preprocessing alone"), each, strict=True)),
        "naive_over_whole_wall": statistics.median(loop[0] / ours[0] for _, ours, loop, _ in rounds),
        "ratio_wall": statistics.median(wall),
        "ratio_wall_all": wall,
        "ratio_cpu": statistics.median(cpu),
        "goal": GOAL,
        "reached": statistics.median(wall) <= GOAL,
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"ECGFounder, {args.records} records, batches of {args.batch}, {found['threads']} threads, {args.rounds} rounds"
    )
    print(
        "  CPU ms a record: "
        + ", ".join(f"{side} {1e3 * one:.1f}" for side, one in found["cpu_seconds_a_record"].items())
    )
    ratios = f"{found['ratio_wall']:.3f} times the bare pass ({found['ratio_cpu']:.3f} in CPU time)"
    print(f"  files to stored embeddings: {ratios}")
    print(f"  each round: {', '.join(f'{one:.3f}' for one in sorted(wall))}; goal of at most {GOAL:.2f}", end=" ")
    print("reached" if found["reached"] else "missed")
    print(f"  {found['naive_over_whole_wall']:.2f} times as fast as a naive loop with wfdb")


if __name__ == "__main__":
    main()
