"""Write docs/models.md from the cards, so that the two cannot disagree: ``python docs/make_models.py``."""

import re
import textwrap
from pathlib import Path

from pytest_ecgfm.cards import ModelCard, parse_card
from pytest_ecgfm.cards.parity import parity_in_words
from pytest_ecgfm.cards.statement import TITLES
from pytest_ecgfm.encoders.registry import builtin_models

HEAD = """# Models

Made from the cards in `fixtures/` by `docs/make_models.py`; a test keeps the two equal.

A foundation model is loaded from its official checkpoint file, as its authors publish it, and embeds records
exactly as their code does: preprocessing, crops and aggregation included. **verified** says for each what it was
compared with, how closely, and what was not compared. Of the official weights only those of `openecg_codec`
were at hand; they come in a Python package, so that this model runs without a download by hand. All others were
compared on synthetic weights. If you have the weights of one, [compare it yourself](#compare-it-yourself).

```sh
pip install -c constraints.txt '.[openecg]'
pytest --ecgfm=openecg_codec
pip install -c constraints.txt '.[models]'
pytest --ecgfm=ecgfounder --ecgfm-checkpoint=ecgfounder=12_lead_ECGFounder.pth
pytest --ecgfm=hubert_ecg_base --ecgfm-checkpoint=hubert_ecg_base=hf://Edoardo-BS/hubert-ecg-base/model.safetensors
```

```python
import pytest_ecgfm

encoder = pytest_ecgfm.load_encoder("ecgfounder", checkpoint="12_lead_ECGFounder.pth", device="cpu")
embedding = encoder.embed(signal, sampling_rate=400, leads=["I", "II", ...])  # (records, leads, samples) in mV
```

Every key of the backbone must be in the file with its shape, and every key of the file must be the backbone's
or a known head of pretraining; otherwise the run stops and lists them. Files are opened without running
anything in them. One that needs more than tensors and plain containers is refused;
`ecgfm convert IN OUT.safetensors --trust` converts it once, and is the only place that may run what a file
says. The SHA-256 of the weights goes into the run.

**SHA-256** lists the digests of the file that somebody published. The page of a run says "weights not verified"
where the file that was read has none of them.

**seen** and **unknown** name cohorts that the model saw, or may have seen, in pretraining; all others count as
unseen.
"""

TAIL = """
## Reference encoders

`handcrafted`, `random_conv` and `demographics` need no weights and saw nothing: see
[method.md](method.md#reference-encoders).

`moment_small` is a general time-series model: `--ecgfm-reference=moment_small` says what an ECG model gains
over one.

## A trained model and its control

`openecg_random` is the network of `openecg_codec` with random weights of a seed. On the sample recordings of
PTB-XL and CPSC 2018 that the tests use, the AUROC of CD is 0.834 [0.768, 0.884] and 0.909 [0.841, 0.949] with
the trained weights, 0.515 [0.452, 0.577] and 0.556 [0.462, 0.647] with random ones; that of AF 0.993 and 0.988,
against 0.628 and 0.528 (494 and 165 records with a known label, profile `default`). PTB-XL, with its labels, was
seen in training; CPSC 2018 was not. `tests/end_to_end/test_trained_and_redrawn.py` asks that the trained network
passes, and that three random ones pass the contract and nothing else.

## Compare it yourself

Run the official code on a few records, keep what it returns, and hold the adapter against it: in a batch, one by
one, and with the leads in another order. It works for every adapter: one of these, a card (`model.toml`), or one
that a Python file declares (`FILE.py::NAME`).

```sh
ecgfm parity ecgfounder --checkpoint=12_lead_ECGFounder.pth --vectors=official.npz
ecgfm parity conftest.py::my_model --vectors=official.npz
```

The exit status is 0 if no number differs by more than the tolerance, 1 if one does, 2 if something cannot be read:
one line is a step of CI. The file is written by numpy; nothing in it is unpickled.

```python
import numpy as np

np.savez(
    "official.npz",
    signals=signals,  # (records, leads, samples), in mV, before any preprocessing
    leads=np.array(["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]),
    sampling_rate=500,  # Hz
    embedding=embedding,  # (records, dimensions), as the official code returns it
    tolerance=1e-4,  # largest absolute difference; 1e-4 where it is left out
)
```

## Traps

- Lead order differs (MERL and MIMIC-IV-ECG have aVF before aVL); adapters pick leads by name.
- The official preprocessing differs from one script to the next in several repositories; each section above
  says which one is followed.
- `openecg_codec` reads ranks: gain and offset have no effect, so that `gain` in the stability suite says
  nothing about it, and small noise changes the ranks of quiet stretches. In the sample recordings of PTB-XL it
  fails `stability.retrieval`: of records with a hum of 0.02 mV, 0.42 [0.30, 0.53] find their clean twin, of those
  with muscle noise at 24 dB 0.55 [0.43, 0.67] (0.75 is asked; 0.75 and 0.92 in CPSC 2018). The model is at fault,
  not the threshold: `handcrafted` and `random_conv` meet it, and the embedding of a record moves by 0.67 to 0.80
  of the distance between patients.
- Records shorter than a model's input are padded with zeros where its code has no rule, and refused below 1 s.
- An average over seen and unseen cohorts says nothing about generalisation. `exposure` in the cube keeps them
  apart.

## Add a model

One file in `fixtures/` with an `@ecg_model` fixture, whose card says everything above, and one in
`pytest_ecgfm/encoders/` with the network and `load`, built from `read_checkpoint`, `descend` and
`load_backbone` (`encoders/checkpoints.py`) and `Frozen` (`encoders/frozen.py`). The test compares with
embeddings of the official code: `golden.npz` and `manifest.json` in `tests/encoders/golden/NAME`, at most 300 kB,
whose README says how they come about. Then `python docs/make_models.py`.
"""


def _cohorts(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _exposure(card: ModelCard) -> str:
    if card.pretrained_on is None:
        return f"- **unknown**: every cohort; named as sources are {', '.join(card.possibly_pretrained_on)}"
    return f"- **seen**: {_cohorts(card.pretrained_on)}; **unknown**: {_cohorts(card.possibly_pretrained_on)}"


def _source(card: ModelCard) -> str:
    found = re.fullmatch(r"package://(\w+)/(.+)#sha256=(\w+)", card.source)
    if found is None:
        return card.source
    package, file, digest = found.groups()
    return f"PyPI package `{package}` (`{file}` in it, SHA-256 `{digest}`), which the extra `{package}` installs"


def _digests(card: ModelCard) -> str:
    return "; ".join(f"`{digest}`, {who}" for digest, who in card.published_sha256.items()) or "none published"


def _row(card: ModelCard) -> str:
    length = "any" if card.seconds is None else f"{card.seconds:g} s"
    leads = f"{len(card.leads)} lead{'s' if len(card.leads) > 1 else ''}"
    read = f"{leads}, {card.sampling_rate:g} Hz, {length}"
    return f"| [`{card.name}`](#{card.name}) | {card.dimensions} | {read} | {card.licence} |"


def _section(card: ModelCard) -> str:
    facts = [
        f"- **file**: `{card.checkpoint}`, from {_source(card)}",
        f"- **licence**: {card.licence}",
        f"- **verified**: {parity_in_words(card.parity)}",
        f"- **SHA-256**: {_digests(card)}",
        _exposure(card),
        f"- **leads**: {' '.join(card.leads)}",
        f"- **cite**: {card.citation}",
    ]
    for name, title in TITLES.items():
        said = getattr(card, name)
        facts += [f"- **{title}**: {one}" for one in (said if isinstance(said, tuple) else [said]) if one]
    facts += [f"- **trap**: {trap}" for trap in card.traps]
    lines = [_wrapped(card.description), "", *(_wrapped(fact, "  ") for fact in facts)]
    return f"## {card.name}\n\n" + "\n".join(lines) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 112, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def render() -> str:
    """Return the page's text."""
    cards = [parse_card(name, found.fields, where=found.where) for name, found in sorted(builtin_models().items())]
    models = [card for card in cards if card.checkpoint]
    table = ["| model | dimensions | reads | licence |", "| --- | --- | --- | --- |", *map(_row, models)]
    return "\n".join([HEAD, *table, "", *map(_section, models)]) + TAIL


if __name__ == "__main__":
    Path(__file__).with_name("models.md").write_text(render(), encoding="utf-8")
