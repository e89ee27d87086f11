"""A cohort that holds what is stated of records, and none of their signals."""

import numpy as np
import pandas as pd

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.harmonise import harmonise
from pytest_ecgfm.cohorts.tables import cohort_table


class Stated(Cohort):
    """Codes, further columns and ages, without signals. The records are those of the codes, or of the columns."""

    def __init__(self, codes=None, name="scp_ecg", source="ptb-xl", doubtful=None, columns=None, ages=None):
        records = list(codes if codes is not None else columns.index)
        found = None if codes is None else harmonise(codes, name, source=source, doubtful=doubtful)
        ages = ages or [np.nan] * len(records)
        super().__init__(
            "stated",
            continent="Europe",
            table=cohort_table(records, patients=None, ages=ages, sexes=[""] * len(records)),
            labels=pd.DataFrame(index=records) if found is None else found.labels,
            sampling_rate=100,
            has_patients=False,
            codes=None if found is None else found.codes,
            columns=columns,
        )

    def _read(self, record):
        raise AssertionError(f"a test reads the signals of record {record!r} of a cohort that has none")

    def _content_digest(self, records):
        return ""


def plain(values):
    return [None if pd.isna(one) else bool(one) for one in values]
