"""Devices: availability, most exact floating-point type, threads for inference."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch

from biml.errors import UsageError
from biml.parallel import available_cores

DEVICE_NAMES = "auto, cpu, cuda, cuda:N or mps"

MIN_QUERIES_FOR_THREADS = 50
"""Fewer queries are answered in one thread."""


def pick_device(name: str | torch.device) -> torch.device:
    """The device of a name in `DEVICE_NAMES`; a UsageError if this machine lacks it.

    `auto` is a GPU by CUDA where there is one, else the CPU. The GPU of an Apple machine (`mps`)
    has to be named; biml lets PyTorch run on the CPU what that GPU cannot.
    """
    name = str(name)
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n_gpus else "cpu")
    present = ["cpu", *(f"cuda:{number}" for number in range(n_gpus))]
    present += ["mps"] if torch.backends.mps.is_available() else []
    # PyTorch keeps the number in 8 bits, in which cuda:256 is cuda:0.
    number = re.fullmatch(r"cuda(?::([0-9]+))?", name)
    if name not in present and not (number and int(number[1] or 0) < n_gpus):
        raise UsageError(
            f"--device: this machine (or this PyTorch) has no {name!r} that biml can use; "
            f"choose auto or {' or '.join(present)}"
        )
    return torch.device(name)


def exact_float(device: torch.device) -> torch.dtype:
    """The most exact floating-point type of a device: Apple's GPUs lack float64."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def inference_threads(n_queries: int | None = None) -> Iterator[None]:
    """Compute in as many threads as there are idle cores; in one if there are few queries.

    The threads of a small matrix product wait for the slowest of them, so that one that shares its
    core with another program delays all: two threads beside two busy programs took 10 to 20 times
    as long as one (`benchmarks/contention.py`). There are never more than PyTorch is set to.
    """
    before = torch.get_num_threads()
    is_small = n_queries is not None and n_queries < MIN_QUERIES_FOR_THREADS
    wanted = 1 if is_small else _idle_cores()
    torch.set_num_threads(min(before, wanted))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _idle_cores() -> int:
    """Cores that this process may use and that others left idle in the minute before; or one.

    Measured once, since the load later includes the threads of this process.
    """
    load = 0.0
    with suppress(AttributeError, OSError):  # as on Windows
        load = os.getloadavg()[0]
    return max(1, min(available_cores(), round((os.cpu_count() or 1) - load)))
