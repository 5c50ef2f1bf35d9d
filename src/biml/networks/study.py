"""Reading the study examples of an episode once, whatever is then made of them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.attention import attention
from biml.networks.base import EpisodeNetwork, Memory
from biml.networks.dropout import NONE as NOTHING_DROPPED
from biml.networks.dropout import Dropout
from biml.networks.encoded import LONGEST, PLACES, Encoded, answer_symbols, cut_episodes, encode
from biml.networks.fast_config import FastConfig
from biml.networks.fast_layers import DecoderLayer, Layer, Norm, Turn, project
from biml.networks.guidance import Guidance, meaning_size
from biml.networks.study_batch import StudyBatch
from biml.vocabulary import IO, Vocabulary

SLOWEST = 100.0
"""Ratio of the fastest to the slowest turn of rotary positions; rows are 20 to 150 tokens long."""


Found = tuple[Tensor, Tensor]
"""Keys and values, [rows, heads, tokens, head size] each."""


@dataclass
class AnswerMemory(Memory):
    """What answering goes on from, a row for each query.

    Attributes:
        study: keys and values of the study examples for each decoder layer that looks them up.
        own: keys and values of the query and the answer so far, for each decoder layer.
        lengths: LongTensor [rows], study tokens that are not padding.
        seen: BoolTensor [rows, tokens of `own`], those that are not padding.
        words: LongTensor [rows], words of each query.
        recent: [rows, kernel // 2 + 1, width], the latest tokens as embedded; 0 before the first.
        step: symbols answered so far.
    """

    study: list[Found | None]
    own: list[Found]
    lengths: Tensor
    seen: Tensor
    words: Tensor
    recent: Tensor
    step: int = 0


class StudyNetwork(EpisodeNetwork):
    """Embeddings, the encoder of study examples and the read-out; subclasses read queries.

    Args:
        config: the sizes.
        vocabulary: input and output symbols; the input language has all of the output's.
        seed: draws the initial weights; the global generator is left as it is.
    """

    as_read: Tensor

    def __init__(self, config: FastConfig, vocabulary: Vocabulary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        width = config.emb_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.symbols = nn.Parameter(torch.randn(len(vocabulary.input), width) * 0.7)
            self.places = nn.Parameter(torch.randn(PLACES, width) * 0.3)
            self.neighbours = nn.Parameter(torch.randn(width, 1, config.kernel) * 0.3)
            self.encoder = nn.ModuleList(
                Layer(width, config.ff_mult) for _ in range(config.nlayers_encoder)
            )
            self._make_decoder()
            self.norm_memory = Norm(width)
            self.norm_out = Norm(width)
            self.out = nn.Parameter(torch.randn(len(vocabulary.output), width) * 0.02)
        # Reads what a word means, which guidance asks for; no answer needs it.
        self.meaning = nn.Parameter(torch.zeros(meaning_size(len(vocabulary.output)), width))
        as_read = torch.tensor(answer_symbols(vocabulary))
        self.register_buffer("as_read", as_read, persistent=False)

    @abstractmethod
    def _make_decoder(self) -> None:
        """Add the layers that read and answer queries."""

    @abstractmethod
    def _pack(self, episodes: Sequence[Encoded]) -> StudyBatch:
        """One batch of encoded episodes."""

    def outer_parameters(self) -> tuple[str, ...]:
        return ("symbols", "places", "out", "meaning")

    # --- episodes to batches

    def collate(self, episodes: Sequence[Episode]) -> StudyBatch:
        return self._pack([encode(i, e, self.vocabulary) for i, e in enumerate(episodes)])

    def chunks(self, episodes: Sequence[Episode], max_tokens: int) -> list[StudyBatch]:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        pieces = cut_episodes([e for e in encoded if e.words], max_tokens)
        return [self._pack(piece) for piece in pieces]

    # --- decoding: one symbol at a time

    @torch.no_grad()
    def next_logits(self, memory: AnswerMemory, tokens: Tensor) -> Tensor:
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

    def _decode(self, memory: AnswerMemory, x: Tensor, place: Tensor, hidden: Tensor) -> Tensor:
        """Pass further tokens [rows, n, width] of each row through the decoder."""
        before, memory.own = memory.own, []
        turns = self._turns(place, x.dtype)
        for number, (layer, found) in enumerate(zip(self._decoder, memory.study, strict=True)):
            own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
            q, k, v = self._own(own, turns)
            if before:
                k, v = torch.cat((before[number][0], k), 2), torch.cat((before[number][1], v), 2)
            memory.own.append((k, v))
            y = attention(q, k, v, hidden=hidden).transpose(1, 2).flatten(2)
            x = x + F.linear(y, layer.own.out)
            if found:
                looking = cast(DecoderLayer, layer)
                (q,) = self._heads(project(looking.norm_study(x), looking.study.query), 1)
                k, v = found
                y = attention(q, k, v, lengths=memory.lengths)
                x = x + F.linear(y.transpose(1, 2).flatten(2), looking.study.out)
            x = self._feed_forward(layer, x, NOTHING_DROPPED)
        return x

    def last_places(self, words: Tensor) -> Tensor:
        """The places in queries [rows] of the last words that the convolution looks back at."""
        reach = self.config.kernel // 2 + 1
        return words[:, None] + torch.arange(-reach, 0, device=words.device)

    # --- the pieces, in the order in which data passes them

    def _embedded(self, batch: StudyBatch, at: Tensor | None = None) -> Tensor:
        """Tokens of queries and answers, all or those with these numbers, without neighbours."""
        asked, places = batch.asked, batch.asked_places
        if at is not None:
            asked, places = asked.flatten()[at], places.flatten()[at]
        return self.symbols[asked] + self.places[places]

    def _beside(self, tokens: Tensor, row: Tensor, column: Tensor, words: Tensor) -> Tensor:
        """Tokens of queries and answers through the convolution that reads the study examples.

        A word's neighbours are words of its query; answers and IO have only those before them.

        Args:
            tokens: [.., tokens, width].
            row, column: LongTensor [.., tokens], the query of each token, and its place in it.
            words: LongTensor [queries], words of each query.
        """
        x = tokens
        for tap, weight in enumerate(self.neighbours[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            there = torch.roll(column, -ahead, -1)
            near = (torch.roll(row, -ahead, -1) == row) & (there == column + ahead)
            if ahead > 0:
                near &= there < words[row]
            x = x + torch.roll(tokens, -ahead, -2) * (near[..., None] * weight)
        return x

    def _read_study(
        self,
        batch: StudyBatch,
        drop: Dropout,
        guide: Guidance | None = None,
        after: Callable[[int, Tensor], Tensor] = lambda number, x: x,
    ) -> Tensor:
        """The study tokens as the encoder leaves them [episodes, S, width].

        Args:
            after: what becomes of them after each layer, by its number.
        """
        x = self.symbols[batch.study] + self.places[batch.study_places]
        # Else the last tokens of a row would see how far its batch is padded.
        x = x * (batch.study != self.vocabulary.input.pad)[..., None]
        neighbours = F.conv1d(
            x.transpose(1, 2),
            self.neighbours,
            padding=self.config.kernel // 2,
            groups=self.config.emb_size,
        )
        x = self._working(x + neighbours.transpose(1, 2))
        turns = self._turns(torch.arange(x.shape[1], device=x.device), x.dtype)
        hidden = self._elsewhere(batch)
        padding = torch.arange(x.shape[1], device=x.device) >= batch.lengths[:, None]
        layers = cast(Sequence[Layer], self.encoder)
        # One more layer has what attention found for the examples to learn from each other.
        guided = max(0, len(layers) - 2)
        for number, layer in enumerate(layers):
            own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
            q, k, v = self._own(own, turns)
            if guide and number == guided:
                unseen = hidden[:, 0] | padding[:, None]
                guide.attention(q[:, 0], k[:, 0], unseen, guide.guides.study)
            y = attention(q, k, v, lengths=batch.lengths, hidden=hidden)
            x = x + drop(F.linear(y.transpose(1, 2).flatten(2), layer.own.out))
            x = after(number, self._feed_forward(layer, x, drop))
        return self.norm_memory(x)

    def _elsewhere(self, batch: StudyBatch) -> Tensor:
        """BoolTensor [episodes, heads, S, S], what lies outside the example of a head within it."""
        within = torch.arange(self.config.nheads, device=batch.example.device)
        within = (within < self.config.nheads_within)[:, None, None]
        return within & (batch.example[:, None, :, None] != batch.example[:, None, None, :])

    def _turns(self, place: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [.., 1, tokens, head size / 2] of rotary positions (Su et al. 2021)."""
        half = self.config.emb_size // self.config.nheads // 2
        rates = SLOWEST ** -(torch.arange(half, device=place.device) / half)
        angles = (place[..., None] * rates)[..., None, :, :]
        return angles.cos().to(kind), angles.sin().to(kind)

    def _own(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by their positions, and values, of the row's own tokens."""
        heads = self._heads(x, 3)
        q, k = Turn.apply(heads[:2], *turns)
        return q, k, heads[2]

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """[rows, tokens, parts * width] to [parts, rows, heads, tokens, head size]."""
        return x.unflatten(-1, (parts, self.config.nheads, -1)).permute(2, 0, 3, 1, 4)

    @property
    def _decoder(self) -> Sequence[Layer]:
        return cast(Sequence[Layer], self.decoder)

    def _feed_forward(self, layer: Layer, x: Tensor, drop: Dropout) -> Tensor:
        return x + drop(layer.feed(layer.norm_feed(x), self.config.activation))

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(self.norm_out(x.float()), self.out)

    @staticmethod
    def _working(x: Tensor) -> Tensor:
        """In bfloat16 under autocast, so that residuals are added in it as well."""
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
