"""Multi-head attention with masks and dropout, written for CPUs where PyTorch's own is slow."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from biml.networks.hooks import NO_HOOKS, HookPoints

Heads = Float[Tensor, "row heads tok head"]

MASK_LEVELS = 1 << 16  # 16 random bits an element: `p` is exact to 1 / 65,536

INT_DTYPES = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes


class Dropout:
    """Dropout whose masks cost 0.5 ns an element on CPUs, against 6 ns in PyTorch.

    NumPy's fastest generator, seeded from `generator` (None: PyTorch's own), gives 16 bits an
    element, and masks are applied as bitwise operations. On a GPU PyTorch draws the masks, from a
    `generator` on that device.

    >>> drop = Dropout(0.1, torch.Generator().manual_seed(0))
    >>> round(drop(torch.ones(100_000)).mean().item(), 1)
    1.0
    """

    def __init__(self, p: float = 0.0, generator: torch.Generator | None = None) -> None:
        self.p = p
        self.scale = 1 / (1 - p)
        self.generator = generator
        self.bit_generator: Any = None

    def __call__(self, x: Tensor) -> Tensor:
        return _DropoutFunction.apply(x, self.mask(x.shape, x), self.scale) if self.p else x

    def mask(self, shape: Sequence[int], like: Tensor) -> Int[Tensor, "..."]:
        """Draw integers as wide as the elements of `like`: all bits set to keep one, else none."""
        dtype = INT_DTYPES[like.element_size()]
        if like.device.type != "cpu":
            mask = torch.empty(tuple(shape), dtype=dtype, device=like.device)
            return mask.bernoulli_(1 - self.p, generator=self.generator).neg_()
        if self.bit_generator is None:
            seed = torch.randint(1 << 62, (), generator=self.generator).item()
            self.bit_generator = np.random.SFC64(int(seed))
        count = prod(shape)
        drawn = self.bit_generator.random_raw((count + 3) // 4).view(np.int16)
        levels = torch.from_numpy(drawn)[:count]
        kept = levels.ge_(round(self.p * MASK_LEVELS) - MASK_LEVELS // 2)
        return kept.neg_().to(dtype).view(tuple(shape))


NO_DROPOUT = Dropout()


def apply_mask(x: Tensor, mask: Tensor, out: Tensor | None = None) -> Tensor:
    """Zero the elements of `x` that the mask drops; write to `out` if given."""
    bits = None if out is None else out.view(mask.dtype)
    return torch.bitwise_and(x.view(mask.dtype), mask, out=bits).view(x.dtype)


class _DropoutFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return apply_mask(x, mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return apply_mask(gradients[0], mask).mul_(ctx.scale), None, None


BF16_KEY_MULTIPLE = 32
"""In bf16 keys are padded to a multiple of this: PyTorch's softmax takes twice the time over rows
that do not fill vector registers (1.7 against 0.9 ns an element)."""


def attention(
    q: Float[Tensor, "row heads query head"],
    k: Float[Tensor, "row heads key head"],
    v: Float[Tensor, "row heads key head"],
    *,
    lengths: Int[Tensor, " row"] | None = None,
    causal: bool = False,
    blocked: Bool[Tensor, "row _ query key"] | None = None,
    drop: Dropout = NO_DROPOUT,
    at: HookPoints = NO_HOOKS,
    kind: str = "",
) -> Float[Tensor, "row heads query head"]:
    """Scaled dot-product attention, with dropout of the attention weights.

    A query sees the first `lengths` keys of its row; if `causal`, the i-th query sees the first i;
    and none that is `blocked`. It must see at least one. Hooks act on the weights, by the name
    `attention` behind `kind`, and on what is attended to, as `heads`.
    """
    if at.find and at.hooks(f"{kind}attention"):
        invisible = _blocked_keys(q.shape[-2], k.shape[-2], lengths, causal, k.device)
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        blocked_keys = invisible if blocked is None else invisible | blocked
        weights = scores.masked_fill(blocked_keys, -torch.inf).softmax(-1)
        attended = at(f"{kind}attention", weights).to(v.dtype) @ v
    elif drop.p == 0 and q.device.type != "cpu":
        attended = sdpa(q, k, v, lengths, causal, blocked)
    else:
        attended = MatmulAttention.apply(q, k, v, lengths, causal, blocked, drop)
    return at(f"{kind}heads", attended) if at.find else attended


def sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    causal: bool,
    blocked: Tensor | None = None,
) -> Tensor:
    """PyTorch's fused attention, which cannot draw dropout from a generator of one's own."""
    invisible = _blocked_keys(q.shape[-2], k.shape[-2], lengths, causal, k.device)
    if blocked is not None:
        invisible = invisible | blocked
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~invisible)


class MatmulAttention(torch.autograd.Function):
    """Attention as batched matrix products, with everything else done in place between them.

    PyTorch's fused attention for CPUs has no dropout and a slow backward pass for small heads.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        lengths: Tensor | None,
        causal: bool,
        blocked: Tensor | None,
        drop: Dropout,
    ) -> Tensor:
        keys = k.shape[-2]
        if k.dtype == torch.bfloat16 and k.device.type == "cpu":
            keys = -(-keys // BF16_KEY_MULTIPLE) * BF16_KEY_MULTIPLE
        with torch.autocast(q.device.type, enabled=False):
            query = _flatten_heads(q, q.shape[-2])
            key, value = _flatten_heads(k, keys), _flatten_heads(v, keys)
            scores = _scaled_bmm(query, key.transpose(1, 2), q.shape[-1] ** -0.5)
            by_row = scores.view(*q.shape[:3], keys)
            _mask_scores(by_row, k.shape[-2], lengths, causal)
            if blocked is not None:
                by_row[..., : k.shape[-2]].masked_fill_(blocked, float("-inf"))
            weights = torch.softmax(scores, -1, out=scores)
            mask = drop.mask(weights.shape, weights) if drop.p else None
            kept = weights if mask is None else apply_mask(weights, mask)
            out = _scaled_bmm(kept, value, drop.scale)
        ctx.save_for_backward(query, key, value, weights, mask)
        ctx.drop_scale = drop.scale
        ctx.keys = k.shape[-2]
        return out.view(q.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, weights, mask = ctx.saved_tensors
        rows, heads, queries, size = gradients[0].shape
        with torch.autocast(query.device.type, enabled=False):
            g = _flatten_heads(gradients[0], queries)
            kept = weights if mask is None else apply_mask(weights, mask)
            dv = _scaled_bmm(kept.transpose(1, 2), g, ctx.drop_scale)
            dw = _scaled_bmm(g, value.transpose(1, 2), ctx.drop_scale)
            if mask is not None:
                apply_mask(dw, mask, out=dw)
            ds = torch.ops.aten._softmax_backward_data.out(
                dw, weights, -1, weights.dtype, grad_input=dw
            )
            dq = _scaled_bmm(ds, key, size**-0.5)
            dk = _scaled_bmm(ds.transpose(1, 2), query, size**-0.5)
        dq, dk, dv = (x.view(rows, heads, -1, size) for x in (dq, dk, dv))
        return dq, dk[:, :, : ctx.keys], dv[:, :, : ctx.keys], None, None, None, None


def _scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Batched matrix products, scaled in the same kernel."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)


def _flatten_heads(x: Heads, length: int) -> Float[Tensor, "row*heads length head"]:
    """Flatten rows and heads, and pad tokens with zeros to `length`."""
    rows, heads, tokens, size = x.shape
    if length == tokens and x.is_contiguous():
        return x.view(rows * heads, length, size)
    flat = x.new_empty(rows, heads, length, size)
    flat[:, :, :tokens] = x
    flat[:, :, tokens:] = 0
    return flat.view(rows * heads, length, size)


def _mask_scores(scores: Tensor, keys: int, lengths: Tensor | None, causal: bool) -> None:
    scores[..., keys:] = float("-inf")
    first = 0
    if lengths is not None and not causal and scores.device.type == "cpu":
        # Rows of similar length go together, so that only the last few keys need to be touched.
        first = int(lengths.min())
    if (lengths is not None or causal) and first < keys:
        blocked = _blocked_keys(scores.shape[-2], keys, lengths, causal, scores.device)
        scores[..., first:keys].masked_fill_(blocked[..., first:], float("-inf"))


def _blocked_keys(
    queries: int, keys: int, lengths: Tensor | None, causal: bool, device: torch.device
) -> Bool[Tensor, "_ _ _ key"]:
    position = torch.arange(keys, device=device)
    blocked = torch.zeros(1, 1, 1, keys, dtype=torch.bool, device=device)
    if causal:
        blocked = position > torch.arange(queries, device=device)[:, None]
    if lengths is not None:
        blocked = blocked | (position >= lengths[:, None, None, None])
    return blocked
