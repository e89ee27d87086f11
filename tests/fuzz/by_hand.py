"""Fuzz one target for as long as you like, with `atheris` (no dependency): ``python -m tests.fuzz.by_hand cube``."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS


def main(name: str) -> None:
    """Start from the sound file of a target; new inputs are kept in a temporary folder."""
    import atheris

    target = TARGETS[name]
    with TemporaryDirectory() as corpus:
        sound = seeds()
        Path(corpus, "sound").write_bytes(sound[name])

        def one(data: bytes) -> None:
            with TemporaryDirectory() as place:
                target(data, Path(place), **({"cube": sound["cube"]} if name == "verdict" else {}))

        atheris.instrument_all()
        atheris.Setup([sys.argv[0], corpus, *sys.argv[2:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz.by_hand {{{','.join(TARGETS)}}} [libFuzzer options]")
    main(sys.argv[1])
