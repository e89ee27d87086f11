"""One run: its cohorts, encoders, embeddings and results, each made once and kept."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.checks import Case
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.bad_records import without_bad_records
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.embeddings import EmbeddingCache, Progress, embed_cohort
from pytest_ecgfm.encoders.base import Encoder, digest
from pytest_ecgfm.errors import EcgfmError
from pytest_ecgfm.evaluations.downstream import DownstreamResult, evaluate, paired_difference, seeds_for
from pytest_ecgfm.evaluations.splits import Split, make_split
from pytest_ecgfm.records import FloatArray, RecordBatch
from pytest_ecgfm.rows import Cell, Measured
from pytest_ecgfm.settings import Settings
from pytest_ecgfm.statistics import Estimate

_SAMPLE = 8

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows the progress of a long stage under a description."""


@dataclass(frozen=True)
class Found:
    """What the downstream evaluation found for one encoder in one cell, with what the cube keeps of it.

    `result` is None where a class is too rare for any split.
    """

    case: Case
    fraction: float
    encoder: str
    result: DownstreamResult | None
    positives: int
    negatives: int
    probe: str
    split: str
    arrays: str

    def auroc(self) -> Measured:
        """AUROC over seeds, with its interval."""
        return self._measured(None if self.result is None else self.result.estimate, self.cells, self.arrays)

    def minus(self, other: "Found") -> Measured:
        """AUROC minus another encoder's on the same records, paired."""
        estimate = None
        if self.result is not None and other.result is not None:
            estimate = paired_difference(self.result, other.result)
        return self._measured(estimate, (*self.cells, *other.cells), "")

    def _measured(self, estimate: Estimate | None, cells: tuple[Cell, ...], arrays: str) -> Measured:
        nan = float("nan")
        value, low, high = (nan, nan, nan) if estimate is None else (estimate.value, estimate.low, estimate.high)
        return Measured(value, low, high, self.positives, self.negatives, self.split, cells, arrays)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Values for the cube: one cell a seed, and one for what is summed over seeds."""
        if self.result is None:
            return ()
        at: dict[str, str | float | int] = {
            "encoder": self.encoder,
            "cohort": self.case.cohort,
            "label": self.case.label,
            "probe": self.probe,
            "fraction": self.fraction,
        }
        dataset = self.result.to_dataset()
        whole = {str(name): float(array) for name, array in dataset.data_vars.items() if not array.dims}
        out = [Cell("downstream", at, whole)]
        for seed in dataset["seed"].values.tolist():
            one = dataset.sel(seed=seed)
            values = {str(name): float(one[name]) for name, array in dataset.data_vars.items() if array.dims}
            out.append(Cell("downstream", {**at, "seed": int(seed)}, values))
        return tuple(out)


class Run:
    """Everything that the suites share.

    Parameters
    ----------
    settings : Settings
        What was asked for.
    run_id : str
        Identity of the run.
    folder : Path
        Where its files go.
    stage : callable
        Opens a progress display.
    """

    def __init__(self, settings: Settings, run_id: str, folder: Path, stage: Stage) -> None:
        self.settings = settings
        self.folder = folder
        self._stage = stage
        self._cache = EmbeddingCache(settings.cache, run_id)
        self._cohorts: dict[str, Cohort] = {}
        self._encoders: dict[str, Encoder] = {}
        self._embeddings: dict[tuple[str, str], FloatArray | EcgfmError] = {}
        self._splits: dict[tuple[str, str], Split] = {}
        self._found: dict[tuple[object, ...], Found] = {}

    def cohort(self, name: str) -> Cohort:
        """Load a cohort, limited and without bad records where that was asked for."""
        if name not in self._cohorts:
            settings = self.settings
            cohort = load_cohort(name, settings.data, cache=settings.cache, skip_bad=settings.skip_bad_records)
            excluded = dict(getattr(cohort, "excluded", {}))
            if settings.limit:
                cohort = limited(cohort, settings.limit)
            if settings.skip_bad_records:
                with self._stage(f"reading {name}") as progress:
                    cohort, bad = without_bad_records(cohort, progress)
                excluded |= bad
            self._cohorts[name] = cohort
            self._note("cohort", name, _about(cohort, excluded))
        return self._cohorts[name]

    def sample(self, name: str) -> RecordBatch:
        """Return a few records of a cohort, all of one length: a batch for the contract."""
        cohort = self.cohort(name)
        records = list(cohort.records[:_SAMPLE])
        read = [cohort.read(record) for record in records]
        alike = [one.leads == read[0].leads and one.sampling_rate == read[0].sampling_rate for one in read]
        # Cropped to the shortest: in some cohorts no two records are of one length.
        samples = min(one.signals.shape[-1] for one, same in zip(read, alike, strict=True) if same)
        chosen = [record for record, same in zip(records, alike, strict=True) if same]
        about = cohort.table.loc[chosen]
        return RecordBatch(
            np.stack([one.signals[:, :samples] for one, same in zip(read, alike, strict=True) if same]),
            read[0].leads,
            read[0].sampling_rate,
            tuple(chosen),
            about["age"].to_numpy(np.float32),
            tuple(about["sex"]),
        )

    def encoder(self, card: ModelCard, model: Any) -> Encoder:
        """Put a fixture's value behind its card."""
        if card.name not in self._encoders:
            settings = self.settings
            encoder = Encoder(card, model, device=settings.device, precision=settings.precision)
            self._encoders[card.name] = encoder
            self._note("encoder", card.name, {"weights_sha256": encoder.weights_sha256})
        return self._encoders[card.name]

    def embeddings(self, encoder: Encoder, cohort: Cohort) -> FloatArray:
        """Embed a cohort, or find it embedded. A failure is kept too: it would only happen again.

        Raises
        ------
        EcgfmError
            If a record cannot be read or embedded.
        """
        key = encoder.card.name, cohort.name
        if key not in self._embeddings:
            try:
                self._embeddings[key] = self._cache.get(encoder, cohort, lambda: self._embed(encoder, cohort))
            except EcgfmError as error:
                self._embeddings[key] = error
        held = self._embeddings[key]
        if isinstance(held, EcgfmError):
            raise EcgfmError(str(held))
        return held

    def _embed(self, encoder: Encoder, cohort: Cohort) -> FloatArray:
        with self._stage(f"{encoder.card.name} embeds {cohort.name}") as progress:
            return embed_cohort(encoder, cohort, batch_size=self.settings.batch_size, progress=progress)

    def _note(self, kind: str, name: str, note: dict[str, Any]) -> None:
        """Write down what an encoder or a cohort is, for the cube's provenance."""
        path = self.folder / "arrays" / f"{digest([kind.encode(), name.encode()])[:24]}.json"
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        temporary.write_text(json.dumps({"kind": kind, "name": name, **note}), encoding="utf-8")
        temporary.replace(path)

    def downstream(self, encoder: Encoder, case: Case) -> Found:
        """Evaluate the probe of one encoder in one cell (protocol, section 1)."""
        key = (encoder.card.name, case.cohort, case.label, case.fraction)
        if key not in self._found:
            self._found[key] = self._evaluate(encoder, case)
        return self._found[key]

    def _evaluate(self, encoder: Encoder, case: Case) -> Found:
        cohort = self.cohort(case.cohort)
        fraction = 1.0 if case.fraction is None else case.fraction
        label = cohort.labels[case.label]
        known = label.notna().to_numpy()
        targets = label[known].to_numpy(dtype=bool)
        name, probe = encoder.card.name, self.settings.profile.grid.probe
        positives, negatives = int(targets.sum()), int((~targets).sum())
        # Five folds need both classes in each: with fewer there is no probe to speak of.
        if min(positives, negatives) < 5:
            return Found(case, fraction, name, None, positives, negatives, probe, "", "")
        embeddings = self.embeddings(encoder, cohort)[known]
        patients = cohort.patients[known].to_numpy(dtype=str)
        seeds = seeds_for(fraction)[: self.settings.seeds]
        split = self._split(cohort, case.label, targets, patients, known)
        result = evaluate(embeddings, targets, patients, split, fraction, seeds, probe=probe)
        tested = result.targets
        arrays = self._keep(name, case, cohort, known, result) if fraction == 1.0 else ""
        return Found(case, fraction, name, result, int(tested.sum()), int((~tested).sum()), probe, split.kind, arrays)

    def _split(self, cohort: Cohort, label: str, targets: Any, patients: Any, known: Any) -> Split:
        key = cohort.name, label
        if key not in self._splits:
            folds = cohort.folds[known].to_numpy(dtype=object)
            self._splits[key] = make_split(targets, patients, folds, cohort.split)
        return self._splits[key]

    def _keep(self, encoder: str, case: Case, cohort: Cohort, known: Any, result: DownstreamResult) -> str:
        """Write per-record scores beside the rows; return the file's name."""
        records = cohort.records[known].to_numpy(dtype=str)[result.tested]
        folds = cohort.folds.fillna(-1).to_numpy(dtype=np.int32)[known][result.tested]
        name = digest([encoder.encode(), case.cell.encode()])[:24] + ".npz"
        arrays = self.folder / "arrays"
        temporary = arrays / f".{uuid4().hex}.npz"
        np.savez(
            temporary,
            record=records,
            patient=cohort.patients[known].to_numpy(dtype=str)[result.tested],
            fold=folds,
            score=result.scores.mean(axis=0).astype(np.float32),
            target=result.targets.astype(np.float32),
        )
        temporary.replace(arrays / name)
        return f"arrays/{name}"


def _about(cohort: Cohort, excluded: dict[str, str]) -> dict[str, Any]:
    """Say what a cohort's records are: content, counts, and what a reader of the results has to know."""
    return {
        "continent": cohort.continent,
        "digest": cohort.digest,
        "records": len(cohort),
        "patients": int(cohort.patients.nunique()) if cohort.has_patients else None,
        "positives": {label: int(cohort.labels[label].sum()) for label in cohort.labels},
        "unknown": {label: int(cohort.labels[label].isna().sum()) for label in cohort.labels},
        "excluded": excluded,
        "unmapped": getattr(cohort, "unmapped", {}),
        "label_notes": getattr(cohort, "label_notes", {}),
        "caution": getattr(cohort, "caution", ""),
    }
