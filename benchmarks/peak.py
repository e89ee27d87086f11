"""The peak memory of a process, as several benchmarks take it."""

import resource
import sys
from pathlib import Path


def peak_memory() -> float:
    """Return this process's peak memory in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage tells on Linux includes the peak of the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
