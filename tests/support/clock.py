"""A clock for limits in seconds, which are about our waits and not about a busy machine."""

import time
from pathlib import Path


def clock():
    """Return seconds that do not go by while this thread waits for a CPU that others have.

    From /proc/thread-self/schedstat, whose second number is the time on the run queue.
    """
    try:
        on_the_run_queue = Path("/proc/thread-self/schedstat").read_text().split()[1]
    except OSError:  # no Linux: all time counts
        on_the_run_queue = 0
    return time.monotonic() - int(on_the_run_queue) / 1e9
