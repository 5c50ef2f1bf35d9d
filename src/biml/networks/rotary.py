"""Rotary positions: queries and keys are turned by where they stand (Su et al. 2021)."""

from typing import Any

import torch
from torch import Tensor

SLOWEST = 100.0
"""Ratio of the fastest to the slowest turn; rows are 20 to 150 tokens long."""

Turns = tuple[Tensor, Tensor]
"""Cosines and sines [.., 1, tokens, head size / 2]."""


def turns(place: Tensor, head_size: int, kind: torch.dtype) -> Turns:
    """By which angles the tokens at these places [.., tokens] are turned."""
    half = head_size // 2
    rates = SLOWEST ** -(torch.arange(half, device=place.device) / half)
    angles = (place[..., None] * rates)[..., None, :, :]
    return angles.cos().to(kind), angles.sin().to(kind)


class Turn(torch.autograd.Function):
    """Turns pairs of features by angles; the gradient is turned back by them.

    What is turned by the same angles is best turned together: half the calls, each of which reads
    short runs of features.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        a, b = gradients[0].chunk(2, -1)
        return torch.cat((a * cos + b * sin, b * cos - a * sin), -1), None, None
