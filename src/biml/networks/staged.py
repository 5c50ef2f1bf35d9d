"""The staged network: study examples are read, then queries, then answers are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.errors import UsageError
from biml.networks.attention import attention
from biml.networks.dropout import NONE as NO_DROPOUT
from biml.networks.dropout import Dropout
from biml.networks.encoded import Encoded
from biml.networks.fast_config import FastConfig
from biml.networks.fast_layers import DecoderLayer, Layer, Norm, Turn, project
from biml.networks.guidance import Guidance
from biml.networks.lexicon import SAID, Exchange, look_up
from biml.networks.rows import Rows
from biml.networks.staged_batch import StagedBatch, pack_stages
from biml.networks.study import AnswerMemory, Found, StudyNetwork

LOOKS_UP = 1
"""The layer of queries, and of answers, that looks things up in the study examples."""

SHARED = 3.0
"""Weight of guidance for a word's entry, of which there is one for all uses, at each layer."""


@dataclass(frozen=True)
class StagedConfig(FastConfig):
    """Sizes of the staged network.

    Attributes:
        nlayers_query: layers that read the words of a query.
        nlayers_decoder: layers that find its answer.
    """

    nlayers_query: int = 4
    nlayers_decoder: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nlayers_query < 1:
            raise UsageError(f"nlayers_query is {self.nlayers_query}, but must be at least 1")


class StagedNetwork(StudyNetwork):
    """Study examples → encoder, lexicon; words of queries → reader; answers → decoder.

    Words that are uses of one word share an entry of the lexicon, in which the encoder gathers what
    each of them tells; a query's words begin with what it holds. The words of a query are read to
    the end before its answer begins, so that its layers find them parsed.

    Args:
        config: the sizes.
        vocabulary: input and output symbols; the input language has all of the output's.
        seed: draws the initial weights; the global generator is left as it is.
    """

    config: StagedConfig

    def _make_decoder(self) -> None:
        config = self.config
        width, ff_mult = config.emb_size, config.ff_mult
        self.lexicon = nn.ModuleList(
            Exchange(width, config.nheads, ff_mult, config.activation)
            for _ in range(config.nlayers_encoder)
        )
        self.norm_entry = Norm(width)
        self.told = nn.Parameter(torch.eye(width) * SAID)
        self.reader = self._stage(config.nlayers_query)
        self.norm_words = Norm(width)
        self.decoder = self._stage(config.nlayers_decoder)

    def _stage(self, count: int) -> nn.ModuleList:
        sizes = (self.config.emb_size, self.config.ff_mult)
        looks_up = min(LOOKS_UP, count - 1)
        return nn.ModuleList(
            DecoderLayer(*sizes) if number == looks_up else Layer(*sizes) for number in range(count)
        )

    def _pack(self, episodes: Sequence[Encoded]) -> StagedBatch:
        return pack_stages(episodes, self.vocabulary)

    def forward(self, batch: StagedBatch, generator: torch.Generator | None = None) -> Tensor:
        drop = Dropout(self.config.dropout if self.training else 0.0, generator)
        guide = Guidance(batch.guides) if self.training and batch.guides else None
        memory, told = self._learn(batch, drop, guide)
        tokens = self._embed(batch)
        found = self._lookups(memory)
        words = self._read_words(batch, self._working(tokens[batch.at_words]), told, found[0], drop)
        x = self._working(tokens[batch.at_answers])
        known = self._known(words, batch)
        rows = batch.answers
        place = torch.arange(rows.unpack.shape[1], device=x.device)
        turns = self._turns(batch.words.lengths[:, None] + place, x.dtype)
        hidden = self._not_yet(batch)
        guided = max(0, len(known) - 2)
        for number, (layer, (word_k, word_v)) in enumerate(zip(self._decoder, known, strict=True)):
            q, k, v = self._own_rows(layer, x, rows, turns)
            k, v = torch.cat((word_k, k), 2), torch.cat((word_v, v), 2)
            if guide and number == guided:
                looks = _in_stages(guide.guides.answers, batch.words)
                guide.attention(q[:, 0], k[:, 0], hidden[:, 0], looks)
            x = x + self._attended(layer, rows, attention(q, k, v, hidden=hidden), drop)
            if isinstance(layer, DecoderLayer):
                x = x + self._look_up(layer, x, batch.answers_of_episode, found[1], batch, drop)
            x = self._feed_forward(layer, x, drop)
        self.guidance = guide.total if guide else None
        return self._logits(x[batch.predicting])

    @torch.no_grad()
    def remember(self, batch: StagedBatch) -> AnswerMemory:
        read, told = self._learn(batch, NO_DROPOUT, None)
        of_words, (k, v) = self._lookups(read)
        begun = self._working(self._embed(batch)[batch.at_words])
        words = self._read_words(batch, begun, told, of_words, NO_DROPOUT)
        # Contiguous, since every decoding step would copy them else.
        found = (k[batch.episode].contiguous(), v[batch.episode].contiguous())
        last = self.last_places(batch.words.lengths)
        number = batch.words.unpack.gather(1, last.clamp(min=0))
        at = batch.at_words[number] if len(batch.at_words) else number
        return AnswerMemory(
            [found if isinstance(layer, DecoderLayer) else None for layer in self._decoder],
            self._known(words, batch),
            batch.lengths[batch.episode],
            batch.words.filled,
            batch.words.lengths,
            self._embedded(batch, at) * (last >= 0)[..., None],
        )

    def _learn(
        self, batch: StagedBatch, drop: Dropout, guide: Guidance | None
    ) -> tuple[Tensor, Tensor]:
        """The study tokens as read [episodes, S, width], and the lexicon [entries + 1, width]."""
        held: Tensor | None = None

        def exchange(number: int, x: Tensor) -> Tensor:
            nonlocal held
            layer = cast(Exchange, self.lexicon[number])
            if held is None:
                held = x.new_zeros(len(batch.entries.uses), x.shape[-1])
            held = layer.gather(x, held, batch.entries)
            # What one example alone tells does not say what a word means.
            if guide and (number or len(self.lexicon) == 1):
                words = guide.guides.study_words.flatten()[batch.entries.uses[:-1, 0]]
                guide.meaning(self.norm_entry(held[:-1]), words, self.meaning, SHARED)
            return x + layer.spread(held, batch.entries)

        memory = self._read_study(batch, drop, guide, exchange)
        assert held is not None
        return memory, F.linear(self.norm_entry(held), self.told)

    def _embed(self, batch: StagedBatch) -> Tensor:
        """Queries and answers [tokens, width] through the convolution."""
        return self._beside(self._embedded(batch), batch.row, batch.column, batch.words.lengths)

    def _lookups(self, memory: Tensor) -> tuple[Found, Found]:
        """Keys and values of the study examples for the reader and for the decoder."""
        layers = (*self.reader, *self.decoder)
        looking = [layer for layer in layers if isinstance(layer, DecoderLayer)]
        weights = [w for layer in looking for w in (layer.study.key, layer.study.value)]
        of_words_k, of_words_v, k, v = self._heads(project(memory, *weights), 4).unbind()
        return (of_words_k, of_words_v), (k, v)

    def _read_words(
        self, batch: StagedBatch, x: Tensor, told: Tensor, found: Found, drop: Dropout
    ) -> Tensor:
        """The words [words, width] of all queries, read among those of their query."""
        rows = batch.words
        x = x + look_up(told, batch.entries.asked)
        width = rows.unpack.shape[1]
        turns = self._turns(torch.arange(width, device=x.device), x.dtype)
        # What is behind a row's end sees itself, which keeps its softmax finite.
        itself = torch.eye(width, dtype=torch.bool, device=x.device)
        hidden = ~(rows.filled[:, None, :] | itself)[:, None]
        for layer in cast(Sequence[Layer], self.reader):
            y = attention(*self._own_rows(layer, x, rows, turns), hidden=hidden)
            x = x + self._attended(layer, rows, y, drop)
            if isinstance(layer, DecoderLayer):
                x = x + self._look_up(layer, x, batch.words_of_episode, found, batch, drop)
            x = self._feed_forward(layer, x, drop)
        return self.norm_words(x)

    def _known(self, words: Tensor, batch: StagedBatch) -> list[Found]:
        """Keys and values of the words of queries for every decoder layer, a row for each query."""
        weights = [w for layer in self._decoder for w in (layer.own.key, layer.own.value)]
        rows = batch.words.spread(project(words, *weights))
        both = self._heads(rows, len(weights)).unbind()
        turns = self._turns(torch.arange(rows.shape[1], device=words.device), words.dtype)
        return [(Turn.apply(k, *turns), v) for k, v in zip(both[0::2], both[1::2], strict=True)]

    def _own_rows(
        self, layer: Layer, x: Tensor, rows: Rows, turns: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens [tokens, width], a row for each query."""
        own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
        return self._own(rows.spread(own), turns)

    def _attended(self, layer: Layer, rows: Rows, y: Tensor, drop: Dropout) -> Tensor:
        """What rows [rows, heads, W, head size] have found, as [tokens, width]."""
        return drop(F.linear(rows.collect(y.transpose(1, 2).flatten(2)), layer.own.out))

    def _look_up(
        self,
        layer: DecoderLayer,
        x: Tensor,
        rows: Rows,
        found: Found,
        batch: StagedBatch,
        drop: Dropout,
    ) -> Tensor:
        """What tokens [tokens, width] find in the study examples of their episode."""
        q = rows.spread(project(layer.norm_study(x), layer.study.query))
        (q,), (k, v) = self._heads(q, 1), found
        y = attention(q, k, v, lengths=batch.lengths)
        return drop(F.linear(rows.collect(y.transpose(1, 2).flatten(2)), layer.study.out))

    def _not_yet(self, batch: StagedBatch) -> Tensor:
        """BoolTensor [queries, 1, A, W + A], what IO and each symbol of an answer must not see.

        They see all words of their query and what stands before them. What is behind a row's end
        sees the answer and itself, which keeps its softmax finite.
        """
        rows = batch.answers
        place = torch.arange(rows.unpack.shape[1], device=rows.lengths.device)
        before = (place <= place[:, None]) & rows.filled[:, None, :]
        seen = before | (place == place[:, None])
        words = batch.words.filled[:, None, :].expand(-1, len(place), -1)
        return ~torch.cat((words & rows.filled[:, :, None], seen), 2)[:, None]


def _in_stages(looks: Tensor, words: Rows) -> Tensor:
    """Where answers should look (see `Guides.answers`), by places in rows of answers.

    Keys are the words of all rows, as wide as the longest, and then the answers.
    """
    row, column, sought = looks
    of_row, wide = words.lengths[row], words.unpack.shape[1]
    answered = torch.where(sought < of_row, sought, sought - of_row + wide)
    return torch.stack((row, column - of_row, answered))
