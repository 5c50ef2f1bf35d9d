"""Layers of the staged network: sizes, norms, rotary positions, attention blocks and masks.

Elementwise operations take most of a training step (docs/training-log.md): written by hand here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biml.errors import UsageError
from biml.networks.attention import Dropout, Heads, attention
from biml.networks.base import check_sizes
from biml.networks.batching import RaggedRows, TensorData
from biml.networks.hooks import NO_HOOKS, HookPoints

Tokens = Float[Tensor, "*tok emb"]  # packed as in `RaggedRows`; in decoding [row, tok, emb]
Slots = Float[Tensor, "slot emb"]
Matrix = Float[Tensor, "_ emb"]


@dataclass(frozen=True)
class StagedConfig:
    """Sizes of the staged network."""

    nlayers_encoder: int = 5  # layers over the study examples
    nlayers_query: int = 4  # layers over the words of a query
    nlayers_decoder: int = 4  # layers over the response
    nheads: int = 4
    emb_size: int = 128
    ff_mult: int = 4  # width of the feed-forward layers, in multiples of `emb_size`
    kernel: int = 5  # neighbouring tokens in the convolution; odd
    nheads_within: int = 2  # encoder heads that see only the tokens of their own study example
    dropout: float = 0.0  # of the residual branches
    activation: str = "gelu"  # of the feed-forward layers; or "relu"
    max_positions: int = 20  # learned positions of inputs, and of outputs; later tokens share one
    rotary_base: float = 100.0  # ratio of the fastest to the slowest rotation

    def __post_init__(self) -> None:
        layers = ("nlayers_encoder", "nlayers_query", "nlayers_decoder")
        check_sizes(self, *layers, "kernel", "max_positions")
        within, head = self.nheads_within, self.emb_size // self.nheads
        if not 0 <= within <= self.nheads:
            raise UsageError(f"nheads_within is {within}, but must be 0 to nheads, {self.nheads}")
        if head % 2:
            raise UsageError(f"emb_size / nheads is {head}, but must be even")
        if self.kernel % 2 == 0:
            raise UsageError(f"kernel is {self.kernel}, but must be odd")


# --- norms and feed-forward layers

OUT_INIT_SCALE = 0.5  # of attention outputs
MLP_INIT_SCALE = 0.25  # small, so that embeddings reach every layer's attention
LEXICON_INIT_SCALE = 0.5  # of a slot as it is added to the uses of its word


def fan_in_init(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    return torch.randn(rows, columns) * columns**-0.5


class RMSNormLinear(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) followed by linear maps, its weights folded into them.

    Folding takes a third less time; PyTorch's norm is not fused for bfloat16 with float32 weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tokens, *matrices: Matrix) -> Float[Tensor, "*tok columns"]:
        matrix = torch.cat(matrices) if len(matrices) > 1 else matrices[0]
        return F.linear(rms_normalize(x), self.fold_scale(matrix))

    def fold_scale(self, matrix: Matrix) -> Matrix:
        """Return the matrix to apply to `rms_normalize(x)`."""
        return matrix * self.weight


def rms_normalize(x: Tokens) -> Tokens:
    return _RMSNormalize.apply(x)


class _RMSNormalize(torch.autograd.Function):
    """The gradient needs only the normalised x and 1 / rms(x)."""

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


class MLP(nn.Module):
    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width, wide = config.emb_size, config.emb_size * config.ff_mult
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.up = nn.Parameter(fan_in_init(wide, width))
        self.down = nn.Parameter(fan_in_init(width, wide) * MLP_INIT_SCALE)

    def forward(self, x: Tokens, norm: RMSNormLinear) -> Tensor:
        return F.linear(self.activation(norm(x, self.up)), self.down)


# --- rotary positions (RoPE; Su et al. 2021)

CosSin = tuple[Float[Tensor, "*tok half"], Float[Tensor, "*tok half"]]  # of rotated features


def rotary_angles(
    positions: Int[Tensor, "*tok"], head_size: int, heads: int, dtype: torch.dtype, base: float
) -> CosSin:
    half = head_size // 2
    rates = base ** -(torch.arange(half, device=positions.device) / half)
    angles = positions[..., None] * rates
    times = (*[1] * positions.ndim, heads)
    return angles.cos().to(dtype).repeat(times), angles.sin().to(dtype).repeat(times)


def split_half_layout(matrices: Sequence[Float[Tensor, "emb emb"]], heads: int) -> Matrix:
    """Join projections so that first halves of all heads precede all second halves.

    Rotary rotates pairs of features of both halves, which are then two long runs.
    """
    each = torch.stack(tuple(matrices)).unflatten(1, (heads, 2, -1))
    return each.permute(2, 0, 1, 3, 4).flatten(0, 3)


class ApplyRotary(torch.autograd.Function):
    """Rotate features laid out as first halves, second halves, and what is not rotated."""

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


# --- heads


class SplitHeads(torch.autograd.Function):
    """Split `n_rotated` projections in `split_half_layout`, then `n_plain` others, into heads.

    [row, tok, parts * emb] becomes, for each part, [row, heads, tok, head]; the gradients of all
    parts are written into one tensor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, n_rotated: int, n_plain: int, heads: int) -> Any:
        ctx.shape, ctx.parts = x.shape, (n_rotated, n_plain, heads)
        return tuple(part.flatten(3).contiguous() for part in _head_views(x, *ctx.parts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x = gradients[0].new_empty(ctx.shape)
        for part, gradient in zip(_head_views(x, *ctx.parts), gradients, strict=True):
            part.copy_(gradient.view(part.shape))
        return x, None, None, None


def _head_views(
    x: Tensor, n_rotated: int, n_plain: int, heads: int
) -> list[Float[Tensor, "row heads tok halves _"]]:
    size = x.shape[-1] // (n_rotated + n_plain)
    first, second = x.split((n_rotated * size, n_plain * size), -1)
    views = []
    for features, parts, halves in ((first, n_rotated, 2), (second, n_plain, 1)):
        if parts:
            views += features.unflatten(-1, (halves, parts, heads, -1)).unbind(3)
    return [view.permute(0, 3, 1, 2, 4) for view in views]


def split_heads(
    x: Float[Tensor, "*tok columns"],
    rows: RaggedRows | None,
    heads: int,
    n_plain: int,
    n_rotated: int = 0,
) -> tuple[Heads, ...]:
    """Split projections into heads; `rows` is None if `x` is padded already."""
    parts: tuple[Tensor, ...] = SplitHeads.apply(
        x if rows is None else rows.to_padded(x), n_rotated, n_plain, heads
    )
    return parts


def join_heads(x: Heads, rows: RaggedRows | None) -> Tokens:
    padded = x.transpose(1, 2).flatten(2)
    return padded if rows is None else rows.to_packed(padded)


# --- attention blocks

KeyValue = tuple[Heads, Heads]


@dataclass(frozen=True)
class StudyMemory:
    key: Float[Tensor, "row heads study head"]
    value: Float[Tensor, "row heads study head"]
    lengths: Int[Tensor, " row"]  # tokens that are not padding
    query_rows: RaggedRows | None = None  # of the tokens that attend, if those are packed

    def of_queries(
        self, episode_id: Int[Tensor, " query"], query_rows: RaggedRows | None = None
    ) -> "StudyMemory":
        """A row for each query in place of one for each episode."""
        # Contiguous, since every decoding step would copy them otherwise.
        key, value = (x[episode_id].contiguous() for x in (self.key, self.value))
        return StudyMemory(key, value, self.lengths[episode_id], query_rows)


class AttentionWeights(nn.Module):
    """Attention weights with mimetic initialisation: W_K = W_Q, W_V orthogonal, W_O = ½ W_Vᵀ.

    Attention then begins as "find the same token and add its value" (Trockman & Kolter 2023).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(fan_in_init(width, width))
        self.key = nn.Parameter(self.query.detach().clone())
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * OUT_INIT_SCALE)


class AttentionBlock(nn.Module):
    """A pre-norm transformer block; self-attention is computed between its two methods."""

    def __init__(self, config: StagedConfig, *, cross: bool = False) -> None:
        super().__init__()
        width = config.emb_size
        self.heads = config.nheads
        self.self_attn_norm = RMSNormLinear(width)
        self.self_attn = AttentionWeights(width)
        self.mlp_norm = RMSNormLinear(width)
        self.mlp = MLP(config)
        self.cross = cross
        if cross:
            self.cross_attn_norm = RMSNormLinear(width)
            self.cross_attn = AttentionWeights(width)

    def self_attn_qkv(
        self, x: Tokens, rotation: CosSin, rows: RaggedRows | None = None
    ) -> tuple[Heads, Heads, Heads]:
        weights = self.self_attn
        rotated = split_half_layout((weights.query, weights.key), self.heads)
        qkv = ApplyRotary.apply(self.self_attn_norm(x, rotated, weights.value), *rotation)
        q, k, v = split_heads(qkv, rows, self.heads, 1, n_rotated=2)
        return q, k, v

    def add_branches(
        self,
        x: Tokens,
        attended: Heads,
        rows: RaggedRows | None,
        drop: Dropout,
        study: StudyMemory | None = None,
        at: HookPoints = NO_HOOKS,
    ) -> Tokens:
        """Add the branches of self-attention, cross-attention and the feed-forward part."""
        x = x + drop(F.linear(join_heads(attended, rows), self.self_attn.out))
        if self.cross and study is not None:
            query = self.cross_attn_norm(x, self.cross_attn.query)
            (q,) = split_heads(query, study.query_rows, self.heads, 1)
            attended = attention(
                q, study.key, study.value, lengths=study.lengths, at=at, kind="cross_"
            )
            x = x + drop(F.linear(join_heads(attended, study.query_rows), self.cross_attn.out))
        return at("output", x + drop(at("mlp", self.mlp(x, self.mlp_norm))))


# --- the lexicon: one slot for each word type of an episode


@dataclass
class LexiconIndex(TensorData):
    """The slot of each token; the last, spare slot is that of tokens that are no study word."""

    uses: RaggedRows  # the study tokens of each slot; none of the spare one
    study_slots: Int[Tensor, " study_tok"]
    query_slots: Int[Tensor, " word"]


class LexiconExchange(nn.Module):
    """Pools the tokens of each word type into a slot and broadcasts the slot back.

    Each head takes a learned weighted mean over a word's uses. There is no dropout.
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.uses_norm = RMSNormLinear(width)
        self.pool_logits = nn.Parameter(fan_in_init(config.nheads, width) * MLP_INIT_SCALE)
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * OUT_INIT_SCALE)
        self.mlp_norm = RMSNormLinear(width)
        self.mlp = MLP(config)
        self.broadcast_norm = RMSNormLinear(width)
        self.broadcast_proj = nn.Parameter(torch.eye(width) * LEXICON_INIT_SCALE)

    def aggregate(
        self, x: Float[Tensor, "study_tok emb"], slots: Slots, index: LexiconIndex
    ) -> Slots:
        tokens = rms_normalize(index.uses.to_padded(x))
        used = index.uses.mask[..., None]
        weights = F.linear(tokens, self.uses_norm.fold_scale(self.pool_logits)).float()
        weights = weights.masked_fill(~used, -1e9).softmax(1)
        weights = (weights * used).to(tokens.dtype)
        values = F.linear(tokens, self.uses_norm.fold_scale(self.value))
        values = values.unflatten(-1, (weights.shape[-1], -1))
        slots = slots + F.linear((values * weights[..., None]).sum(1).flatten(1), self.out)
        return slots + self.mlp(slots, self.mlp_norm)

    def broadcast(self, slots: Slots, index: LexiconIndex) -> Float[Tensor, "study_tok emb"]:
        return slot_lookup(self.broadcast_norm(slots, self.broadcast_proj), index.study_slots)


def slot_lookup(slots: Slots, slot_ids: Int[Tensor, " tok"]) -> Float[Tensor, "tok emb"]:
    """Look up the slot of each token; the spare slot counts as 0."""
    used = torch.ones(len(slots), 1, dtype=slots.dtype, device=slots.device)
    used[-1] = 0
    return F.embedding(slot_ids, slots * used, padding_idx=len(slots) - 1)


# --- attention masks (True: blocked)


def within_example_mask(
    example_ids: Int[Tensor, "episode study"], heads: int, n_within: int
) -> Bool[Tensor, "episode heads study study"]:
    """Confine the first `n_within` heads to the study example of each token."""
    confined = (torch.arange(heads, device=example_ids.device) < n_within)[:, None, None]
    return confined & (example_ids[:, None, :, None] != example_ids[:, None, None, :])


def padding_mask(words: RaggedRows) -> Bool[Tensor, "query 1 word word"]:
    """Let words see all words of their query, and padding itself, as it must see something."""
    width = words.unpack.shape[1]
    itself = torch.eye(width, dtype=torch.bool, device=words.lengths.device)
    return ~(words.mask[:, None, :] | itself)[:, None]


def causal_answer_mask(
    words: RaggedRows, answers: RaggedRows
) -> Bool[Tensor, "query 1 answer word+answer"]:
    """Let IO and symbols see their query's words and what precedes them.

    Padding sees the response and itself.
    """
    position = torch.arange(answers.unpack.shape[1], device=answers.lengths.device)
    before = (position <= position[:, None]) & answers.mask[:, None, :]
    visible = before | (position == position[:, None])
    to_words = words.mask[:, None, :].expand(-1, len(position), -1)
    return ~torch.cat((to_words & answers.mask[:, :, None], visible), 2)[:, None]
