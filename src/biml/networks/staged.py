"""The staged network: study examples are read, then queries, then answers are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.attention import attention
from biml.networks.base import Memory
from biml.networks.dropout import NONE as NO_DROPOUT
from biml.networks.dropout import Dropout
from biml.networks.fast_config import FastConfig
from biml.networks.fast_layers import DecoderLayer, Layer, Norm, Turn, project
from biml.networks.guidance import Guidance
from biml.networks.lexicon import SAID, Exchange, look_up
from biml.networks.packed import LONGEST, cut_episodes, encode
from biml.networks.rows import Rows
from biml.networks.staged_batch import StagedBatch, pack_stages
from biml.networks.study import StudyNetwork
from biml.vocabulary import IO

Found = tuple[Tensor, Tensor]
"""Keys and values, [rows, heads, tokens, head size] each."""

LOOKS_UP = 1
"""The layer of queries, and of answers, that looks things up in the study examples."""

SHARED = 3.0
"""Weight of guidance for a word's entry, of which there is one for all uses, at each layer."""


@dataclass(frozen=True)
class StagedConfig(FastConfig):
    """Sizes of the staged network.

    Attributes:
        nlayers_query: layers that read the words of a query.
    """

    nlayers_query: int = 4
    nlayers_decoder: int = 4


@dataclass
class StagedMemory(Memory):
    """What answering goes on from, a row for each query.

    Attributes:
        study: keys and values of the study examples.
        own: keys and values of the query's words and the answer so far, for each layer.
        lengths: LongTensor [rows], study tokens that are not padding.
        seen: BoolTensor [rows, tokens of `own`], those that are not padding.
        words: LongTensor [rows], words of each query.
        recent: [rows, kernel // 2 + 1, width], the latest tokens as embedded; 0 before the first.
        step: symbols answered so far.
    """

    study: Found
    own: list[Found]
    lengths: Tensor
    seen: Tensor
    words: Tensor
    recent: Tensor
    step: int = 0


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
            Exchange(width, config.nheads, ff_mult) for _ in range(config.nlayers_encoder)
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

    # --- episodes to batches

    def collate(self, episodes: Sequence[Episode]) -> StagedBatch:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        return pack_stages(encoded, self.vocabulary)

    def chunks(self, episodes: Sequence[Episode], max_tokens: int) -> list[StagedBatch]:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        pieces = cut_episodes([e for e in encoded if e.words], max_tokens)
        return [pack_stages(piece, self.vocabulary) for piece in pieces]

    # --- training: all target symbols of all queries at once

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

    # --- decoding: one symbol at a time

    @torch.no_grad()
    def remember(self, batch: StagedBatch) -> StagedMemory:
        memory, told = self._learn(batch, NO_DROPOUT, None)
        tokens = self._embed(batch)
        found = self._lookups(memory)
        begun = self._working(tokens[batch.at_words])
        words = self._read_words(batch, begun, told, found[0], NO_DROPOUT)
        of_rows = (found[1][0][batch.episode], found[1][1][batch.episode])
        return StagedMemory(
            (of_rows[0].contiguous(), of_rows[1].contiguous()),
            self._known(words, batch),
            batch.lengths[batch.episode],
            batch.words.filled,
            batch.words.lengths,
            self._last_words(batch),
        )

    @torch.no_grad()
    def next_logits(self, memory: StagedMemory, tokens: Tensor) -> Tensor:
        if memory.step == 0:
            tokens = torch.full_like(tokens, self.vocabulary.input.index[IO])
        else:
            tokens = self.as_read[tokens]
        memory.seen = torch.cat((memory.seen, memory.seen.new_ones(len(tokens), 1)), 1)
        at = LONGEST + min(memory.step, LONGEST - 1)
        x = self.symbols[tokens] + self.places[at]
        memory.recent = torch.cat((memory.recent[:, 1:], x[:, None]), 1)
        # The taps of the convolution that look back, the token's own among them.
        back = self.neighbours[:, 0, : self.config.kernel // 2 + 1]
        x = self._working((x + (memory.recent * back.t()).sum(1))[:, None])
        turns = self._turns((memory.words + memory.step)[:, None], x.dtype)
        hidden = ~memory.seen[:, None, None, :]
        before, memory.own = memory.own, []
        for layer, (k_before, v_before) in zip(self._decoder, before, strict=True):
            own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
            q, k, v = self._own(own, turns)
            k, v = torch.cat((k_before, k), 2), torch.cat((v_before, v), 2)
            memory.own.append((k, v))
            y = attention(q, k, v, hidden=hidden).transpose(1, 2).flatten(2)
            x = x + F.linear(y, layer.own.out)
            if isinstance(layer, DecoderLayer):
                (q,) = self._heads(project(layer.norm_study(x), layer.study.query), 1)
                y = attention(q, *memory.study, lengths=memory.lengths)
                x = x + F.linear(y.transpose(1, 2).flatten(2), layer.study.out)
            x = self._feed_forward(layer, x, NO_DROPOUT)
        memory.step += 1
        return self._logits(x[:, 0])

    # --- the pieces, in the order in which data passes them

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
            if guide and number:
                words = guide.guides.study_words.flatten()[batch.entries.uses[:-1, 0]]
                guide.meaning(self.norm_entry(held[:-1]), words, self.meaning, SHARED)
            return x + layer.spread(held, batch.entries)

        memory = self._read_study(batch, drop, guide, exchange)
        assert held is not None
        return memory, F.linear(self.norm_entry(held), self.told)

    def _embed(self, batch: StagedBatch) -> Tensor:
        """Queries and answers through the convolution that reads the study examples.

        A word's neighbours are words of its query; answers and IO have only those before them.
        """
        tokens = self.symbols[batch.asked] + self.places[batch.asked_places]
        words = batch.words.lengths[batch.row]
        x = tokens
        for tap, weight in enumerate(self.neighbours[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            there = torch.roll(batch.column, -ahead, 0)
            near = (torch.roll(batch.row, -ahead, 0) == batch.row) & (there == batch.column + ahead)
            if ahead > 0:
                near &= there < words
            x = x + torch.roll(tokens, -ahead, 0) * (near[:, None] * weight)
        return x

    def _last_words(self, batch: StagedBatch) -> Tensor:
        """The last words of each query as embedded, [rows, kernel // 2 + 1, width]."""
        reach = self.config.kernel // 2 + 1
        place = batch.words.lengths[:, None] + torch.arange(-reach, 0, device=batch.row.device)
        number = batch.words.unpack.gather(1, place.clamp(min=0))
        at = batch.at_words[number] if len(batch.at_words) else number
        tokens = self.symbols[batch.asked[at]] + self.places[batch.asked_places[at]]
        return tokens * (place >= 0)[..., None]

    def _lookups(self, memory: Tensor) -> tuple[Found, Found]:
        """Keys and values of the study examples for the reader and for the decoder."""
        layers = [layer for layer in (*self.reader, *self.decoder) if hasattr(layer, "study")]
        looking = cast(Sequence[DecoderLayer], layers)
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

        They see all words of their query and what stands before them; behind a row's end itself.
        """
        rows = batch.answers
        place = torch.arange(rows.unpack.shape[1], device=rows.lengths.device)
        before = (place <= place[:, None]) & rows.filled[:, None, :]
        seen = before | (place == place[:, None])
        words = batch.words.filled[:, None, :].expand(-1, len(place), -1)
        return ~torch.cat((words & rows.filled[:, :, None], seen), 2)[:, None]

    @property
    def _decoder(self) -> Sequence[Layer]:
        return cast(Sequence[Layer], self.decoder)


def _in_stages(looks: Tensor, words: Rows) -> Tensor:
    """Where answers should look (see `Guides.answers`), by places in rows of answers.

    Keys are the words of all rows, as wide as the longest, and then the answers.
    """
    row, column, sought = looks
    of_row, wide = words.lengths[row], words.unpack.shape[1]
    answered = torch.where(sought < of_row, sought, sought - of_row + wide)
    return torch.stack((row, column - of_row, answered))
