"""The published network for SCAN and COGS ("BIML-Scale"; Lake & Baroni 2023, Methods).

The encoder reads the query beside one study example at a time, so that its attention does not grow
with the square of the number of study examples:

    query SOS in IO out ──► encoder ──► + embedding of 0 ──┐
    query SOS in IO out ──► encoder ──► + embedding of 1 ──┼──► source ──► decoder ──► logits
    …                                                      ┘

Its layers and its decoder are those of `seq2seq`, but without final norms. Without study examples
(basic seq2seq) it reads the query beside an empty one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.networks.attention import NO_DROPOUT, Dropout
from biml.networks.batching import (
    TensorData,
    balanced_micro_batches,
    pad_array,
    pad_tensor,
    ragged_index,
)
from biml.networks.hooks import active_hooks
from biml.networks.seq2seq import PostNormTransformer, Seq2SeqConfig, layer_options
from biml.vocabulary import IO, SOS

N_GROUPS, MIN_GROUP_TOKENS = 8, 1024
"""Pairs of similar length are encoded together, in about `N_GROUPS` groups of a batch (a small one
has fewer)."""


@dataclass(frozen=True)
class PairwiseConfig(Seq2SeqConfig):
    """Sizes of the network; the defaults are the published ones."""

    max_study: int = 50  # study examples that have an embedding of their number

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_study < 1:
            raise UsageError(f"max_study is {self.max_study}, but must be at least 1")


class PairwiseQuery(NamedTuple):
    """A tokenized query."""

    pairs: list[list[int]]  # the query and a study example, for each study example
    target: list[int]
    indices: tuple[int, int]  # (episode, query)

    @property
    def lengths(self) -> tuple[int, int]:
        return sum(map(len, self.pairs)), len(self.target)


@dataclass
class PairGroup(TensorData):
    """Pairs of similar length, padded at the end."""

    tokens: Int[Tensor, "pair tok"]
    lengths: Int[Tensor, " pair"]  # tokens that are not padding
    example: Int[Tensor, " pair"]  # the study example's number in its episode


@dataclass
class PairwiseBatch(TensorData):
    """Queries, one row each, and their pairs in groups."""

    groups: list[PairGroup]
    source: Int[Tensor, "query src"]  # the query's pairs, among the tokens of all groups
    lengths: Int[Tensor, " query"]  # tokens of `source` that are not padding
    decoder_input: Int[Tensor, "query out"]  # SOS and the target symbols
    target: Int[Tensor, "query out"]  # the target symbols and EOS
    indices: list[tuple[int, int]]  # (episode, query) of each row

    @property
    def n_tokens(self) -> int:
        return sum(group.tokens.numel() for group in self.groups)


class PairwiseTransformer(PostNormTransformer):
    """Pairs of query and study example → encoder → decoder → logits."""

    config: PairwiseConfig

    def build_layers(self) -> nn.ModuleDict:
        config, options = self.config, layer_options(self.config)
        encoder_layer = nn.TransformerEncoderLayer(**options)
        decoder_layer = nn.TransformerDecoderLayer(**options)
        encoder = nn.TransformerEncoder(encoder_layer, config.nlayers_encoder, nn.Identity())
        decoder = nn.TransformerDecoder(decoder_layer, config.nlayers_decoder, nn.Identity())
        examples = nn.Embedding(config.max_study, config.emb_size)
        return nn.ModuleDict(
            {"encoder": encoder, "decoder": decoder, "example_embedding": examples}
        )

    def tokenize(self, index: int, episode: Episode) -> list[PairwiseQuery]:
        study = episode.study or (Example((), ()),)
        if len(study) > self.config.max_study:
            limit = f"the network has embeddings for {self.config.max_study} study examples"
            raise UsageError(f"{limit}, but the episode has {len(study)}")
        encode, encode_output = self.vocabulary.input.encode, self.vocabulary.output.encode
        examples = [encode([SOS, *e.input, IO, *e.output]) for e in study]
        queries = [(encode(query.input), encode_output(query.output)) for query in episode.queries]
        return [
            PairwiseQuery([words + example for example in examples], target, (index, i))
            for i, (words, target) in enumerate(queries)
        ]

    def pad(self, items: Sequence[PairwiseQuery]) -> PairwiseBatch:
        read, write = self.vocabulary.input, self.vocabulary.output
        pairs = [(pair, i) for item in items for i, pair in enumerate(item.pairs)]
        lengths = np.array([len(pair) for pair, _ in pairs], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        max_tokens = max(MIN_GROUP_TOKENS, -(-int(lengths.sum()) // N_GROUPS))
        groups = balanced_micro_batches(order.tolist(), lambda i: int(lengths[i]), max_tokens)
        blocks = [pad_array([pairs[i][0] for i in group], read.pad) for group in groups]
        widths = np.repeat([block.shape[1] for block in blocks], [*map(len, groups)])
        first = np.empty_like(order)  # the first token of each pair
        first[order] = np.cumsum(widths) - widths
        pair, column = ragged_index(lengths)
        per_query = np.array([item.lengths[0] for item in items], dtype=np.int64)
        source = np.zeros((len(items), int(per_query.max(initial=0))), dtype=np.int64)
        source[ragged_index(per_query)] = first[pair] + column
        return PairwiseBatch(
            groups=[
                PairGroup(
                    tokens=torch.from_numpy(block),
                    lengths=torch.from_numpy(lengths[group]),
                    example=torch.tensor([pairs[i][1] for i in group]),
                )
                for block, group in zip(blocks, groups, strict=True)
            ],
            source=torch.from_numpy(source),
            lengths=torch.from_numpy(per_query),
            decoder_input=pad_tensor([[write.sos, *item.target] for item in items], write.pad),
            target=pad_tensor([[*item.target, write.eos] for item in items], write.pad),
            indices=[item.indices for item in items],
        )

    def encode_source(self, batch: PairwiseBatch, drop: Dropout) -> Float[Tensor, "query src emb"]:
        if active_hooks(self):
            return self._encode_joined_pairs(batch)
        number = self.transformer.example_embedding
        encoded = [
            self.encode_rows(group.tokens, group.lengths, drop) + number(group.example)[:, None]
            for group in batch.groups
        ]
        return torch.cat([rows.flatten(0, 1) for rows in encoded])[batch.source]

    def _encode_joined_pairs(self, batch: PairwiseBatch) -> Float[Tensor, "query src emb"]:
        """The same without dropout in a row for each query, which hooks act on; it takes longer."""
        tokens, pair, position, example = _source_layout(batch)
        x = self.input_embedding(tokens) + self._position_table(int(position.max()) + 1)[position]
        blocked = (pair[:, :, None] != pair[:, None, :])[:, None]
        x = self._encode(x, NO_DROPOUT, batch.lengths, blocked)
        return x + self.transformer.example_embedding(example)

    def source_tokens(self, batch: PairwiseBatch) -> tuple[Tensor, Tensor]:
        tokens, _, _, example = (each[0, : batch.lengths[0]] for each in _source_layout(batch))
        is_separator = (tokens == self.vocabulary.input.sos).long()
        is_behind = is_separator.cumsum(0) - is_separator > example  # the separator of its pair
        return tokens, example.where(is_behind, torch.full_like(example, -1))


def _source_layout(batch: PairwiseBatch) -> tuple[Int[Tensor, "query src"], ...]:
    """The token, the pair, the position in it and the study example of each source token."""
    first, parts = 0, []
    for group in batch.groups:
        rows = torch.arange(len(group.tokens), device=group.tokens.device)[:, None]
        columns = torch.arange(group.tokens.shape[1], device=rows.device)
        each = group.tokens, first + rows, columns, group.example[:, None]
        parts.append(torch.stack(torch.broadcast_tensors(*each)).flatten(1))
        first += len(rows)
    tokens, pair, position, example = torch.cat(parts, 1)[:, batch.source]
    is_padding = torch.arange(tokens.shape[1], device=tokens.device) >= batch.lengths[:, None]
    return tokens, pair.where(~is_padding, pair[:, :1]), position, example
