"""How a process deals with memory that it has freed."""

import ctypes
import sys
from collections.abc import Callable

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""


def keep_freed_memory() -> bool:
    """Let this process keep what it has freed, to use it again.

    A training step allocates and frees some hundred tensors of many megabytes. By default the C
    library hands each back to the system, which then clears every page anew: a tenth of the time
    of a step in fp32. For glibc only; elsewhere nothing happens.

    Returns:
        whether the C library agreed.
    """
    mallopt = _of_glibc("mallopt")
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
    return mallopt is not None and all(mallopt(*setting) for setting in settings.items())


def give_back_freed_memory() -> None:
    """Hand back once what this process has freed.

    What is kept lies between what is in use, in pieces that fit ever fewer new tensors, so in a
    long run it grows by half. To fetch it anew takes a tenth of a second.
    """
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of that C library; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
