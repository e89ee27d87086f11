"""What a profile evaluates: its table ``[grid]``."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pytest_ecgfm.cards import NO_TRUTH_VALUE
from pytest_ecgfm.cohorts.groups import parts_of
from pytest_ecgfm.results.checks import SUITES

Fraction = Annotated[float, NO_TRUTH_VALUE, Field(gt=0, le=1, allow_inf_nan=False)]
Records = Annotated[int, NO_TRUTH_VALUE, Field(ge=4, le=1_000_000)]
Age = Annotated[float, NO_TRUTH_VALUE, Field(gt=0, le=120, allow_inf_nan=False)]
Share = Annotated[float, NO_TRUTH_VALUE, Field(gt=0, lt=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """A table of a profile: no other keys, and no change once it was read."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class OperatingPoint(Strict):
    """How the threshold of a decision of yes or no is chosen on the training patients.

    Attributes
    ----------
    by : {"sensitivity", "specificity", "youden"}
        What it has to reach there, or Youden's index, which needs no number.
    at : float or None
        Sensitivity or specificity, above 0 and below 1; a sensitivity of 0.9 where nothing is said.
    """

    by: Literal["sensitivity", "specificity", "youden"] = "sensitivity"
    at: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, given: Any) -> Any:
        # Filled in, so that the file of a finished run states it.
        asked = isinstance(given, dict) and given.get("by", "sensitivity") == "sensitivity"
        return {"at": 0.9, **given} if asked else given

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.by == "youden" and self.at is not None:
            raise ValueError("by = 'youden' takes no number; leave `at` out, or choose by sensitivity or specificity")
        if self.by == "specificity" and self.at is None:
            raise ValueError("by = 'specificity' needs `at`, such as at = 0.9")
        return self

    def words(self) -> str:
        """Write as in a sentence."""
        return "Youden's index" if self.at is None else f"{self.by} {self.at:g}"


class Grid(Strict):
    """What is evaluated.

    Attributes
    ----------
    probe : str
        Kind of the probe of the downstream suite: ``logistic``, ``knn``, ``mlp``, or one that somebody declared.
    players : {"independent", "limb", "twelve"}
        Which leads are taken away together for Shapley values (`pytest_ecgfm.signals.coalitions.players`).
    stability_records, explained_records : int
        Number of records of each cohort that are perturbed, and whose leads are explained by Shapley values.
    mapped_records : int
        Largest number of records, of all cohorts together, that are drawn by UMAP and clustered.
    subgroups : tuple of str
        Columns whose groups are looked at by themselves (`pytest_ecgfm.cohorts.groups`).
    age_bands : tuple of float
        Ages in years at which a new band begins.
    operating_point : OperatingPoint
        By what the threshold of a decision is chosen.
    """

    suites: tuple[str, ...] = SUITES
    labels: tuple[str, ...] = ("CD", "AF", "SB", "STach")
    fractions: tuple[Fraction, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    seeds: Annotated[int, NO_TRUTH_VALUE, Field(ge=1, le=1000)] | None = None
    probe: str = "logistic"
    references: tuple[str, ...] = ("random_conv",)
    players: Literal["independent", "limb", "twelve"] = "independent"
    stability_records: Records = 60
    explained_records: Records = 5
    mapped_records: Records = 4000
    subgroups: tuple[str, ...] = ("sex", "age", "sex x age")
    age_bands: tuple[Age, ...] = (40, 65)
    operating_point: OperatingPoint = OperatingPoint()

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if not self.age_bands or list(self.age_bands) != sorted(set(self.age_bands)):
            raise ValueError("age_bands should be ages in years, each above the one before")
        for column in self.subgroups:
            parts = parts_of(column)
            if not all(parts) or len(set(parts)) < len(parts):
                raise ValueError(f"subgroups: {column!r} should be a column, or different ones as in 'sex x age'")
        return self
