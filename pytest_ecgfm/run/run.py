"""One run: its cohorts, encoders and embeddings, each made once and kept."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.cards import ModelCard
from pytest_ecgfm.cards.identity import digest
from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.cohorts import load_cohort
from pytest_ecgfm.cohorts.bad_records import without_bad_records
from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.endpoints import with_labels
from pytest_ecgfm.cohorts.facts import sheet
from pytest_ecgfm.cohorts.limit import limited
from pytest_ecgfm.cohorts.pseudonyms import WITHHELD, pseudonym_key, pseudonymous, withheld
from pytest_ecgfm.cohorts.quantities import is_measured, quantity_values, units_of
from pytest_ecgfm.embeddings import EmbeddingCache, Part, Progress, chunk_rows, embed_stretches
from pytest_ecgfm.encoders.base import Encoder
from pytest_ecgfm.encoders.preprocessing import lacking
from pytest_ecgfm.encoders.sources import checkpoint_digest
from pytest_ecgfm.errors import EcgfmError, blaming, reworded
from pytest_ecgfm.evaluations.splits import Labelled, make_split
from pytest_ecgfm.run.settings import Settings
from pytest_ecgfm.run.watch import Watch
from pytest_ecgfm.signals.records import FloatArray, RecordBatch

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from pytest_ecgfm.embeddings.cluster import Cluster

T = TypeVar("T")

_SAMPLE = 8

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows the progress of a long stage under a description."""


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
        self._cluster: Cluster | None = None
        self._cohorts: dict[str, Cohort] = {}
        self._encoders: dict[str, Encoder] = {}
        self._made: dict[tuple[object, ...], object] = {}
        self._loaded: dict[str, Cohort] = {}
        self.watch: Watch | None = None

    def add_cohort(self, name: str, make: Callable[[], Cohort]) -> None:
        """Take a cohort of the user's own, made once.

        Raises
        ------
        EcgfmError
            As `make` does.
        """
        if name not in self._loaded:
            with self._withholding(name):
                self._loaded[name] = self.once(("own cohort", name), make)

    def cohort(self, name: str) -> Cohort:
        """Load a cohort, limited and without bad records where that was asked for."""
        if name not in self._cohorts:
            cohort, excluded = self._loaded_as_asked(name)
            self._cohorts[name] = cohort
            about = _about(cohort, excluded)
            about["units"] = {one.name: units_of(one, cohort) for one in self.settings.quantities.values()}
            self._note("cohort", name, about)
        return self._cohorts[name]

    def _loaded_as_asked(self, name: str) -> tuple[Cohort, dict[str, str]]:
        """Load a cohort, limited, without bad records and under pseudonyms, with what was left out."""
        settings = self.settings
        if not settings.pseudonyms:
            return self._load(name)
        key = pseudonym_key(settings.cache)
        with self._withholding(name):
            cohort, excluded = self._load(name)
        return pseudonymous(cohort, key), withheld(excluded, name, key)

    @contextmanager
    def _withholding(self, name: str) -> Iterator[None]:
        """Let no message about a cohort name a record, a patient or a file, where pseudonyms are asked for."""
        try:
            yield
        except EcgfmError as error:
            if not self.settings.pseudonyms:
                raise
            raise reworded(error, f"cohort {name} cannot be loaded; {WITHHELD}.") from None

    def _load(self, name: str) -> tuple[Cohort, dict[str, str]]:
        settings = self.settings
        cohort = self._loaded.get(name)
        if cohort is None:
            cohort = load_cohort(name, settings.data, cache=settings.cache, skip_bad=settings.skip_bad_records)
        cohort = with_labels(cohort, settings.endpoints.values())
        excluded = dict(getattr(cohort, "excluded", {}))
        if settings.limit:
            cohort = limited(cohort, settings.limit)
        if settings.skip_bad_records:
            with self._stage(f"reading {name}") as progress:
                cohort, bad = without_bad_records(cohort, progress)
            excluded |= bad
        return cohort, excluded

    def loaded(self, cohorts: Mapping[str, Cohort]) -> None:
        """Take cohorts that were loaded before the run."""
        self._loaded |= cohorts

    def lacking(self, encoder: Encoder, cohort: Cohort) -> str:
        """Name a lead that an encoder reads and a cohort's first record lacks; empty where there is none."""
        leads = self.once(("leads", cohort.name), lambda: cohort.read(str(cohort.records[0])).leads)
        return lacking(encoder.card, leads)

    def sample(self, name: str, count: int = _SAMPLE) -> RecordBatch:
        """Return the first records of a cohort, `count` at most, all of one length: a batch for the contract."""
        cohort = self.cohort(name)
        records = list(cohort.records[:count])
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

    def encoder(self, card: ModelCard, model: Any, checkpoint: Path | None = None) -> Encoder:
        """Put a fixture's value behind its card, with the SHA-256 of the checkpoint that its weights are from."""
        if card.name not in self._encoders:
            settings = self.settings
            with blaming(card.name):
                encoder = Encoder(card, model, device=settings.device, precision=settings.precision)
            # Here, as it reads the whole file: once, and not for each check.
            encoder.checkpoint_sha256 = checkpoint_digest(checkpoint) if checkpoint else ""
            self.add_encoder(encoder)
        return self._encoders[card.name]

    def add_encoder(self, encoder: Encoder) -> None:
        """Take an encoder that is made already."""
        if self.watch is not None:
            encoder.watching = self.watch.batch
        self._encoders[encoder.card.name] = encoder
        names = ("weights_sha256", "checkpoint_sha256", "device")
        self._note("encoder", encoder.card.name, {name: getattr(encoder, name) for name in names})

    def spread(self, name: str) -> list[str]:
        """Return a few records from all over a cohort: what is embedded at the beginning and at the end of a run."""
        records = self.cohort(name).records
        places = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(int))
        return [str(records[place]) for place in places]

    def remember(self, encoder: Encoder, name: str) -> FloatArray:
        """Embed a few records of a cohort one by one, once in this process, as early as this is asked for."""
        key = ("remembered", encoder.card.name, name)
        return self.once(key, lambda: self.embed_again(encoder, name))

    def embed_again(self, encoder: Encoder, name: str) -> FloatArray:
        """Embed the records that `remember` embeds, now."""
        cohort = self.cohort(name)
        found = [encoder.embed_batch(batch) for one in self.spread(name) for batch in cohort.batches(1, [one])]
        return np.concatenate(found)

    def embedded(self, encoder: Encoder, name: str) -> FloatArray | None:
        """Return the embeddings of a cohort, if this process has asked for them."""
        found = self._made.get(("embeddings", encoder.card.name, name))
        return cast("FloatArray", found) if isinstance(found, np.ndarray) else None

    def kept(self, encoder: Encoder, name: str) -> FloatArray | None:
        """Return what the cache holds of the records that `remember` embeds, if it holds all of them."""
        cohort = self.cohort(name)
        position = {str(record): row for row, record in enumerate(cohort.records)}
        return self._cache.kept(encoder, cohort, [position[record] for record in self.spread(name)])

    def embeddings(self, encoder: Encoder, cohort: Cohort) -> FloatArray:
        """Embed a cohort, or find it embedded: float32, shape (records, dimensions).

        Raises
        ------
        EcgfmError
            If a record cannot be read or embedded.
        """
        return self.once(
            ("embeddings", encoder.card.name, cohort.name),
            lambda: self._cache.get(
                encoder,
                cohort,
                lambda missing: self._embed(encoder, cohort, missing),
                length=chunk_rows(self.settings.batch_size),
            ),
        )

    def stage(self, title: str) -> AbstractContextManager[Progress]:
        """Show that something long is under way."""
        return self._stage(title)

    def derived(
        self, encoder: Encoder, cohort: Cohort, part: Part, make: Callable[[Progress], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """Embed something that is derived from a cohort's records, or find it embedded.

        Parameters
        ----------
        encoder, cohort
            What embeds, and whose records.
        part : Part
            What is derived; part of the cache's key.
        make : callable
            Takes a progress callback; returns an array with one row a record of `part`.
        """

        def shown(_missing: list[range]) -> Iterator[npt.NDArray[Any]]:
            with self._stage(f"{encoder.card.name}, {cohort.name}: {part.title}") as progress:
                yield make(progress)

        return self._cache.get(encoder, cohort, shown, part=part)

    def _embed(self, encoder: Encoder, cohort: Cohort, missing: list[range]) -> Iterator[FloatArray]:
        with self._stage(f"{encoder.card.name} embeds {cohort.name}") as progress:
            if self.watch is not None:
                self.watch.cohort = cohort.name
            embed = embed_stretches if self._cluster is None else self._cluster.embed_stretches
            yield from embed(encoder, cohort, missing, batch_size=self.settings.batch_size, progress=progress)

    @property
    def cluster(self) -> "Cluster | None":
        """The cluster that was asked for, while it is connected."""
        return self._cluster

    def connect(self) -> None:
        """Join the cluster that was asked for, if one was.

        Raises
        ------
        EcgfmError
            If it does not answer.
        """
        if self.settings.dask:
            from pytest_ecgfm.embeddings.cluster import Cluster

            self._cluster = Cluster(self.settings.dask, device=self.settings.device)

    def close(self) -> None:
        """Leave the cluster, if there is one."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _note(self, kind: str, name: str, note: dict[str, Any]) -> None:
        """Write down what an encoder or a cohort is, for the cube's provenance."""
        path = self.folder / "arrays" / f"{digest([kind.encode(), name.encode()])[:24]}.json"
        with whole(path) as temporary:
            temporary.write_text(json.dumps({"kind": kind, "name": name, **note}), encoding="utf-8")

    def once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Make something once in this process; a failure is kept too, as it would only happen again.

        Raises
        ------
        EcgfmError
            As `make` does.
        """
        if key not in self._made:
            try:
                self._made[key] = make()
            except EcgfmError as error:
                self._made[key] = error
        held = self._made[key]
        if isinstance(held, EcgfmError):
            raise reworded(held, str(held))
        return cast("T", held)

    def labelled(self, cohort: Cohort, label: str) -> Labelled:
        """Return the records whose label, or whose quantity of this name, is known, with their split."""
        quantity = label in self.settings.quantities
        key = ("labelled", cohort.name, label)
        return self.once(key, lambda: _labelled(cohort, self._values(cohort, label), quantity))

    def _values(self, cohort: Cohort, label: str) -> "pd.Series":
        quantity = self.settings.quantities.get(label)
        if quantity is None:
            return cohort.labels[label]
        return self._rates(cohort) if is_measured(quantity, cohort) else quantity_values(quantity, cohort)

    def _rates(self, cohort: Cohort) -> "pd.Series":
        """Return the heart rate of each record, measured from its signals or found measured."""
        import pandas as pd

        from pytest_ecgfm.encoders.registry import load_encoder
        from pytest_ecgfm.run.heart_rates import MODULES, measured_rates

        part = Part("heart rate", "heart rate", len(cohort), MODULES)
        # What reads the beats, too, lends its name: what the cache keeps belongs to an encoder.
        encoder = load_encoder("demographics")
        rates = self.derived(encoder, cohort, part, lambda progress: measured_rates(cohort, progress))
        return pd.Series(rates, cohort.records)

    def keep(self, identity: tuple[str, ...], dataset: "xr.Dataset") -> str:
        """Write arrays too large for a row; return the file's name. The attribute `group` says where they go."""
        name = digest([part.encode() for part in identity])[:24] + ".nc"
        with whole(self.folder / "arrays" / name) as temporary:
            # In memory first: on a full disk, the library that writes to it crashes the process.
            temporary.write_bytes(dataset.to_netcdf(engine="h5netcdf"))
        return f"arrays/{name}"


def _labelled(cohort: Cohort, values: "pd.Series", quantity: bool) -> Labelled:
    known = values.notna().to_numpy()
    targets = values[known].to_numpy(dtype=np.float64 if quantity else bool)
    found = Labelled(known, targets, cohort.patients[known].to_numpy(dtype=str), None)
    if min(found.counts) < 5:
        return found
    split = make_split(targets, found.patients, cohort.folds[known].to_numpy(dtype=object), cohort.split)
    return replace(found, split=split)


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
        "sheet": sheet(cohort),
    }
