"""One perturbation: what it is called, what its severities mean, and how it changes a batch of records."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ecgfm.errors import EcgfmError, NotApplicable
from pytest_ecgfm.signals.records import RecordBatch


@dataclass(frozen=True)
class Perturbation:
    """One row of the table of perturbations.

    Attributes
    ----------
    name : str
        Such as ``"muscle"``.
    parameter, units : str
        What the severity says, and in which unit; empty for a perturbation that is there or not.
    severities : tuple of float
        From mild to severe.
    imitates, source : str
        What it stands for, and where its range comes from.
    change : callable
        Takes a batch, the severity and a function from a record's name to its random generator.
    expected : {"invariant", "noticed"}
        Whether a good encoder should not mind, or should notice.
    where, code : str
        Place and digest of the code where somebody else declared it; empty for the package's own.
    """

    name: str
    parameter: str
    units: str
    severities: tuple[float, ...]
    imitates: str
    source: str
    change: Callable[[RecordBatch, float, Callable[[str], np.random.Generator]], npt.NDArray[np.floating[Any]]]
    expected: str = "invariant"
    where: str = ""
    code: str = ""

    def variant(self, severity: float) -> str:
        """Name it with a severity, such as ``muscle@24dB``; without one where there is none to tell."""
        return f"{self.name}@{severity:g}{'' if self.units == '1' else self.units}" if self.parameter else self.name

    def apply(self, batch: RecordBatch, severity: float, seed: int = 0) -> RecordBatch:
        """Perturb each record of a batch.

        Parameters
        ----------
        batch : RecordBatch
            In mV, any of the twelve leads in any order; not changed. What is not a number stays so, and
            spreads through filters.
        severity : float
            Any value of the parameter, not only those of the table.
        seed : int
            A record's noise depends on this, the perturbation and the record's name, never on the batch around it.

        Returns
        -------
        RecordBatch
            Of the same records and shape; only `length` makes records shorter.

        Raises
        ------
        NotApplicable
            If the records' leads or rate do not allow the perturbation.
        """

        def generator(record: str) -> np.random.Generator:
            return np.random.default_rng([seed, zlib.crc32(self.name.encode()), zlib.crc32(record.encode())])

        if self.where:
            return self._apply_declared(batch, severity, generator)
        try:
            changed = self.change(batch, severity, generator)
        except NotApplicable as error:
            raise NotApplicable(f"perturbation {self.variant(severity)}: {error}") from None
        return replace(batch, signals=np.asarray(changed, dtype=np.float32))

    def _apply_declared(
        self, batch: RecordBatch, severity: float, generator: Callable[[str], np.random.Generator]
    ) -> RecordBatch:
        """Ask somebody else's function, which gets a copy, and hold it to its word."""
        what = f"{self.where}: perturbation {self.variant(severity)}"
        changed = self.change(replace(batch, signals=batch.signals.copy()), severity, generator)
        signals = np.asarray(changed)
        if signals.dtype.kind not in "fiu" or signals.ndim != 3 or signals.shape[:2] != batch.signals.shape[:2]:
            wanted = f"{batch.signals.shape[:2]} and samples, of numbers"
            raise EcgfmError(f"{what}: returned {signals.dtype} of shape {signals.shape}, but should return {wanted}.")
        if np.isfinite(batch.signals).all() and not np.isfinite(signals).all():
            raise EcgfmError(f"{what}: returned values that are not finite.")
        return replace(batch, signals=signals.astype(np.float32))
