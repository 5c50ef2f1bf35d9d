"""The layers that the staged network is made of."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.attention import attention
from biml.networks.rotary import Heads, Turn, Turns, halves_apart
from biml.networks.rows import Rows
from biml.networks.staged_config import StagedConfig

BRANCH = 0.25
"""Feed-forward branches start small, so that embeddings reach every layer's attention."""

COPIED = 0.5
"""How much of what attention finds is added at first."""

Found = tuple[Tensor, Tensor]
"""Keys and values, [rows, heads, tokens, head size] each."""


@dataclass(frozen=True)
class Shown:
    """Study examples as a layer looks things up in them.

    Attributes:
        key, value: [rows, heads, S, head size].
        lengths: LongTensor [rows], their tokens that are not padding.
        asking: the tokens that look there, row by row; None where they come as a table.
    """

    key: Tensor
    value: Tensor
    lengths: Tensor
    asking: Rows | None = None


class Layer(nn.Module):
    """Pre-norm: attention among its own tokens, then the feed-forward part.

    Tokens are [tokens, width] with the `Rows` that they form, or a table [rows, tokens, width].
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.heads = config.nheads
        self.norm_own = Norm(width)
        self.own = Attention(width)
        self.norm_feed = Norm(width)
        self.feed = FeedForward(config)

    def own_heads(
        self, x: Tensor, turns: Turns, rows: Rows | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by their positions, and values, of the row's own tokens."""
        turned = halves_apart((self.own.query, self.own.key), self.heads)
        own = Turn.apply(self.norm_own(x, turned, self.own.value), *turns)
        q, k, v = split_heads(own, rows, self.heads, 1, turned=2)
        return q, k, v

    def own_branch(self, found: Tensor, rows: Rows | None = None) -> Tensor:
        """What attention among the own tokens adds to each of them."""
        return F.linear(join_heads(found, rows), self.own.out)

    def feed_branch(self, x: Tensor) -> Tensor:
        """What the feed-forward part adds."""
        return self.feed(x, self.norm_feed)


class LookingLayer(Layer):
    """A layer that looks things up in the study examples, between its two parts."""

    def __init__(self, config: StagedConfig) -> None:
        super().__init__(config)
        self.norm_study = Norm(config.emb_size)
        self.study = Attention(config.emb_size)

    def study_branch(self, x: Tensor, shown: Shown) -> Tensor:
        """What tokens find in the study examples."""
        rows = shown.asking
        (q,) = split_heads(self.norm_study(x, self.study.query), rows, self.heads, 1)
        found = attention(q, shown.key, shown.value, lengths=shown.lengths)
        return F.linear(join_heads(found, rows), self.study.out)


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
    """Two linear maps, of what is normed before, with an activation between them."""

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width, wide = config.emb_size, config.emb_size * config.ff_mult
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.up = nn.Parameter(scaled(wide, width))
        self.down = nn.Parameter(scaled(width, wide) * BRANCH)

    def forward(self, x: Tensor, norm: "Norm") -> Tensor:
        return F.linear(self.activation(norm(x, self.up)), self.down)


class Norm(nn.Module):
    """Linear maps of x / rms(x) * weight, for each feature its own weight.

    The weights are multiplied into the matrices, which are small, and not with every x: a third
    less time. PyTorch's norm is not fused for bfloat16 with weights in float32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, *matrices: Tensor) -> Tensor:
        """Products with the matrices, side by side."""
        return F.linear(normed(x), self.weighed(side_by_side(*matrices)))

    def weighed(self, matrix: Tensor) -> Tensor:
        """A matrix that takes what is normed without weights."""
        return matrix * self.weight


def normed(x: Tensor) -> Tensor:
    """x / rms(x), over the last dimension."""
    return _Normed.apply(x)


class _Normed(torch.autograd.Function):
    """The gradient needs only the normed x and 1 / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(size.square() / x.shape[-1] + 1e-6).to(x.dtype)
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,) = gradients
        y, inverse = ctx.saved_tensors
        mean = g.new_full((g.shape[-1],), 1 / g.shape[-1])
        along = (g * y @ mean)[..., None]
        return torch.addcmul(g, y, along, value=-1).mul_(inverse)


def scaled(rows: int, columns: int) -> Tensor:
    """A random matrix that keeps the size of what it is multiplied with."""
    return torch.randn(rows, columns) * columns**-0.5


def side_by_side(*matrices: Tensor) -> Tensor:
    """One matrix whose products are those of all, so that they take one product."""
    return torch.cat(matrices) if len(matrices) > 1 else matrices[0]


def split_heads(
    x: Tensor, rows: Rows | None, heads: int, plain: int, turned: int = 0
) -> tuple[Tensor, ...]:
    """Projections, turned ones before plain ones, as heads [rows, heads, tokens, head size] each.

    Args:
        x: [tokens, parts * width] of these `rows`, or without them [rows, tokens, parts * width].
    """
    parts: tuple[Tensor, ...] = Heads.apply(
        x if rows is None else rows.spread(x), turned, plain, heads
    )
    return parts


def join_heads(x: Tensor, rows: Rows | None) -> Tensor:
    """[rows, heads, tokens, head size] to [rows, tokens, width], or to [tokens, width] of rows."""
    table = x.transpose(1, 2).flatten(2)
    return table if rows is None else rows.collect(table)
