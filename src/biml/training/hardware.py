"""Cores, devices, bfloat16 and memory allocation of the machine."""

import ctypes
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from biml.parallel import available_cores

MAX_WORKERS = 12
"""A step of the published size has about this many micro-batches; more processes would idle."""

MIN_BF16_SPEEDUP = 1.3
"""Speed-up of matrix products in bfloat16 from which it is used, since a step does more."""

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt."""


def physical_cores() -> int:
    """Physical cores that this process may use."""
    count = available_cores()
    return max(1, min(count, int(_capabilities().get("num_physical_cores", count))))


def prepare_cpu() -> None:
    """Limit caches of this process and its children; call before computing.

    oneDNN caches a compiled kernel for each shape, up to a thousand. Few shapes recur soon, so that
    within a few steps these kernels fill 700 MB and slow the process down by a tenth. A capacity of
    96 suffices for the layers of one micro-batch, and some more that recur.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "96")
    tune_malloc()


def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16 matrices, as far as PyTorch can tell."""
    return bool(_capabilities().get("amx_bf16"))


def _capabilities() -> dict[str, Any]:
    try:
        return dict(torch.cpu.get_capabilities())
    except (AttributeError, RuntimeError):  # older PyTorch
        return {}


def pick_precision(device: torch.device) -> str:
    """`bf16` where that trains faster, else `fp32`.

    A CPU without instructions for it emulates bfloat16, and not all that have them gain, so that
    products of both kinds are timed there, in a tenth of a second.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if _bf16_speedup() > MIN_BF16_SPEEDUP else "fp32"


def _bf16_speedup() -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a, b = torch.ones(1024, 128), torch.ones(128, 512)
        # Minima of several, in alternation: other load on the machine only adds time.
        times = [(_time_matmul(a, b), _time_matmul(a.bfloat16(), b.bfloat16())) for _ in range(8)]
    finally:
        torch.set_num_threads(threads)
    fp32, bf16 = (min(column) for column in zip(*times[1:], strict=True))
    return fp32 / bf16


def _time_matmul(a: torch.Tensor, b: torch.Tensor) -> float:
    began = time.perf_counter()
    for _ in range(4):
        a @ b
    return time.perf_counter() - began


def device_name(device: torch.device) -> str:
    """A description such as `AMD EPYC 9B14, 2 cores`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return f"GPU of {platform.machine()} (Metal)"
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {physical_cores()} {'core' if physical_cores() == 1 else 'cores'}"


def tune_malloc() -> bool:
    """Let glibc keep freed memory for reuse; return whether it agreed.

    A training step allocates and frees hundreds of tensors of many megabytes. By default the C
    library returns each to the system, which then clears every page: a tenth of a step in fp32.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
