"""Rotary positions: queries and keys are turned by where they stand (Su et al. 2021)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MAX_PERIOD = 100.0
"""Ratio of the fastest to the slowest turn; rows are 20 to 150 tokens long."""

CosSin = tuple[Tensor, Tensor]
"""Cosines and sines [.., half of the features that are turned]."""


def rotary_angles(positions: Tensor, head_size: int, heads: int, dtype: torch.dtype) -> CosSin:
    """By which angles tokens at these places [..] are turned, for so many heads."""
    half = head_size // 2
    rates = MAX_PERIOD ** -(torch.arange(half, device=positions.device) / half)
    angles = positions[..., None] * rates
    times = (*[1] * positions.ndim, heads)
    return angles.cos().to(dtype).repeat(times), angles.sin().to(dtype).repeat(times)


def split_half_layout(matrices: Sequence[Tensor], heads: int) -> Tensor:
    """One matrix for several projections [width, columns] that are turned.

    Its products are the first halves of all heads, then the second halves: what is turned together
    is one long run of features, and not one of half a head.

    Returns:
        [2 * matrices * heads * half a head, columns]
    """
    each = torch.stack(tuple(matrices)).unflatten(1, (heads, 2, -1))
    return each.permute(2, 0, 1, 3, 4).flatten(0, 3)


class ApplyRotary(torch.autograd.Function):
    """Turns pairs of features by angles; the gradient is turned back by them.

    Features [..] are first halves, second halves, and what is not turned.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotate(gradients[0], cos, sin, -1), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    out = torch.empty_like(x)
    torch.mul(a, cos, out=out[..., :half]).addcmul_(b, sin, value=-direction)
    torch.mul(b, cos, out=out[..., half : 2 * half]).addcmul_(a, sin, value=direction)
    out[..., 2 * half :] = x[..., 2 * half :]
    return out


class SplitHeads(torch.autograd.Function):
    """Features of a table [rows, tokens, features] as heads [rows, heads, tokens, head size] each.

    Some parts are turned before, whose halves stand apart (`halves_apart`); the others follow.
    The gradient of all parts is written in one table.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, n_rotated: int, n_plain: int, heads: int) -> Any:
        ctx.shape, ctx.parts = table.shape, (n_rotated, n_plain, heads)
        return tuple(part.flatten(3).contiguous() for part in _head_views(table, *ctx.parts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        table = gradients[0].new_empty(ctx.shape)
        for part, gradient in zip(_head_views(table, *ctx.parts), gradients, strict=True):
            part.copy_(gradient.view(part.shape))
        return table, None, None, None


def _head_views(table: Tensor, n_rotated: int, n_plain: int, heads: int) -> list[Tensor]:
    """Views of each part [rows, heads, tokens, 2 or 1, features]."""
    size = table.shape[-1] // (n_rotated + n_plain)
    first, second = table.split((n_rotated * size, n_plain * size), -1)
    views = []
    for features, parts, pieces in ((first, n_rotated, 2), (second, n_plain, 1)):
        if parts:
            views += features.unflatten(-1, (pieces, parts, heads, -1)).unbind(3)
    return [view.permute(0, 3, 1, 2, 4) for view in views]
