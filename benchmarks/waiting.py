"""Whether a process was kept waiting for a core, which changes whatever is read from the clock."""

from pathlib import Path

_NANOSECONDS = 1e9


def waited_seconds() -> float:
    """Returns how long this process's main thread has been ready to run while something else ran (Linux)."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / _NANOSECONDS
