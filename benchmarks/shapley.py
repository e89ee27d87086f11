"""Compare our Shapley values of leads with shap's explainers, called label by label.

Explains the logits of 4 labels x 6 fractions of an embedded cohort, on a few records::

    python benchmarks/shapley.py --encoder random_conv --records 2

Prints how often each way calls the encoder, the ratio of processor times in this run, and two errors: the largest
difference between a sum of values and the change of the logit, and the largest difference to the definition of the
Shapley value, evaluated in exact fractions of float64 on the same coalitions' logits.
"""

import argparse
import json
import math
import time
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

import pytest_ecgfm
from pytest_ecgfm.evaluations.fold_probes import fold_probes
from pytest_ecgfm.evaluations.shapley import lead_shapley, projected
from pytest_ecgfm.evaluations.splits import make_split
from pytest_ecgfm.signals.coalitions import coalitions, complete, players, with_leads

LABELS = ("CD", "AF", "SB", "STach")
FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


class Counting:
    """Counts the records that an encoder embeds."""

    def __init__(self, encoder):
        self.encoder, self.forwards = encoder, 0

    def __call__(self, batch):
        """Embed a batch."""
        self.forwards += len(batch)
        return self.encoder.embed_batch(batch)


def probes_of(cohort, embeddings):
    """Return weights and offset of the logit for each label and fraction."""
    out = []
    for label in LABELS:
        known = cohort.labels[label].notna().to_numpy()
        targets = cohort.labels[label][known].to_numpy(dtype=bool)
        patients = cohort.patients[known].to_numpy(dtype=str)
        split = make_split(targets, patients, cohort.folds[known].to_numpy(dtype=object), cohort.split)
        for fraction in FRACTIONS:
            probe = fold_probes(embeddings[known], targets, patients, split, fraction)[0].probe
            weights = probe.coefficients / probe.scale
            out.append((weights, probe.intercept - float(weights @ probe.mean)))
    return out


def by_definition(values, count):
    """Return the Shapley values of a table of all coalitions' values, straight from the definition."""
    phi = np.zeros(count)
    for player in range(count):
        others = [one for one in range(count) if one != player]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for chosen in combinations(others, size):
                without = sum(1 << one for one in chosen)
                phi[player] += weight * (values[without | 1 << player] - values[without])
    return phi


def ours(embed, batch, cast, probes):
    """Explain all probes from one vector-valued Shapley value a record."""
    found = lead_shapley(partial(map, embed), batch, np.zeros_like(batch.signals), cast)
    return np.stack([projected(found.values, weights) for weights, _ in probes])


def by_shap(kind, embed, batch, cast, probes):
    """Explain each probe and record by itself, as the explainer is meant to be called."""
    import shap

    out = np.zeros((len(probes), len(batch), len(cast)))
    for number, (weights, offset) in enumerate(probes):
        for row in range(len(batch)):
            one = batch.rows([row])

            def logit(present, one=one, weights=weights, offset=offset):
                rows = one.rows([0] * len(present))
                masked = with_leads(rows, np.zeros_like(rows.signals), cast, np.asarray(present) > 0.5)
                return embed(masked).astype(np.float64) @ weights + offset

            here, nothing = np.ones((1, len(cast))), np.zeros((1, len(cast)))
            if kind == "exact":
                explainer = shap.ExactExplainer(logit, shap.maskers.Independent(nothing))
                out[number, row] = explainer(here).values[0]
            else:
                explainer = shap.KernelExplainer(logit, nothing)
                out[number, row] = explainer.shap_values(here, nsamples=2 ** len(cast), silent=True)[0]
    return out


def main():
    """Print a Markdown table; write the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="random_conv")
    parser.add_argument("--cohort", default="synthetic-europe")
    parser.add_argument("--records", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder, cohort = pytest_ecgfm.load_encoder(asked.encoder), pytest_ecgfm.load_cohort(asked.cohort)
    embeddings = np.concatenate([encoder.embed_batch(batch) for batch in cohort.batches(64)])
    order = {record: row for row, record in enumerate(r for batch in cohort.batches(64) for r in batch.records)}
    probes = probes_of(cohort, embeddings[[order[record] for record in cohort.records]])
    batch = complete(next(iter(cohort.batches(asked.records))), encoder.card.leads)
    cast = players(encoder.card.leads)
    present = coalitions(len(cast))
    truth = np.zeros((len(probes), len(batch), len(cast)))
    ends = np.zeros((len(probes), len(batch)))
    for row in range(len(batch)):
        rows = batch.rows([row] * len(present))
        table = encoder.embed_batch(with_leads(rows, np.zeros_like(rows.signals), cast, present)).astype(np.float64)
        for number, (weights, offset) in enumerate(probes):
            logits = table @ weights + offset
            truth[number, row] = by_definition(logits, len(cast))
            ends[number, row] = logits[-1] - logits[0]
    ways = {
        "ours": ours,
        "shap.ExactExplainer": partial(by_shap, "exact"),
        "shap.KernelExplainer": partial(by_shap, "kernel"),
    }
    found = {}
    for name, way in ways.items():
        counting = Counting(encoder)
        begin = time.process_time()
        values = way(counting, batch, cast, probes)
        found[name] = {
            "forwards": counting.forwards,
            "seconds": time.process_time() - begin,
            "efficiency_error": float(np.abs(values.sum(axis=2) - ends).max()),
            "error": float(np.abs(values - truth).max()),
        }
    first = found["ours"]
    print(f"{asked.encoder}, {len(batch)} records, {len(probes)} probes, {len(cast)} players")
    print("| | encoder forwards | times ours | processor time, times ours | error of the sum | largest error |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in found.items():
        more, slower = one["forwards"] / first["forwards"], one["seconds"] / first["seconds"]
        errors = f"{one['efficiency_error']:.1e} | {one['error']:.1e}"
        print(f"| {name} | {one['forwards']} | {more:.1f} | {slower:.1f} | {errors} |")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
