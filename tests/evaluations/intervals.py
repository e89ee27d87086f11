"""What every interval obeys."""


def holds(interval):
    return interval.low <= interval.value <= interval.high
