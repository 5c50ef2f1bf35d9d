"""What the machine offers: cores, devices and native bfloat16."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from biml.errors import UsageError
from biml.networks.memory import keep_freed_memory

MOST_WORKERS = 12
"""A step of the published size is cut in about this many pieces; more processes would idle."""


def cores() -> int:
    """Physical cores that this process may use: its affinity and its container's quota count."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, round(int(quota) / int(period))))
    with suppress(AttributeError, RuntimeError):  # get_capabilities is newer than our oldest torch
        count = min(count, int(torch.cpu.get_capabilities()["num_physical_cores"]))
    return max(1, count)


def prepare_cpu() -> None:
    """Let this process, and those that it starts, train in little memory; call before computing.

    oneDNN keeps a compiled kernel for each shape that it met, up to a thousand; hardly a shape
    comes twice in training, so within a few steps they fill 700 MB without saving time. 64 are
    enough for the layers of one piece.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "64")
    keep_freed_memory()


def pick_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: there is no such device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UsageError(f"--device must be auto, cpu or cuda, not {wanted!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, not {wanted!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {wanted}: this machine (or this PyTorch) has no such GPU")
    return device


def pick_precision(device: torch.device) -> str:
    """`bf16` where the hardware multiplies bfloat16 natively, else `fp32`.

    Without such instructions bfloat16 products on a CPU are emulated, slower than fp32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    # Both questions are PyTorch's own, under names that it does not promise to keep.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, name, lambda: False)() for name in questions)
    return "bf16" if native or _arm_has_bf16() else "fp32"


def describe(device: torch.device) -> str:
    """The machine in a few words, such as `AMD EPYC 9B14, 2 cores`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {cores()} {'core' if cores() == 1 else 'cores'}"


def _arm_has_bf16() -> bool:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("Features"):
                return "bf16" in line.split()
    return False
