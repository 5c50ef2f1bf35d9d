"""The devices of the machine, and the floating-point type that each has."""

import re

import torch

from biml.errors import UsageError

DEVICE_NAMES = "auto, cpu, cuda, cuda:N or mps"


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
