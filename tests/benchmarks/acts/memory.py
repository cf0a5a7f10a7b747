"""How much memory this process has had at most."""

import resource
import sys
from pathlib import Path


def peak():
    """Return the peak RSS in MiB."""
    try:  # what getrusage says may be the parent's, from before the exec
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
