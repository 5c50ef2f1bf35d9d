"""The layers that the staged network is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.errors import UsageError
from biml.networks.attention import attention
from biml.networks.batching import RaggedRows


@dataclass(frozen=True)
class StagedConfig:
    """Sizes of the staged network.

    Attributes:
        nlayers_encoder: layers that read the study examples.
        nlayers_query: layers that read the words of a query.
        nlayers_decoder: layers that find its answer.
        nheads: attention heads.
        emb_size: width of embeddings and layers.
        ff_mult: width of the feed-forward layers, in multiples of `emb_size`.
        kernel: neighbouring tokens that the convolution sees; odd.
        nheads_within: encoder heads that see the tokens of their own study example alone.
        dropout: of the residual branches.
        activation: of the feed-forward layers.
    """

    nlayers_encoder: int = 5
    nlayers_query: int = 4
    nlayers_decoder: int = 4
    nheads: int = 4
    emb_size: int = 128
    ff_mult: int = 4
    kernel: int = 5
    nheads_within: int = 2
    dropout: float = 0.0
    activation: str = "gelu"

    def __post_init__(self) -> None:
        layers = ("nlayers_encoder", "nlayers_query", "nlayers_decoder")
        for name in (*layers, "nheads", "emb_size", "ff_mult", "kernel"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.emb_size % self.nheads:
            raise UsageError(f"emb_size {self.emb_size} is no multiple of nheads {self.nheads}")
        if not 0 <= self.nheads_within <= self.nheads:
            raise UsageError(
                f"nheads_within is {self.nheads_within}, but must be 0 to nheads, {self.nheads}"
            )
        if self.emb_size // self.nheads % 2:
            raise UsageError(
                f"emb_size / nheads is {self.emb_size // self.nheads}; it must be even"
            )
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel is {self.kernel}, but must be odd")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}, but must be at least 0 and below 1")
        if self.activation not in ("gelu", "relu"):
            raise UsageError(f"activation {self.activation!r} is neither 'gelu' nor 'relu'")


# === What tokens must not see of each other.


def within_example_mask(example: Tensor, heads: int, n_within: int) -> Tensor:
    """BoolTensor [episodes, heads, S, S], what lies outside a study token's own example.

    Args:
        example: LongTensor [episodes, S], the study example of each token.
        heads: attention heads.
        within: how many of them, the first ones, see their own example alone.
    """
    confined = (torch.arange(heads, device=example.device) < n_within)[:, None, None]
    return confined & (example[:, None, :, None] != example[:, None, None, :])


def padding_mask(words: RaggedRows) -> Tensor:
    """BoolTensor [queries, 1, W, W]: a word sees all words of its query."""
    width = words.unpack.shape[1]
    itself = torch.eye(width, dtype=torch.bool, device=words.lengths.device)
    return ~(words.mask[:, None, :] | itself)[:, None]


def causal_answer_mask(words: RaggedRows, answers: RaggedRows) -> Tensor:
    """BoolTensor [queries, 1, A, W + A], for IO and the symbols of each answer.

    They see all words of their query and what stands before them. What is behind a row's end
    sees the answer and itself.
    """
    place = torch.arange(answers.unpack.shape[1], device=answers.lengths.device)
    before = (place <= place[:, None]) & answers.mask[:, None, :]
    seen = before | (place == place[:, None])
    of_words = words.mask[:, None, :].expand(-1, len(place), -1)
    return ~torch.cat((of_words & answers.mask[:, :, None], seen), 2)[:, None]


# === Rotary positions: queries and keys are turned by where they stand (Su et al. 2021).


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


# === The layers that the staged network is made of.


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
    several hops is made ("mimetic initialization", Trockman & Kolter 2023); docs/training-log.md has what
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
