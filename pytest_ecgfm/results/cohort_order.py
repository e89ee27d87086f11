"""The one order in which cohorts are shown: on the page, in the terminal, in the cube, in tables and in figures."""

from collections.abc import Iterable

from pytest_ecgfm.results.checks import OTHERS


def cohort_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return cohorts in the order of their names, each once; all others together, as a source, come last.

    >>> cohort_order(["ptb-xl", "others", "chapman", "sph", "ptb-xl"])
    ('chapman', 'ptb-xl', 'sph', 'others')
    """
    return tuple(sorted(set(names), key=lambda name: (name == OTHERS, name)))
