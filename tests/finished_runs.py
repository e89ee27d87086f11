"""Finished runs without an encoder: planted scores, judged and written as a session writes them."""

import json
import math

import numpy as np
from scipy.stats import norm

from pytest_ecgfm.cards import parse_card
from pytest_ecgfm.evaluations.measured import Measured
from pytest_ecgfm.evaluations.statistics import mean_auroc
from pytest_ecgfm.results.baseline import Scores, change
from pytest_ecgfm.results.rows import Cell, judged_row
from pytest_ecgfm.results.verdict import corrected
from pytest_ecgfm.run.settings import read_settings
from pytest_ecgfm.session.in_process import _Given
from pytest_ecgfm.session.outputs import Outputs, RunFolder

COHORTS = ("synthetic-asia", "synthetic-europe")
LABELS = ("AF", "STach")
CARD = {"sampling_rate": 100, "seconds": 10, "leads": "II", "pretrained_on": [], "version": "3"}


def planted(quality, release=0, positives=500, noise=0.9, seed=0):
    """Scores of one release with a planted AUROC; releases share most of their noise, as versions of a model do."""
    targets = np.arange(4 * positives) < positives
    shared = np.random.default_rng(seed).standard_normal(targets.size)
    own = np.random.default_rng([seed, release, 1]).standard_normal(targets.size)
    scores = math.sqrt(2) * norm.ppf(quality) * targets + math.sqrt(noise) * shared + math.sqrt(1 - noise) * own
    names = np.array([f"r{number:04d}" for number in range(targets.size)])
    # As in the cube: in single precision.
    return Scores(names, names, scores.astype(np.float32).astype(float), targets.astype(float))


def finished(folder, scores, *, model="m", started="", weights="ab" * 32, trouble=(), edit=None, **options):
    """Write a run; `scores` takes a cohort and a label. `edit` changes what a case's test measured."""
    given = {"": model, "cohorts": ",".join(COHORTS), "labels": ",".join(LABELS), "profile": "smoke", **options}
    given = {f"ecgfm_{name}" if name else "ecgfm": value for name, value in given.items()}
    settings = read_settings(_Given({**given, "ecgfm_out": str(folder)}))
    card = parse_card(model, CARD, where="test")
    outputs = Outputs(RunFolder(settings.out, folder.name), folder.name, settings, {model: card})
    outputs.started = started or outputs.started
    # The page has tests of its own, and takes longer than all the rest.
    outputs._write_page = lambda: None
    arrays = folder / "arrays"
    for number, cohort in enumerate(settings.cohorts):
        about = {"kind": "cohort", "name": cohort, "digest": f"{cohort}-1", "patients": 1, "excluded": {}}
        about |= {"unmapped": {}, "caution": "", "continent": "Asia", "records": 2000}
        (arrays / f"cohort{number}.json").write_text(json.dumps(about))
    note = {"kind": "encoder", "name": model, "weights_sha256": weights, "device": "cpu"}
    (arrays / "encoder.json").write_text(json.dumps(note))
    planned = settings.planned()
    rows = []
    for case, threshold in planned.items():
        found = Measured.exact(threshold.bound)
        if case.label:
            found = _measured(case, scores(case.cohort, case.label), settings, arrays)
        found = found if edit is None else edit(case, found)
        rows.append(judged_row(case, threshold, found))
    outputs.finish(corrected(rows), list(planned), list(trouble))
    return folder


def _measured(case, held, settings, arrays):
    positives = int(held.targets.sum())
    counts = {"positives": positives, "negatives": len(held.targets) - positives, "split": "cv"}
    if case.baseline:
        then = settings.baselines[case.baseline].scores(case.encoder, case.cohort, case.label, renamed=True)
        return Measured.of(change(held, then, case.baseline), **counts)
    file = arrays / f"{case.cohort}-{case.label}.npz"
    fold = np.full(len(held.records), -1)
    about = {"record": held.records, "patient": held.patients, "fold": fold}
    np.savez(file, score=held.scores, target=held.targets, **about)
    found = mean_auroc(held.scores, held.targets > 0.5)
    at = {"encoder": case.encoder, "cohort": case.cohort, "label": case.label, "probe": "logistic", "fraction": 1.0}
    values = {"auroc_mean": found.value, "auroc_mean_low": found.low, "auroc_mean_high": found.high}
    cells = (Cell("downstream", at, values),)
    return Measured.of(found, cells=cells, arrays=(f"arrays/{file.name}",), **counts)
