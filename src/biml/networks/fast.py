"""The fast network: study examples are read once an episode, and queries look things up in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.attention import attention
from biml.networks.base import Memory
from biml.networks.dropout import Dropout
from biml.networks.fast_layers import DecoderLayer, Regather, hidden_tokens, project
from biml.networks.guidance import Guidance
from biml.networks.packed import LONGEST, PackedBatch, cut_episodes, encode, pack_episodes
from biml.networks.study import StudyNetwork
from biml.vocabulary import IO

GUIDED = 2
"""The decoder layer in which guidance tells one head where to look, at words that know by then what
they mean; later layers look up symbols."""


@dataclass
class FastMemory(Memory):
    """Keys and values, each [rows, heads, tokens, head size].

    Attributes:
        study: (keys, values) of the study examples, for each layer.
        own: (keys, values) of the query and the answer so far, for each layer.
        lengths: LongTensor [rows], study tokens that are not padding.
        seen: BoolTensor [rows, tokens of `own`], those that are not padding.
        words: LongTensor [rows], words of each query.
        recent: [rows, kernel // 2 + 1, width], the latest tokens as embedded; 0 before the first.
        step: symbols answered so far.
    """

    study: list[tuple[Tensor, Tensor]]
    own: list[tuple[Tensor, Tensor]]
    lengths: Tensor
    seen: Tensor
    words: Tensor
    recent: Tensor
    step: int = 0


class FastNetwork(StudyNetwork):
    """Study examples → encoder → memory; query and answer → decoder, which looks up the memory.

    The published network reads the study examples again for each query. This one reads them once,
    which needs about a seventh of the arithmetic, and it is made to find its way out of the long
    plateau before the first retrieval: a convolution binds each study token to its neighbours,
    and attention begins as a search for equal tokens.

    Args:
        config: the sizes.
        vocabulary: input and output symbols; the input language has all of the output's.
        seed: draws the initial weights; the global generator is left as it is.
    """

    def _make_decoder(self) -> None:
        sizes = (self.config.emb_size, self.config.ff_mult)
        self.decoder = nn.ModuleList(
            DecoderLayer(*sizes) for _ in range(self.config.nlayers_decoder)
        )

    # --- episodes to batches

    def collate(self, episodes: Sequence[Episode]) -> PackedBatch:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        return pack_episodes(encoded, self.vocabulary)

    def chunks(self, episodes: Sequence[Episode], max_tokens: int) -> list[PackedBatch]:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        pieces = cut_episodes([e for e in encoded if e.words], max_tokens)
        return [pack_episodes(piece, self.vocabulary) for piece in pieces]

    # --- training: all target symbols of all queries at once

    def forward(self, batch: PackedBatch, generator: torch.Generator | None = None) -> Tensor:
        drop = Dropout(self.config.dropout if self.training else 0.0, generator)
        guide = Guidance(batch.guides) if self.training and batch.guides else None
        memory = self._read_study(batch, drop, guide)
        if guide:
            guide.meaning(memory, guide.guides.study_words, self.meaning)
        study = self._lookups(memory)
        x = self._working(self._read_asked(batch))
        shape = x.shape
        hidden = hidden_tokens(batch)
        turns = self._turns(torch.arange(batch.unpack.shape[1], device=x.device), x.dtype)
        guided = min(GUIDED, len(study) - 1)
        for number, (layer, (k, v)) in enumerate(zip(self._decoder, study, strict=True)):
            normed = layer.norm_own(x)
            own = project(normed, layer.own.query, layer.own.key, layer.own.value)
            rows = Regather.apply(own.flatten(0, 1), batch.unpack.flatten(), batch.pack)
            q, own_k, own_v = self._own(rows.view(*batch.unpack.shape, -1), turns)
            if guide and number == guided:
                guide.meaning(normed, guide.guides.asked_words, self.meaning)
                guide.attention(q[:, 0], own_k[:, 0], hidden[:, 0], guide.guides.answers)
            y = attention(q, own_k, own_v, hidden=hidden).transpose(1, 2).flatten(2).flatten(0, 1)
            y = Regather.apply(y, batch.pack, batch.unpack.flatten()).view(shape)
            x = x + drop(F.linear(y, layer.own.out))
            (q,) = self._heads(project(layer.norm_study(x), layer.study.query), 1)
            y = attention(q, k, v, lengths=batch.lengths)
            x = x + drop(F.linear(y.transpose(1, 2).flatten(2), layer.study.out))
            x = self._feed_forward(layer, x, drop)
        self.guidance = guide.total if guide else None
        answers = x.flatten(0, 1)[batch.answers]
        return self._logits(answers)

    # --- decoding: one symbol at a time

    @torch.no_grad()
    def remember(self, batch: PackedBatch) -> FastMemory:
        study = self._lookups(self._read_study(batch, Dropout()))
        # Contiguous, since every decoding step would copy them else.
        study = [(k[batch.episode].contiguous(), v[batch.episode].contiguous()) for k, v in study]
        lengths = batch.lengths[batch.episode]
        rows = len(batch.episode)
        longest = int(batch.words.max()) if rows else 0
        words = batch.words[:rows]
        place = torch.arange(longest, device=words.device)
        seen = place < words[:, None]
        x = self._read_asked(batch).flatten(0, 1)[batch.unpack[:rows, :longest]]
        x = self._working(x)
        recent = self._last_words(batch)
        memory = FastMemory(study, [], lengths, seen, words, recent)
        # A row's padding sees that row's words, which keeps it finite; nothing sees the padding.
        self._decode(memory, x, place, ~seen[:, None, None, :].expand(-1, -1, longest, -1))
        return memory

    @torch.no_grad()
    def next_logits(self, memory: FastMemory, tokens: Tensor) -> Tensor:
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
        place = (memory.words + memory.step)[:, None]
        x = self._decode(memory, x, place, ~memory.seen[:, None, None, :])
        memory.step += 1
        return self._logits(x[:, 0])

    def _decode(self, memory: FastMemory, x: Tensor, place: Tensor, hidden: Tensor) -> Tensor:
        """Pass further tokens [rows, n, width] of each row through the decoder."""
        before, memory.own = memory.own, []
        turns = self._turns(place, x.dtype)
        for i, layer in enumerate(self._decoder):
            own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
            q, k, v = self._own(own, turns)
            if before:
                k, v = torch.cat((before[i][0], k), 2), torch.cat((before[i][1], v), 2)
            memory.own.append((k, v))
            y = attention(q, k, v, hidden=hidden).transpose(1, 2).flatten(2)
            x = x + F.linear(y, layer.own.out)
            (q,) = self._heads(project(layer.norm_study(x), layer.study.query), 1)
            y = attention(q, *memory.study[i], lengths=memory.lengths)
            x = x + F.linear(y.transpose(1, 2).flatten(2), layer.study.out)
            x = self._feed_forward(layer, x, Dropout())
        return x

    # --- the pieces, in the order in which data passes them

    def _read_asked(self, batch: PackedBatch) -> Tensor:
        """Queries and answers through the convolution that reads the study examples.

        A word's neighbours are words of its query; answers and IO have only those before them.
        """
        tokens = self.symbols[batch.asked] + self.places[batch.asked_places]
        row = batch.pack.div(batch.unpack.shape[1], rounding_mode="floor")
        column = batch.pack.remainder(batch.unpack.shape[1])
        row, column = row.view(batch.asked.shape), column.view(batch.asked.shape)
        words = batch.words[row]
        x = tokens
        for tap, weight in enumerate(self.neighbours[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            there = torch.roll(column, -ahead, 1)
            near = (torch.roll(row, -ahead, 1) == row) & (there == column + ahead)
            if ahead > 0:
                near &= there < words
            x = x + torch.roll(tokens, -ahead, 1) * (near[..., None] * weight)
        return x

    def _last_words(self, batch: PackedBatch) -> Tensor:
        """The last tokens of each query as embedded, [rows, kernel // 2 + 1, width]."""
        rows, reach = len(batch.episode), self.config.kernel // 2 + 1
        place = batch.words[:rows, None] + torch.arange(-reach, 0, device=batch.words.device)
        at = batch.unpack[:rows].gather(1, place.clamp(min=0))
        tokens = self.symbols[batch.asked.flatten()[at]]
        tokens = tokens + self.places[batch.asked_places.flatten()[at]]
        return tokens * (place >= 0)[..., None]

    def _lookups(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the study examples for every decoder layer, in one product."""
        weights = [w for layer in self._decoder for w in (layer.study.key, layer.study.value)]
        both = self._heads(project(memory, *weights), len(weights)).unbind()
        return list(zip(both[0::2], both[1::2], strict=True))

    @property
    def _decoder(self) -> Sequence[DecoderLayer]:
        return cast(Sequence[DecoderLayer], self.decoder)
