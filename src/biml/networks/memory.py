"""How a process deals with memory that it has freed."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""


def tune_malloc() -> bool:
    """Let this process keep what it has freed, to use it again.

    A training step allocates and frees some hundred tensors of many megabytes. By default the C
    library hands each back to the system, which then clears every page anew: a tenth of the time
    of a step in fp32. For glibc only; elsewhere nothing happens.

    Returns:
        whether the C library agreed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
