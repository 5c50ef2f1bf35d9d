"""Multi-head attention with padding, causality and dropout."""

import torch
from torch import Tensor

from biml.networks.dropout import dropout


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    lengths: Tensor | None = None,
    causal: bool = False,
    p: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: queries [rows, heads, Q, head size].
        k, v: keys and values [rows, heads, K, head size].
        lengths: LongTensor [rows], how many keys of each row count (at least 1); None: all.
        causal: the i-th query sees keys up to the i-th.
        p: probability of dropping an attention weight.
        generator: draws the dropout, on the device of `q`.

    Returns:
        [rows, heads, Q, head size]
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if lengths is not None:
        beyond = torch.arange(k.shape[-2], device=k.device) >= lengths[:, None]
        scores = scores.masked_fill(beyond[:, None, None], float("-inf"))
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=k.device).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    weights = dropout(scores.softmax(-1), p, generator)
    return weights.to(v.dtype) @ v
