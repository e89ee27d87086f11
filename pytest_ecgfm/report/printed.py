"""What commands print: nothing that comes from outside can steer a terminal."""

import sys

from pytest_ecgfm.report.escape import terminal


def say(line: str = "") -> None:
    """Write one line to the standard output."""
    sys.stdout.write("\n".join(map(terminal, line.split("\n"))) + "\n")


def complain(text: str) -> None:
    """Write one line to the standard error output."""
    sys.stderr.write(f"ecgfm: {terminal(' '.join(text.split()))}\n")
