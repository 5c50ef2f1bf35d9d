"""What the machine offers: cores, devices and fast bfloat16."""

import ctypes
import os
import platform
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from biml.errors import UsageError

MAX_WORKERS = 12
"""A step of the published size is cut in about this many pieces; more processes would idle."""

MIN_BF16_SPEEDUP = 1.3
"""How much faster products in bfloat16 must be, since not all of a step are products."""


def physical_cores() -> int:
    """Physical cores that this process may use: its affinity and its container's quota count."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return max(1, min(count, int(_capabilities().get("num_physical_cores", count))))


def prepare_cpu() -> None:
    """Let this process, and those that it starts, train in little memory; call before computing.

    oneDNN keeps a compiled kernel for each shape that it met, up to a thousand. Few shapes come
    twice soon, so within a few steps they fill 700 MB, and slow the process down by a tenth. Those
    of the layers of one piece, and some more that recur, are enough.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "96")
    tune_malloc()


def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16 matrices; False where PyTorch cannot tell."""
    return bool(_capabilities().get("amx_bf16"))


def _capabilities() -> dict[str, Any]:
    """What PyTorch says of this CPU; nothing where it does not know."""
    try:
        return dict(torch.cpu.get_capabilities())
    except (AttributeError, RuntimeError):  # get_capabilities is newer than our oldest PyTorch
        return {}


def pick_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = re.fullmatch(r"cpu|cuda(?::([0-9]+))?", name)
    if not named:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}")
    # PyTorch keeps a number of 8 bits, in which cuda:256 is cuda:0.
    if name != "cpu" and int(named[1] or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine (or this PyTorch) has no such GPU")
    return torch.device(name)


def pick_precision(device: torch.device) -> str:
    """`bf16` where that makes training faster, else `fp32`.

    Without instructions for it a CPU emulates bfloat16, and not all that have them gain by them, so
    products of both kinds are timed there, in a tenth of a second.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if _bf16_speedup() > MIN_BF16_SPEEDUP else "fp32"


def _bf16_speedup() -> float:
    """How many times as fast one core multiplies bfloat16 matrices of a feed-forward layer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exact = torch.ones(1024, 128), torch.ones(128, 512)
        rough = exact[0].bfloat16(), exact[1].bfloat16()
        # Least of several, in alternation: what else the machine does only adds.
        times = [(_time_matmul(*exact), _time_matmul(*rough)) for _ in range(8)]
    finally:
        torch.set_num_threads(threads)
    of_exact, of_rough = (min(column) for column in zip(*times[1:], strict=True))
    return of_exact / of_rough


def _time_matmul(a: torch.Tensor, b: torch.Tensor) -> float:
    began = time.perf_counter()
    for _ in range(4):
        a @ b
    return time.perf_counter() - began


def device_name(device: torch.device) -> str:
    """The machine in a few words, such as `AMD EPYC 9B14, 2 cores`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {physical_cores()} {'core' if physical_cores() == 1 else 'cores'}"


# === How a process deals with memory that it has freed.


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
