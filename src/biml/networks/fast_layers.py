"""The pieces that the networks which read study examples once are made of."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BRANCH = 0.25
"""Feed-forward branches start small, so that embeddings reach every layer's attention."""

COPIED = 0.5
"""How much of what attention finds is added at first."""


class Layer(nn.Module):
    """Pre-norm: attention among its own tokens, then the feed-forward part."""

    def __init__(self, width: int, ff_mult: int) -> None:
        super().__init__()
        self.norm_own = Norm(width)
        self.own = Attention(width)
        self.norm_feed = Norm(width)
        self.feed = FeedForward(width, ff_mult, BRANCH)


class DecoderLayer(Layer):
    """A layer that looks things up in the study examples, between its two parts."""

    def __init__(self, width: int, ff_mult: int) -> None:
        super().__init__(width, ff_mult)
        self.norm_study = Norm(width)
        self.study = Attention(width)


class Attention(nn.Module):
    """Queries look for keys; both projections start equal, and what is found is passed on as it is.

    So attention begins as "find the same token and add what stands there", of which retrieval in
    several hops is made ("mimetic initialization", Trockman & Kolter 2023); docs/fast.md has what
    that is worth here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(scaled(width, width))
        self.key = nn.Parameter(self.query.detach().clone())
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * COPIED)


class FeedForward(nn.Module):
    """Two linear maps with an activation between them."""

    def __init__(self, width: int, multiple: int, branch: float) -> None:
        super().__init__()
        self.up = nn.Parameter(scaled(width * multiple, width))
        self.down = nn.Parameter(scaled(width, width * multiple) * branch)

    def forward(self, x: Tensor, activation: str) -> Tensor:
        hidden = F.linear(x, self.up)
        hidden = F.gelu(hidden) if activation == "gelu" else F.relu(hidden)
        return F.linear(hidden, self.down)


class Norm(nn.Module):
    """Root-mean-square norm; PyTorch's is not fused for bfloat16 with weights in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return _Normed.apply(x, self.weight)


class _Normed(torch.autograd.Function):
    """x / rms(x) * weight; the gradient needs only the normed x and 1 / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(size.square() / x.shape[-1] + 1e-6).to(x.dtype)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,) = gradients
        normed, inverse, weight = ctx.saved_tensors
        weight = weight.to(g.dtype)
        product = g * normed
        of_weight = product.sum(tuple(range(g.ndim - 1)), dtype=torch.float32)
        along = (product @ weight / g.shape[-1])[..., None]
        return (g * weight).addcmul_(normed, along, value=-1).mul_(inverse), of_weight


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


class Regather(torch.autograd.Function):
    """Rows of a matrix in another order, where going back is such an order too.

    `x[there]`, whose gradient is `g[back]`: a gather as well, where plain indexing would scatter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


def scaled(rows: int, columns: int) -> Tensor:
    """A random matrix that keeps the size of what it is multiplied with."""
    return torch.randn(rows, columns) * columns**-0.5


def project(x: Tensor, *weights: Tensor) -> Tensor:
    """Several linear maps of the same input in one product, side by side."""
    return F.linear(x, torch.cat(weights) if len(weights) > 1 else weights[0])
