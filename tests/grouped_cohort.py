"""A cohort in memory whose records tell a label by their amplitude, and the age of the patient by an offset of aVR."""

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts.base import LABELS, Cohort, PublishedSplit
from pytest_ecgfm.signals.records import LEADS, Recording

RATE = 125.0


class GroupedCohort(Cohort):
    """Records of noise: half of them positive, half of them women's; `old` is the share of patients of 65 and above.

    The first records have no sex, the last none an age. Most are tested: groups need many. Those that are tested may
    come from a `newer` device, which shows in an offset of aVF.
    """

    def __init__(self, name, *, records=1000, old=0.3, unknown=5, devices=("A", "B"), newer=False):
        rng = np.random.default_rng(7)
        index = pd.Index([f"r{number}" for number in range(records)], dtype=str)
        positive = rng.random(records) < 0.5
        ages = np.where(rng.random(records) < old, rng.integers(65, 91, records), rng.integers(20, 65, records))
        sexes = rng.choice(["F", "M"], records).astype(object)
        amplitudes = 0.2 * np.exp(0.5 * positive + 0.15 * rng.normal(size=records))
        noise = rng.normal(size=(records, 12, int(10 * RATE))) * amplitudes[:, None, None]
        noise -= noise.mean(-1, keepdims=True)
        noise[:, 3] += ages[:, None] / 100 + 0.001
        self._signals = dict(zip(index, noise.astype(np.float32), strict=True))
        table = pd.DataFrame(
            {
                "patient": list(index),
                "age": ages.astype(float),
                "sex": sexes,
                "fold": pd.array([pd.NA] * records, "Int64"),
            },
            index=index,
        )
        table.loc[index[:unknown], "sex"] = ""
        table.loc[index[records - unknown :], "age"] = np.nan
        table["fold"] = pd.array(rng.choice([1, 2, 3], records, p=(0.25, 0.1, 0.65)), "Int64")
        table.loc[[*index[:unknown], *index[records - unknown :]], "fold"] = 3
        for record in index[newer & (table["fold"] == 3)]:
            self._signals[record][5] += 0.01
        labels = pd.DataFrame(dict.fromkeys(LABELS, positive), index=index).astype("boolean")
        columns = pd.DataFrame({"device": rng.choice(devices, records)}, index=index)
        super().__init__(
            name,
            continent="Europe",
            table=table,
            labels=labels,
            sampling_rate=RATE,
            has_patients=False,
            split=PublishedSplit((1,), (2,), (3,)),
            columns=columns,
        )

    def _read(self, record):
        return Recording(self._signals[record], LEADS, RATE)

    def _content_digest(self, records):
        return f"{self.name} {len(records)}"
