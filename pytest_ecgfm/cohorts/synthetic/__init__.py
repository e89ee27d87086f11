"""Embedded cohorts: four seeded, physically consistent 12-lead cohorts that need no download, one a continent.

They exist so that every evaluation can run, and be tested against a known truth, on any machine. They are modelled on
the published properties of PTB-XL, Chapman-Ningbo, Georgia and CODE-15 (see `SPECS`), but a score on them says nothing
about patients. Rare labels are enriched (`CohortSpec.prevalence` against `CohortSpec.published_prevalence`).
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards.identity import code_digest
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.synthetic import heart as heart_model
from pytest_ecgfm.cohorts.synthetic import noise as noise_model
from pytest_ecgfm.cohorts.synthetic import signal as signal_model
from pytest_ecgfm.cohorts.synthetic.heart import Beats, Heart, State
from pytest_ecgfm.cohorts.synthetic.population import FURTHER, draw_population, true_labels
from pytest_ecgfm.cohorts.synthetic.specs import SPECS, CohortSpec
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.signals.records import LEADS, Recording

__all__ = ["SPECS", "CohortSpec", "EmbeddedCohort", "Evidence", "Truth", "load_embedded"]

Progress = Callable[[int, int], None]
Counts = npt.NDArray[np.int16]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """Where one label shows in one record.

    Attributes
    ----------
    leads : dict of str to float
        Share of each of the twelve leads; sums to 1.
    intervals : list of (int, int)
        First sample and the one after the last, of every stretch that carries the label.
    """

    leads: dict[str, float]
    intervals: list[tuple[int, int]]


@dataclass(frozen=True)
class Truth:
    """What the generator knows about one record.

    Attributes
    ----------
    labels : dict of str to Evidence
        The labels that are truly present, whatever the reader wrote.
    r_peaks : ndarray of int64
        Samples of the beats' reference points, all inside the record.
    rate : float
        Mean ventricular rate aimed at, beats a minute.
    pr, qrs : float
        PR interval (NaN without P waves) and QRS duration, ms.
    state : State
        All of it.
    """

    labels: dict[str, Evidence]
    r_peaks: npt.NDArray[np.int64]
    rate: float
    pr: float
    qrs: float
    state: State = field(repr=False)


class _Parts(NamedTuple):
    """The noise-free ingredients of one record: dipoles of shape (3, samples)."""

    heart: Heart
    beats: Beats
    ventricular: Floats
    atrial: Floats


class EmbeddedCohort(Cohort):
    """A cohort that makes its own records.

    Table and labels are there at once; signals are generated, all together, when the first record is read.

    Parameters
    ----------
    spec : CohortSpec
    cache : Path, optional
        Folder in which generated signals are kept for the next run; without one they stay in memory.
    seed : int
        Another seed, other patients.
    progress : callable, optional
        Told ``(done, total)`` records while generating.
    """

    def __init__(
        self, spec: CohortSpec, *, cache: Path | None = None, seed: int = 0, progress: Progress | None = None
    ) -> None:
        if seed < 0:
            raise EcgfmError(f"cohort {spec.name}: seed={seed}, but should be zero or more.")
        self.spec = spec
        self.seed = seed
        self._cache = cache
        self._progress = progress
        self._entropy = (seed, zlib.crc32(spec.name.encode()))
        self._population = draw_population(spec, (*self._entropy, 0))
        super().__init__(
            spec.name,
            continent=spec.continent,
            table=self._population.table,
            labels=self._population.labels,
            sampling_rate=spec.sampling_rate,
            has_patients=spec.has_patients,
            split=spec.split,
        )
        self._positions = {str(record): i for i, record in enumerate(self.table.index)}
        lengths = [state.samples for state in self._population.states]
        self._bounds = np.concatenate([[0], 8 * np.cumsum(lengths)]).astype(np.int64)

    def prepare(self) -> None:
        """Generate the signals now, unless they are at hand."""
        _ = self._counts

    def truth(self, record: str) -> Truth:
        """Return what is truly the case in `record`, and which leads and stretches carry it.

        Lead shares of AF, LBBB, RBBB, 1AVB, CD and of `FURTHER` labels are energies of the difference between the
        noise-free record and the same beats without the label's mechanism; rate labels and NORM show alike in every
        lead.

        Raises
        ------
        EcgfmError
            If the record is unknown.
        """
        i = self._position(record)
        state = self._population.states[i]
        parts = self._parts(i)
        inside = (parts.beats.at >= 0) & (parts.beats.at < state.samples)
        return Truth(
            labels={
                label: Evidence(self._shares(label, i, parts), self._intervals(label, state, parts))
                for label, present in true_labels(state).items()
                if present
            },
            r_peaks=parts.beats.at[inside],
            rate=state.rate,
            pr=state.pr if state.rhythm == "sinus" else float("nan"),
            qrs=state.qrs,
            state=state,
        )

    def _position(self, record: str) -> int:
        if record not in self._positions:
            raise EcgfmError(f"cohort {self.name}: no record {record!r} among {len(self)}.")
        return self._positions[record]

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng((*self._entropy, stream, number))

    def _parts(self, i: int) -> _Parts:
        patient = self._population.patients[i]
        # Not `self.table`: a limited copy of the cohort holds fewer rows, and generates the same records.
        row = self._population.table.iloc[i]
        heart = heart_model.draw_heart(self._rng(1, patient), age=float(row["age"]), female=row["sex"] == "F")
        state = self._population.states[i]
        rate = self.sampling_rate
        beats = heart_model.draw_beats(self._rng(2, i), state, sampling_rate=rate)
        if state.rhythm == "sinus":
            atrial = signal_model.p_waves(heart, state, beats, sampling_rate=rate)
        else:
            atrial = signal_model.fibrillation(self._rng(3, i), state, sampling_rate=rate)
        return _Parts(heart, beats, signal_model.ventricles(heart, state, beats, sampling_rate=rate), atrial)

    def _without(self, label: str, i: int, parts: _Parts) -> Floats:
        """Return the eight noise-free leads of record `i` with the same beats, but without the label's mechanism."""
        state, rate = self._population.states[i], self.sampling_rate
        ventricular, atrial = parts.ventricular, parts.atrial
        usual = replace(state, pr=min(state.pr, heart_model.NORMAL_PR))
        if label == "AF" or (label in ("1AVB", "CD") and state.rhythm == "sinus" and state.pr > 200):
            atrial = signal_model.p_waves(parts.heart, usual, parts.beats, sampling_rate=rate)
        if label in ("LBBB", "RBBB", "CD"):
            fascicle = 0.0 if label == "CD" else state.hemiblock
            narrow = parts.heart.duration if state.block else state.qrs
            sound = replace(state, block="", qrs=narrow, hemiblock=fascicle)
            ventricular = signal_model.ventricles(parts.heart, sound, parts.beats, sampling_rate=rate)
        if label in FURTHER:
            sound = FURTHER[label].without(state)
            ventricular = signal_model.ventricles(parts.heart, sound, parts.beats, sampling_rate=rate)
            if sound.rhythm == "sinus":
                atrial = signal_model.p_waves(parts.heart, sound, parts.beats, sampling_rate=rate)
        return signal_model.project(parts.heart, ventricular, atrial)

    def _shares(self, label: str, i: int, parts: _Parts) -> dict[str, float]:
        energy = np.ones(len(LEADS))
        if label not in ("SB", "STach", "NORM"):
            real = signal_model.project(parts.heart, parts.ventricular, parts.atrial)
            change = signal_model.twelve(real - self._without(label, i, parts)).astype(np.float64)
            energy = (change**2).sum(axis=1)
        return dict(zip(LEADS, (energy / energy.sum()).tolist(), strict=True))

    def _intervals(self, label: str, state: State, parts: _Parts) -> list[tuple[int, int]]:
        if label in ("SB", "STach", "NORM") or label in FURTHER:
            return [(0, state.samples)]
        per_ms = self.sampling_rate / 1000
        begin = signal_model.onset(parts.heart, parts.beats, sampling_rate=self.sampling_rate)
        spans: list[tuple[float, float]] = []
        conducted = begin[parts.beats.kind != 2]
        if label == "AF":
            # Fibrillatory waves show where the ventricles are silent.
            silent = begin + (signal_model.t_peak(parts.heart, state, parts.beats.rr) + 75.0) * per_ms
            spans += zip(silent[:-1], begin[1:], strict=True)
        if label in ("LBBB", "RBBB") or (label == "CD" and (state.block or state.hemiblock)):
            spans += [(start, start + state.qrs * per_ms) for start in conducted]
        if label in ("1AVB", "CD") and state.rhythm == "sinus" and state.pr > 200:
            spans += [(start - state.pr * per_ms, start) for start in conducted]
        whole = ((max(round(a), 0), min(round(b), state.samples)) for a, b in sorted(spans))
        return [(a, b) for a, b in whole if a < b]

    def _generate(self, i: int) -> Counts:
        """Return record `i` as stored, shape (8, samples); a pure function of spec, seed and `i`."""
        parts = self._parts(i)
        state = self._population.states[i]
        noise = noise_model.electrode_noise(
            self._rng(4, i), self.spec.device, state.noise, samples=state.samples, sampling_rate=self.sampling_rate
        )
        leads = signal_model.project(parts.heart, parts.ventricular, parts.atrial)
        return noise_model.store(leads, noise, self.spec.device, sampling_rate=self.sampling_rate)

    def _fill(self, out: Counts) -> None:
        # One thread: the arrays of one record are too small for a second one to gain anything.
        total = len(self._positions)
        for i in range(total):
            out[self._bounds[i] : self._bounds[i + 1]] = self._generate(i).ravel()
            if self._progress is not None:
                self._progress(i + 1, total)

    def __getstate__(self) -> dict[str, object]:
        # Another process makes the same signals, or finds them in its cache; it has no use for our progress display.
        return {name: value for name, value in vars(self).items() if name != "_counts"} | {"_progress": None}

    @cached_property
    def _counts(self) -> Counts:
        """Every record's (8, samples) counts, one after the other."""
        if self._cache is None:
            out = np.empty(int(self._bounds[-1]), np.int16)
            self._fill(out)
            return out
        from filelock import FileLock

        folder = self._cache / "cohorts" / f"{self.name}-{self._key}"
        folder.mkdir(parents=True, exist_ok=True)
        stored = self._load(folder)
        if stored is None:
            with FileLock(folder / "lock"):
                # Another process may have been faster.
                stored = self._load(folder)
                if stored is None:
                    self._write(folder)
                    stored = self._load(folder)
        if stored is None:
            raise EcgfmError(f"cohort {self.name}: {folder} does not keep what is written to it; use another folder.")
        return stored

    def _write(self, folder: Path) -> None:
        # Lives beside the final name, as a rename is atomic only within one file system.
        temporary = folder / "counts.part.npy"
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.int16, shape=(int(self._bounds[-1]),))
        self._fill(out)
        out.flush()
        digest = hashlib.sha256(out.data).hexdigest()
        del out
        sidecar = folder / "digest.part.json"
        sidecar.write_text(json.dumps({"sha256": digest}), encoding="utf-8")
        temporary.replace(folder / "counts.npy")
        sidecar.replace(folder / "digest.json")

    def _load(self, folder: Path) -> Counts | None:
        """Return the cached counts, or nothing if they are missing or damaged."""
        try:
            expected = json.loads((folder / "digest.json").read_text(encoding="utf-8"))["sha256"]
            counts = np.load(folder / "counts.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        if counts.dtype != np.int16 or counts.shape != (int(self._bounds[-1]),):
            return None
        return counts if hashlib.sha256(counts.data).hexdigest() == expected else None

    @property
    def _key(self) -> str:
        """Changes whenever the same name would yield other signals."""
        text = json.dumps([asdict(self.spec), self.seed, np.__version__], sort_keys=True)
        return hashlib.sha256((text + code_digest(type(self).__module__)).encode()).hexdigest()[:16]

    def _read(self, record: str) -> Recording:
        i = self._position(record)
        counts = np.array(self._counts[self._bounds[i] : self._bounds[i + 1]], np.float32).reshape(8, -1)
        # Whole and half counts are exact in float32, so the leads' relations hold up to the last step's rounding.
        millivolts = signal_model.twelve(counts) * np.float32(self.spec.device.resolution / 1000)
        return Recording(millivolts, LEADS, self.sampling_rate)

    def _content_digest(self, records: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for i in map(self._position, records):
            digest.update(self._counts[self._bounds[i] : self._bounds[i + 1]].data)
        return digest.hexdigest()


def load_embedded(
    name: str, *, cache: Path | None = None, seed: int = 0, progress: Progress | None = None
) -> EmbeddedCohort:
    """Return one of the four embedded cohorts.

    Parameters
    ----------
    name : str
        A key of `SPECS`.
    cache, seed, progress
        As in `EmbeddedCohort`.

    Returns
    -------
    EmbeddedCohort

    Raises
    ------
    EcgfmError
        If there is no embedded cohort of that name.
    """
    if name not in SPECS:
        raise unknown_name("embedded cohort", name, SPECS)
    return EmbeddedCohort(SPECS[name], cache=cache, seed=seed, progress=progress)
