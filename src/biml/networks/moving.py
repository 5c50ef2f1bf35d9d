"""Batches on their way to the device that computes."""

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def to_device(batch: T, device: torch.device) -> T:
    """A dataclass of tensors, and of such dataclasses, on a device; whatever else it has stays."""
    there: dict[str, Any] = {}
    for field in fields(batch):  # type: ignore[arg-type]
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            there[field.name] = value.to(device, non_blocking=True)
        elif hasattr(value, "to"):
            there[field.name] = value.to(device)
    return replace(batch, **there)  # type: ignore[type-var]
