"""``predictions.csv``: what each tested record scored, for tools that read tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from pytest_ecgfm.cards.whole_files import whole
from pytest_ecgfm.report.escape import csv_cell

COLUMNS = ("encoder", "cohort", "record", "patient", "fold", "label", "target", "score")


def write_predictions(tree: xr.DataTree, path: Path) -> bool:
    """Write the table of a cube, whole or not at all; return whether there is one.

    Parameters
    ----------
    tree : DataTree
        The cube. `target` is 1 or 0, of a quantity its value; `score` is the mean over seeds at the whole training set,
        of a quantity its prediction.
    path : Path
        Where it goes.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if "scores" not in tree:
        return False
    held = tree["scores"].to_dataset()
    about = _about(held)
    # One encoder and label at a time: a table of all would take many times the memory of the cube.
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        handle.write(",".join(COLUMNS) + "\n")
        for encoder in held["encoder"].values.astype(str):
            for label in held["label"].values.astype(str):
                part = _part(held.sel(encoder=encoder, label=label), about)
                part.insert(0, "encoder", csv_cell(encoder))
                part.insert(5, "label", csv_cell(label))
                part.to_csv(handle, header=False, index=False, lineterminator="\n")
    return True


def _about(held: xr.Dataset) -> pd.DataFrame:
    """Return cohort, record, patient and fold of each record; no spreadsheet takes a name for a formula."""
    cohorts, patients = (held[name].values.astype(str) for name in ("cohort", "patient"))
    records = [name.partition("/")[2] for name in held["record"].values.astype(str)]
    known: dict[str, str] = {name: csv_cell(name) for name in {*cohorts, *patients, *records}}
    columns = {"cohort": list(cohorts), "record": records, "patient": list(patients)}
    cells = {name: [known[one] for one in column] for name, column in columns.items()}
    return pd.DataFrame({**cells, "fold": held["fold"].values})


def _part(here: xr.Dataset, about: pd.DataFrame) -> pd.DataFrame:
    score, target = here["score"].values, here["target"].values
    tested = np.isfinite(score)
    out = pd.DataFrame(about.loc[tested])
    whole = np.array_equal(target[tested], np.round(target[tested]))
    out["target"] = target[tested].astype(np.int64) if whole else target[tested]
    out["score"] = score[tested]
    return out
