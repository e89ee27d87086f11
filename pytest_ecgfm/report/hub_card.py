"""A finished run as a section of a model card on the Hugging Face Hub: metadata in its front matter, and Markdown."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import xarray as xr

from pytest_ecgfm.cards.statement import TITLES, left_open, stated
from pytest_ecgfm.errors import EcgfmError, unknown_name
from pytest_ecgfm.report.escape import markdown, yaml_value
from pytest_ecgfm.report.loaded import Loaded, estimate, load
from pytest_ecgfm.report.series import known
from pytest_ecgfm.report.summary import badge_colour
from pytest_ecgfm.report.verify import verify
from pytest_ecgfm.report.words import Triple, listed
from pytest_ecgfm.results.rounded import rounded

SOURCE = "https://arxiv.org/abs/2601.21830"
"""Where the method is described: the Hub asks for an address with the name of a source."""

_KINDS = {
    "downstream": ("auroc_mean", "label", "roc_auc", "AUROC", "logistic probe"),
    "quantities": ("r2_mean", "quantity", "r_squared", "R2", "ridge probe"),
}
"""By group of the cube: its variable, the dimension of what was asked, the Hub's and the field's name, the probe."""


def hub_card(folder: Path, model: str = "") -> str:
    """Return the section for one model of a run.

    Parameters
    ----------
    folder : Path
        Of a finished run.
    model : str
        Which of its models; may be left out where it tested one.

    Raises
    ------
    EcgfmError
        If the verdict does not belong to the run, or it is not clear which model is meant.
    """
    problems = verify(folder)
    if problems:
        more = f" (and {len(problems) - 1} more; `ecgfm verify` lists them)" if len(problems) > 1 else ""
        raise EcgfmError(f"run {folder}: its verdict does not belong to it, so there is no card: {problems[0]}{more}.")
    run = load(folder)
    if not model and len(run.models) > 1:
        raise EcgfmError(f"run {folder} tested {listed(run.models)}: a card is of one; say which with --model.")
    name = model or run.models[0]
    if name not in run.models:
        raise unknown_name("model", name, run.models, where="--model")
    return "\n".join(["---", _metadata(run, name), "---", "", *_body(run, name)]) + "\n"


def _metadata(run: Loaded, model: str) -> str:
    """Return the front matter: JSON, which is YAML; further right than its key, as some readers of YAML demand."""
    index = yaml_value([{"name": model, "results": list(_results(run, model))}])
    return f"model-index:\n{textwrap.indent(json.dumps(index, indent=2, ensure_ascii=False, allow_nan=False), '  ')}"


def _results(run: Loaded, model: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of ``model-index``: one a cohort and label, with all training patients."""
    source = f"pytest-ecgfm {run.identity.plugin_version}, {_headline(run, model)}"
    for cohort, asked, metric, found, probe, share in _values(run, model):
        kind, title = metric
        yield {
            "task": {"type": "feature-extraction", "name": f"{asked} by a {probe} on the frozen embedding"},
            "dataset": {
                "name": cohort,
                "type": cohort,
                # What tells results of one dataset apart, on the Hub.
                "config": asked,
                "split": "test",
                "revision": run.identity.cohorts.get(cohort, ""),
                "args": {"exposure": run.exposure(model, cohort), "training_patients": share},
            },
            "metrics": [
                {"type": kind, "value": round(found.value, 4), "name": f"{title}, 95 % interval {_interval(found)}"}
            ],
            "source": {"name": source, "url": SOURCE},
        }


def _values(run: Loaded, model: str) -> Iterator[tuple[str, str, tuple[str, str], Triple, str, float]]:
    for group, (variable, dimension, kind, title, fitted) in _KINDS.items():
        held = known(run.group(group), variable)
        if held is None:
            continue
        share = float(held["fraction"].values.max())
        fixed: dict[str, Any] = {"encoder": model, "fraction": share}
        if "probe" in held.coords:
            # A profile may name a probe of somebody's own.
            name = str(held["probe"].values[0])
            fixed["probe"], fitted = name, fitted if name == "logistic" else f"probe {name}"
        for cohort, asked in product(run.cohorts, _asked(held, dimension)):
            found = Triple(*estimate(held, variable, cohort=cohort, **fixed, **{dimension: asked}))
            if found.value == found.value:
                yield cohort, asked, (kind, title), found, fitted, share


def _asked(held: xr.Dataset, dimension: str) -> list[str]:
    return [str(one) for one in held[dimension].values]


def _interval(found: Triple) -> str:
    if found.low != found.low:
        return "not known"
    return f"{rounded(found.low)} to {rounded(found.high)}"


def _outcome(run: Loaded, model: str) -> str:
    """Return the verdict on one model: that of the run may be the fault of another, but no run that broke is a pass."""
    outcome = str(run.verdict["encoders"][model].get("outcome", ""))
    return "incomplete" if outcome == "pass" and not run.verdict.get("complete") else outcome


def _headline(run: Loaded, model: str) -> str:
    return run.identity.headline(_outcome(run, model))


def badge_image(run: Loaded, model: str) -> str:
    """Return the badge as an image of Markdown; nothing of a name can end its address."""
    line, colour = _headline(run, model), badge_colour(_outcome(run, model), bool(run.identity.narrowed))
    query = urlencode({"label": "ecgfm", "message": line, "color": colour})
    return f"![{markdown(f'ecgfm: {line}')}](https://img.shields.io/static/v1?{query})"


def _body(run: Loaded, model: str) -> Iterator[str]:
    yield "## Conformance by pytest-ecgfm"
    yield ""
    yield badge_image(run, model)
    yield ""
    yield f"**{markdown(_headline(run, model))}.** The encoder is frozen; probes are fitted on its embeddings."
    if run.identity.narrowed:
        yield ""
        yield "Options left out a part of what the profile asks for:"
        yield ""
        yield from (f"- {markdown(f'{name}: {words}')}" for name, words in run.identity.narrowed.items())
    nowhere = run.identity.encoders[model].gated_nowhere if model in run.identity.encoders else ()
    if nowhere:
        yield ""
        yield f"No blocking check decided these labels in any cohort: {markdown(', '.join(nowhere))}."
    yield ""
    yield from _statement(run.encoder_notes.get(model, {}).get("card"))
    rows = list(_values(run, model))
    if rows:
        yield "| cohort | seen in pretraining | label | metric | value | 95 % interval |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for cohort, asked, (_, title), found, _, _ in rows:
            names = " | ".join(map(markdown, (cohort, run.exposure(model, cohort), asked)))
            yield f"| {names} | {title} | {rounded(found.value)} | {_interval(found)} |"
        yield ""
    yield from _reasons(run.verdict["encoders"][model])
    yield f"Run {markdown(str(run.verdict.get('run_id', '')))}, {markdown(str(run.verdict.get('finished', '')))}:"
    yield ""
    yield from (f"- {markdown(name)}: {markdown(words)}" for name, words in run.identity.lines())
    yield ""
    yield "The suite is research software and not a medical device."


def _statement(card: object) -> Iterator[str]:
    """Yield what the card of the model says of its use, and what it leaves open."""
    if not isinstance(card, Mapping):
        return
    yield "The card of the model says:"
    yield ""
    for name, words in stated(card).items():
        if words:
            yield f"- {TITLES[name]}: {markdown(' '.join(words))}"
    missing = left_open(card)
    if missing:
        yield f"- left open: {listed(missing)}"
    yield ""


def _reasons(one: Mapping[str, Any]) -> Iterator[str]:
    reasons = [str(reason) for reason in one.get("reasons", [])]
    if reasons:
        yield "Reasons:"
        yield ""
        yield from (f"- {markdown(reason)}" for reason in reasons[:10])
        yield from [f"- and {len(reasons) - 10} more"] if len(reasons) > 10 else []
        yield ""
