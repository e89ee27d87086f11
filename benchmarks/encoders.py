"""Measure the forward throughput of the foundation models' adapters, on the CPU.

For each model: CPU seconds a record (10 s, 12 leads, 500 Hz) of the network alone on preprocessed input, called plainly
(with autograd, as a bare module is) and as the adapter calls it, their ratio, and the adapter's whole way from mV to
embedding. Both sides alternate in one process. Give the weights of each model to be timed::

    python benchmarks/encoders.py --checkpoint ecgfounder=12_lead_ECGFounder.pth --checkpoint st_mem=encoder.pth
"""

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch

from pytest_ecgfm.encoders.registry import load_encoder
from pytest_ecgfm.encoders.sources import parse_checkpoints
from pytest_ecgfm.signals.records import LEADS, RecordBatch


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call, over all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(name: str, checkpoint: str, batch: int, rounds: int) -> tuple[float, float, float]:
    """Return CPU seconds a record: bare module, module as the adapter calls it, and all that the adapter does."""
    encoder = load_encoder(name, checkpoint=checkpoint, device="cpu")
    signals = np.random.default_rng(0).normal(scale=0.3, size=(batch, 12, 5000)).astype(np.float32)
    records = RecordBatch(signals, LEADS, 500.0, tuple(map(str, range(batch))))
    # Copies that were never called: nothing is kept from one pass of the bare module to the next.
    fresh = [deepcopy(encoder.module).requires_grad_(True) for _ in range(rounds + 1)]
    seen: list[np.ndarray] = []
    handle = encoder.module.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy().copy()))
    encoder.embed_batch(records)
    handle.remove()
    inputs = [torch.from_numpy(one) for one in seen]

    def forward(module: torch.nn.Module) -> None:
        for one in inputs:
            module(one)

    def inferred() -> None:
        with torch.inference_mode():
            forward(encoder.module)

    forward(fresh.pop())
    bare, ours, whole = [], [], []
    for module in fresh:
        bare.append(seconds(partial(forward, module)))
        ours.append(seconds(inferred))
        whole.append(seconds(partial(encoder.embed_batch, records)))
    return tuple(statistics.median(values) / batch for values in (bare, ours, whole))  # type: ignore[return-value]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, batches of {args.batch}, CPU seconds a record, medians of {args.rounds}")
    print("| model | bare module | as the adapter calls it | ratio | with preprocessing |")
    print("| --- | --- | --- | --- | --- |")
    for name, place in parse_checkpoints(args.checkpoint).items():
        bare, ours, whole = measure(name, place, args.batch, args.rounds)
        print(f"| {name} | {bare:.4f} | {ours:.4f} | {bare / ours:.2f} | {whole:.4f} |", flush=True)


if __name__ == "__main__":
    main()
