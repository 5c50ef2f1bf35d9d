"""The layers that the staged network is made of."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.attention import attention
from biml.networks.rotary import SplitHeads, ApplyRotary, CosSin, split_half_layout
from biml.networks.rows import RaggedRows
from biml.networks.staged_config import StagedConfig

MLP_INIT_SCALE = 0.25
"""Feed-forward branches start small, so that embeddings reach every layer's attention."""

OUT_INIT_SCALE = 0.5
"""How much of what attention finds is added at first."""

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, [rows, heads, tokens, head size] each."""


@dataclass(frozen=True)
class StudyMemory:
    """Study examples as a layer looks things up in them.

    Attributes:
        key, value: [rows, heads, S, head size].
        lengths: LongTensor [rows], their tokens that are not padding.
        asking: the tokens that look there, row by row; None where they come as a table.
    """

    key: Tensor
    value: Tensor
    lengths: Tensor
    query_rows: RaggedRows | None = None


class SelfAttentionBlock(nn.Module):
    """Pre-norm: attention among its own tokens, then the feed-forward part.

    Tokens are [tokens, width] with the `Rows` that they form, or a table [rows, tokens, width].
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.heads = config.nheads
        self.norm_own = RMSNormLinear(width)
        self.own = AttentionWeights(width)
        self.norm_feed = RMSNormLinear(width)
        self.feed = FeedForward(config)

    def self_attn_qkv(
        self, x: Tensor, rotation: CosSin, rows: RaggedRows | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by their positions, and values, of the row's own tokens."""
        turned = split_half_layout((self.own.query, self.own.key), self.heads)
        own = ApplyRotary.apply(self.norm_own(x, turned, self.own.value), *rotation)
        q, k, v = split_heads(own, rows, self.heads, 1, n_rotated=2)
        return q, k, v

    def self_attn_out(self, attended: Tensor, rows: RaggedRows | None = None) -> Tensor:
        """What attention among the own tokens adds to each of them."""
        return F.linear(join_heads(attended, rows), self.own.out)

    def mlp_out(self, x: Tensor) -> Tensor:
        """What the feed-forward part adds."""
        return self.feed(x, self.norm_feed)


class CrossAttentionBlock(SelfAttentionBlock):
    """A layer that looks things up in the study examples, between its two parts."""

    def __init__(self, config: StagedConfig) -> None:
        super().__init__(config)
        self.norm_study = RMSNormLinear(config.emb_size)
        self.study = AttentionWeights(config.emb_size)

    def cross_attn_out(self, x: Tensor, study: StudyMemory) -> Tensor:
        """What tokens find in the study examples."""
        rows = study.query_rows
        (q,) = split_heads(self.norm_study(x, self.study.query), rows, self.heads, 1)
        found = attention(q, study.key, study.value, lengths=study.lengths)
        return F.linear(join_heads(found, rows), self.study.out)


class AttentionWeights(nn.Module):
    """Queries look for keys; both projections start equal, and what is found is passed on as it is.

    So attention begins as "find the same token and add what stands there", of which retrieval in
    several hops is made ("mimetic initialization", Trockman & Kolter 2023); docs/fast.md has what
    that is worth here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(fan_in_init(width, width))
        self.key = nn.Parameter(self.query.detach().clone())
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * OUT_INIT_SCALE)


class FeedForward(nn.Module):
    """Two linear maps, of what is normed before, with an activation between them."""

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width, wide = config.emb_size, config.emb_size * config.ff_mult
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.up = nn.Parameter(fan_in_init(wide, width))
        self.down = nn.Parameter(fan_in_init(width, wide) * MLP_INIT_SCALE)

    def forward(self, x: Tensor, norm: "RMSNormLinear") -> Tensor:
        return F.linear(self.activation(norm(x, self.up)), self.down)


class RMSNormLinear(nn.Module):
    """Linear maps of x / rms(x) * weight, for each feature its own weight.

    The weights are multiplied into the matrices, which are small, and not with every x: a third
    less time. PyTorch's norm is not fused for bfloat16 with weights in float32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, *matrices: Tensor) -> Tensor:
        """Products with the matrices, side by side."""
        return F.linear(rms_normalize(x), self.fold_scale(concat_weights(*matrices)))

    def fold_scale(self, matrix: Tensor) -> Tensor:
        """A matrix that takes what is normed without weights."""
        return matrix * self.weight


def rms_normalize(x: Tensor) -> Tensor:
    """x / rms(x), over the last dimension."""
    return _RMSNormalize.apply(x)


class _RMSNormalize(torch.autograd.Function):
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


def fan_in_init(rows: int, columns: int) -> Tensor:
    """A random matrix that keeps the size of what it is multiplied with."""
    return torch.randn(rows, columns) * columns**-0.5


def concat_weights(*matrices: Tensor) -> Tensor:
    """One matrix whose products are those of all, so that they take one product."""
    return torch.cat(matrices) if len(matrices) > 1 else matrices[0]


def split_heads(
    x: Tensor, rows: RaggedRows | None, heads: int, n_plain: int, n_rotated: int = 0
) -> tuple[Tensor, ...]:
    """Projections, turned ones before plain ones, as heads [rows, heads, tokens, head size] each.

    Args:
        x: [tokens, parts * width] of these `rows`, or without them [rows, tokens, parts * width].
    """
    parts: tuple[Tensor, ...] = SplitHeads.apply(
        x if rows is None else rows.to_padded(x), n_rotated, n_plain, heads
    )
    return parts


def join_heads(x: Tensor, rows: RaggedRows | None) -> Tensor:
    """[rows, heads, tokens, head size] to [rows, tokens, width], or to [tokens, width] of rows."""
    table = x.transpose(1, 2).flatten(2)
    return table if rows is None else rows.to_packed(table)
