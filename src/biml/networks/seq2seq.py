"""The network of Lake & Baroni (2023): a standard post-norm sequence-to-sequence transformer."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.networks.attention import NO_DROPOUT, Dropout, Heads, attention
from biml.networks.base import DecoderState, EpisodeNetwork, check_sizes
from biml.networks.batching import TensorData, pad_tensor
from biml.networks.hooks import HookPoints
from biml.vocabulary import EOS, IO, SOS, Token, Vocabulary


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes of the network; the defaults are the published ones (1,393,801 parameters)."""

    nlayers_encoder: int = 3
    nlayers_decoder: int = 3
    nheads: int = 8
    emb_size: int = 128
    ff_mult: int = 4
    dropout: float = 0.1
    activation: str = "gelu"

    def __post_init__(self) -> None:
        check_sizes(self, "nlayers_encoder", "nlayers_decoder")
        if self.emb_size % 2:
            raise UsageError(f"emb_size is {self.emb_size}, but must be even")


@dataclass
class Seq2SeqBatch(TensorData):
    """Queries with their study examples, one row each, padded at the end."""

    source: Int[Tensor, "query src"]  # query | in IO out | in IO out | … EOS
    lengths: Int[Tensor, " query"]  # tokens of `source` that are not padding
    decoder_input: Int[Tensor, "query out"]  # SOS and the target symbols
    target: Int[Tensor, "query out"]  # the target symbols and EOS
    indices: list[tuple[int, int]]  # (episode, query) of each row

    @property
    def n_tokens(self) -> int:
        return self.source.numel()


class TokenizedQuery(NamedTuple):
    source: list[int]
    target: list[int]
    indices: tuple[int, int]  # (episode, query)

    @property
    def lengths(self) -> tuple[int, int]:
        return len(self.source), len(self.target)


def source_symbols(query: Example, study: Sequence[Example]) -> list[Token]:
    """Join the query and the study examples, each followed by the separator (SOS).

    Without study examples (the basic seq2seq model) the separator still follows the query, as the
    published models were trained so.

    >>> dax, wif = Example(("dax",), ("RED",)), Example(("wif", "lug"), ("RED", "BLUE"))
    >>> " ".join(map(str, source_symbols(wif, [dax])))
    'wif lug SOS dax IO RED SOS EOS'
    >>> " ".join(map(str, source_symbols(wif, [])))
    'wif lug SOS EOS'
    """
    examples: list[tuple[Token, ...]] = [(*e.input, IO, *e.output, SOS) for e in study]
    return [*query.input, SOS, *chain.from_iterable(examples), EOS]


class SourceSequenceNetwork(EpisodeNetwork):
    """A network that reads a query and its study examples as one sequence."""

    def tokenize(self, index: int, episode: Episode) -> list[TokenizedQuery]:
        encode, encode_output = self.vocabulary.input.encode, self.vocabulary.output.encode
        study = encode(source_symbols(Example((), ()), episode.study))
        return [
            TokenizedQuery(encode(query.input) + study, encode_output(query.output), (index, i))
            for i, query in enumerate(episode.queries)
        ]

    def pad(self, items: Sequence[TokenizedQuery]) -> Seq2SeqBatch:
        output = self.vocabulary.output
        return Seq2SeqBatch(
            source=pad_tensor([item.source for item in items], self.vocabulary.input.pad),
            lengths=torch.tensor([len(item.source) for item in items], dtype=torch.int64),
            decoder_input=pad_tensor([[output.sos, *item.target] for item in items], output.pad),
            target=pad_tensor([[*item.target, output.eos] for item in items], output.pad),
            indices=[item.indices for item in items],
        )

    def source_tokens(self, batch: Seq2SeqBatch) -> tuple[Tensor, Tensor]:
        tokens = batch.source[0, : batch.lengths[0]]
        is_separator = (tokens == self.vocabulary.input.sos).long()
        examples = is_separator.cumsum(0) - is_separator - 1
        examples[-1] = -1  # the end
        return tokens, examples


@dataclass
class Seq2SeqState(DecoderState):
    source: list[tuple[Heads, Heads]]  # keys and values of the source, for each decoder layer
    cache: list[tuple[Heads, Heads] | None]  # of the response so far; None before the first step
    lengths: Int[Tensor, " query"]  # source tokens that are not padding
    step: int = 0


class PostNormTransformer(EpisodeNetwork):
    """Encoder → source → decoder → logits: what both published networks have in common.

    The layers are PyTorch's own, with their initialisation and their names, so that published
    checkpoints load; the forward pass below computes the same function faster.
    """

    positions: Float[Tensor, "length emb"]

    def __init__(self, config: Seq2SeqConfig, vocabulary: Vocabulary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transformer = self.build_layers()
            self.input_embedding = nn.Embedding(len(vocabulary.input), config.emb_size)
            self.output_embedding = nn.Embedding(len(vocabulary.output), config.emb_size)
            self.out = nn.Linear(config.emb_size, len(vocabulary.output))
        positions = sinusoidal_positions(256, config.emb_size)  # grows with longer sequences
        self.register_buffer("positions", positions, persistent=False)

    @abstractmethod
    def build_layers(self) -> Any:
        """Initialise a module with the attributes `encoder` and `decoder` of `nn.Transformer`."""

    @abstractmethod
    def encode_source(self, batch: Any, drop: Dropout) -> Float[Tensor, "query src emb"]:
        """Encode what the decoder attends to; `batch.lengths` are the tokens of each row."""

    def embedding_parameters(self) -> tuple[str, ...]:
        return ("input_embedding.weight", "output_embedding.weight", "out.weight")

    # --- training: all target symbols at once

    def forward(
        self, batch: Any, generator: torch.Generator | None = None
    ) -> Float[Tensor, "query out vocab"]:
        drop = Dropout(self.config.dropout, generator) if self.training else NO_DROPOUT
        source = self.encode_source(batch, drop)
        x = self._embed(self.output_embedding, batch.decoder_input, 0, drop)
        hooks = self.at("decoder")
        x = hooks("embedding", x)
        for i, layer in enumerate(self.transformer.decoder.layers):
            at = hooks.layer(i)
            q, k, v = self._self_projections(layer.self_attn, x)
            y = attention(q, k, v, causal=True, drop=drop, at=at)
            x = layer.norm1(x + drop(self._merge_heads(layer.self_attn, y)))
            pair = self._source_pair(layer, source)
            x = self._finish_layer(layer, x, pair, batch.lengths, drop, at)
        return self._logits(x, hooks)

    # --- decoding: one symbol at a time

    @torch.no_grad()
    def encode(self, batch: Any) -> Seq2SeqState:
        source = self.encode_source(batch, NO_DROPOUT)
        layers = self.transformer.decoder.layers
        pairs = [self._source_pair(layer, source) for layer in layers]
        # Contiguous, since every decoding step would copy them otherwise.
        contiguous = [(k.contiguous(), v.contiguous()) for k, v in pairs]
        return Seq2SeqState(contiguous, [None] * len(layers), batch.lengths)

    @torch.no_grad()
    def decode_step(
        self, state: Seq2SeqState, tokens: Int[Tensor, " query"]
    ) -> Float[Tensor, "query vocab"]:
        x = self._embed(self.output_embedding, tokens[:, None], state.step, NO_DROPOUT)
        hooks = self.at("decoder", start=state.step)
        x = hooks("embedding", x)
        for i, layer in enumerate(self.transformer.decoder.layers):
            at = hooks.layer(i)
            q, k, v = self._self_projections(layer.self_attn, x)
            if (before := state.cache[i]) is not None:
                k, v = torch.cat((before[0], k), 2), torch.cat((before[1], v), 2)
            state.cache[i] = (k, v)
            y = attention(q, k, v, at=at)
            x = layer.norm1(x + self._merge_heads(layer.self_attn, y))
            x = self._finish_layer(layer, x, state.source[i], state.lengths, NO_DROPOUT, at)
        state.step += 1
        return self._logits(x, hooks)[:, 0]

    # --- the parts, in the order in which data flow

    def encode_rows(
        self, tokens: Int[Tensor, "row tok"], lengths: Int[Tensor, " row"], drop: Dropout
    ) -> Float[Tensor, "row tok emb"]:
        return self._encode(self._embed(self.input_embedding, tokens, 0, drop), drop, lengths)

    def _encode(
        self,
        x: Float[Tensor, "row tok emb"],
        drop: Dropout,
        lengths: Int[Tensor, " row"],
        blocked: Bool[Tensor, "row _ tok tok"] | None = None,
    ) -> Float[Tensor, "row tok emb"]:
        hooks = self.at("encoder")
        x = hooks("embedding", x)
        for i, layer in enumerate(self.transformer.encoder.layers):
            at = hooks.layer(i)
            q, k, v = self._self_projections(layer.self_attn, x)
            y = attention(q, k, v, lengths=lengths, blocked=blocked, drop=drop, at=at)
            x = layer.norm1(x + drop(self._merge_heads(layer.self_attn, y)))
            x = at("output", layer.norm2(x + drop(self._feed_forward(layer, x, drop, at))))
        return self.transformer.encoder.norm(x)

    def _logits(
        self, x: Float[Tensor, "query out emb"], hooks: HookPoints
    ) -> Float[Tensor, "query out vocab"]:
        logits = self.out(self.transformer.decoder.norm(x)).float()
        return hooks("logits", logits)

    def _embed(self, embedding: nn.Embedding, tokens: Tensor, start: int, drop: Dropout) -> Tensor:
        end = start + tokens.shape[1]
        return drop(embedding(tokens) + self._position_table(end)[start:end])

    def _position_table(self, length: int) -> Float[Tensor, "at_least_length emb"]:
        if length > len(self.positions):
            longer = sinusoidal_positions(2 * length, self.config.emb_size)
            self.positions = longer.to(self.positions)
        return self.positions

    def _self_projections(self, block: Any, x: Tensor) -> tuple[Heads, ...]:
        return self._project_heads(x, block.in_proj_weight, block.in_proj_bias)

    def _source_pair(self, layer: Any, source: Tensor) -> tuple[Heads, ...]:
        """Project the encoded source to keys and values of cross-attention."""
        block, width = layer.multihead_attn, self.config.emb_size
        return self._project_heads(source, block.in_proj_weight[width:], block.in_proj_bias[width:])

    def _finish_layer(
        self,
        layer: Any,
        x: Tensor,
        source: tuple[Heads, ...],
        lengths: Tensor,
        drop: Dropout,
        at: HookPoints,
    ) -> Tensor:
        """Apply cross-attention and the feed-forward part of a decoder layer."""
        block, width = layer.multihead_attn, self.config.emb_size
        (q,) = self._project_heads(x, block.in_proj_weight[:width], block.in_proj_bias[:width])
        y = attention(q, *source, lengths=lengths, drop=drop, at=at, kind="cross_")
        x = layer.norm2(x + drop(self._merge_heads(block, y)))
        return at("output", layer.norm3(x + drop(self._feed_forward(layer, x, drop, at))))

    def _project_heads(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Heads, ...]:
        heads = self.config.nheads
        y = F.linear(x, weight, bias)
        return y.unflatten(-1, (-1, heads, self.config.emb_size // heads)).transpose(1, 3).unbind(2)

    def _merge_heads(self, block: Any, heads: Heads) -> Float[Tensor, "query tok emb"]:
        return block.out_proj(heads.transpose(1, 2).flatten(2))

    def _feed_forward(self, layer: Any, x: Tensor, drop: Dropout, at: HookPoints) -> Tensor:
        activation = F.gelu if self.config.activation == "gelu" else F.relu
        return at("mlp", layer.linear2(drop(activation(layer.linear1(x)))))


class Seq2SeqTransformer(SourceSequenceNetwork, PostNormTransformer):
    """The network for the human experiments (paper, Methods, 'Architecture and optimizer')."""

    def build_layers(self) -> nn.Transformer:
        return nn.Transformer(
            num_encoder_layers=self.config.nlayers_encoder,
            num_decoder_layers=self.config.nlayers_decoder,
            **layer_options(self.config),
        )

    def encode_source(self, batch: Seq2SeqBatch, drop: Dropout) -> Float[Tensor, "query src emb"]:
        return self.encode_rows(batch.source, batch.lengths, drop)


def layer_options(config: Seq2SeqConfig) -> dict[str, Any]:
    """Arguments of PyTorch's transformer modules."""
    return {
        "d_model": config.emb_size,
        "nhead": config.nheads,
        "dim_feedforward": config.emb_size * config.ff_mult,
        "activation": config.activation,
        "batch_first": True,
    }


def mimetic_init(network: PostNormTransformer) -> None:
    """Set W_K = W_Q (Trockman & Kolter 2023), so that attention first looks for equal tokens."""
    width = network.config.emb_size
    with torch.no_grad():
        for block in network.modules():
            if isinstance(block, nn.MultiheadAttention):
                query, key, _ = block.in_proj_weight.split(width)
                key.copy_(query)


def sinusoidal_positions(length: int, width: int) -> Float[Tensor, "length emb"]:
    position = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    table = torch.empty(length, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table
