"""Dropout whose masks come from a generator that the caller holds."""

import torch
from torch import Tensor


def dropout(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Set each element to zero with probability `p` and scale the others by 1 / (1 - p)."""
    if p == 0:
        return x
    keep = torch.empty_like(x).bernoulli_(1 - p, generator=generator)
    return x * keep.mul_(1 / (1 - p))
