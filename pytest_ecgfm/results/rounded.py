"""How numbers are written for people, everywhere: decimals and never powers of ten."""

import math
from decimal import Decimal

DECIMALS = 3


def decimals(bound: float = math.nan) -> int:
    """Return how many decimals tell a value from a bound: three, and more where the bound itself is smaller than that.

    >>> decimals(), decimals(0.02), decimals(1e-4)
    (3, 3, 5)
    """
    if not math.isfinite(bound) or abs(bound) >= 10.0**-DECIMALS or bound == 0:
        return DECIMALS
    return min(1 - math.floor(math.log10(abs(bound))), 12)


def rounded(value: float, bound: float = math.nan, *, sign: str = "") -> str:
    """Write a number that was measured: a difference of next to nothing is 0.000, and has no sign of its own.

    >>> rounded(3.1e-05), rounded(-3.1e-05), rounded(3.1e-05, 1e-4), rounded(0.01234, sign="+")
    ('0.000', '0.000', '0.00003', '+0.012')
    """
    digits = decimals(bound)
    # Adding zero turns what is left of a small negative number into zero.
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def chosen(value: float, digits: int = 6) -> str:
    """Write a number that somebody chose, such as a bound: in as few digits as tell it.

    >>> chosen(0.3), chosen(1e-05), chosen(1e6), chosen(-0.0)
    ('0.3', '0.00001', '1000000', '0')
    """
    text = f"{value + 0.0:.{digits}g}"
    return f"{Decimal(text):f}" if "e" in text else text


def spanned(value: float, low: float, high: float, bound: float = math.nan) -> str:
    """Write a value with its interval.

    >>> spanned(0.81234, 0.7, 0.9), spanned(3.1e-05, -2e-5, 0.1)
    ('0.812 [0.700, 0.900]', '0.000 [0.000, 0.100]')
    """
    value_told, low_told, high_told = (rounded(one, bound) for one in (value, low, high))
    return f"{value_told} [{low_told}, {high_told}]"
