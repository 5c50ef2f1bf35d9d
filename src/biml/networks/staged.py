"""The staged network: study examples are read, then queries, then answers are found."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.answer_memory import AnswerMemory
from biml.networks.attention import attention
from biml.networks.base import EpisodeNetwork
from biml.networks.dropout import NONE as NOTHING_DROPPED
from biml.networks.dropout import Dropout
from biml.networks.encoded import LONGEST, PLACES, answer_symbols, cut_episodes, encode
from biml.networks.guidance import Guidance, meaning_size
from biml.networks.layers import Found, Layer, LookingLayer, Norm, Shown, split_heads
from biml.networks.lexicon import SAID, Exchange, look_up
from biml.networks.masks import later_answers, other_examples, other_words
from biml.networks.rotary import Turn, Turns, halves_apart, turns
from biml.networks.rows import Rows
from biml.networks.staged_batch import StagedBatch, pack_stages
from biml.networks.staged_config import StagedConfig
from biml.vocabulary import IO, Vocabulary

LOOKS_UP = 1
"""The layer of queries, and of answers, that looks things up in the study examples."""


class StagedNetwork(EpisodeNetwork):
    """Study examples → encoder, lexicon; words of queries → reader; answers → decoder.

    The published network reads the study examples again for each query. This one reads them once,
    and it is made to find its way out of the long plateau before the first retrieval: a convolution
    binds each token to its neighbours, and attention begins as a search for equal tokens.

    Words that are uses of one word share an entry of the lexicon, in which the encoder gathers what
    each of them tells; a query's words begin with what it holds. The words of a query are read to
    the end before its answer begins, so that its layers find them parsed.

    Args:
        config: the sizes.
        vocabulary: input and output symbols; the input language has all of the output's.
        seed: draws the initial weights; the global generator is left as it is.
    """

    as_read: Tensor

    def __init__(self, config: StagedConfig, vocabulary: Vocabulary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        width, layers = config.emb_size, config.nlayers_encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.symbols = nn.Parameter(torch.randn(len(vocabulary.input), width) * 0.7)
            self.places = nn.Parameter(torch.randn(PLACES, width) * 0.3)
            self.neighbours = nn.Parameter(torch.randn(width, 1, config.kernel) * 0.3)
            self.encoder = nn.ModuleList(Layer(config) for _ in range(layers))
            self.lexicon = nn.ModuleList(Exchange(config) for _ in range(layers))
            self.norm_entry = Norm(width)
            self.told = nn.Parameter(torch.eye(width) * SAID)
            self.reader = _stage(config, config.nlayers_query)
            self.norm_words = Norm(width)
            self.decoder = _stage(config, config.nlayers_decoder)
            self.norm_memory = Norm(width)
            self.norm_out = Norm(width)
            self.out = nn.Parameter(torch.randn(len(vocabulary.output), width) * 0.02)
        # Reads what a word means, which guidance asks for; no answer needs it.
        self.meaning = nn.Parameter(torch.zeros(meaning_size(len(vocabulary.output)), width))
        as_read = torch.tensor(answer_symbols(vocabulary))
        self.register_buffer("as_read", as_read, persistent=False)

    def outer_parameters(self) -> tuple[str, ...]:
        return ("symbols", "places", "out", "meaning")

    # --- episodes to batches

    def collate(self, episodes: Sequence[Episode]) -> StagedBatch:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        return pack_stages(encoded, self.vocabulary)

    def chunks(
        self, episodes: Sequence[Episode], max_tokens: int, at_least: int = 1
    ) -> list[StagedBatch]:
        encoded = [encode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)]
        pieces = cut_episodes([e for e in encoded if e.words], max_tokens, at_least)
        return [pack_stages(piece, self.vocabulary) for piece in pieces]

    # --- all target symbols of all queries at once

    def forward(self, batch: StagedBatch, generator: torch.Generator | None = None) -> Tensor:
        drop = Dropout(self.config.dropout if self.training else 0.0, generator)
        guide = Guidance(batch.guides) if self.training and batch.guides else None
        memory, told = self._learn(batch, drop, guide)
        for_words, for_answers = self._shown(memory, batch)
        tokens = self._bound(self._embedded(batch), batch)
        words = self._read(self._working(tokens[batch.at_words]), told, for_words, batch, drop)
        x = self._working(tokens[batch.at_answers])
        rows = batch.answers
        turned = self._turns(batch.column[batch.at_answers], x)
        hidden = later_answers(batch.words, rows)
        x, _ = self._answer(
            x, rows, self._known(words, batch), for_answers, turned, hidden, drop, guide
        )
        self.guidance = guide.total if guide else None
        return self._logits(rows.spread(x))

    # --- one symbol at a time

    @torch.no_grad()
    def remember(self, batch: StagedBatch) -> AnswerMemory:
        memory, told = self._learn(batch, NOTHING_DROPPED)
        for_words, for_answers = self._shown(memory, batch)
        embedded = self._embedded(batch)
        begun = self._working(self._bound(embedded, batch)[batch.at_words])
        words = self._read(begun, told, for_words, batch, NOTHING_DROPPED)
        io = batch.at_answers[batch.answers.unpack[:, 0]]
        before = torch.arange(-(self.config.kernel // 2), 0, device=io.device)
        there = batch.words.lengths[:, None] + before >= 0
        recent = embedded[(io[:, None] + before).clamp(min=0)] * there[..., None]
        of_query = batch.episode
        # Contiguous, since every decoding step would copy them else.
        key, value = (x[of_query].contiguous() for x in (for_answers.key, for_answers.value))
        return AnswerMemory(
            shown=Shown(key, value, batch.examples.lengths[of_query]),
            known=self._known(words, batch),
            seen=batch.words.filled,
            words=batch.words.lengths,
            recent=recent,
        )

    @torch.no_grad()
    def next_logits(self, memory: AnswerMemory, tokens: Tensor) -> Tensor:
        if memory.step == 0:
            tokens = torch.full_like(tokens, self.vocabulary.input.index[IO])
        else:
            tokens = self.as_read[tokens]
        at = LONGEST + min(memory.step, LONGEST - 1)
        x = self.symbols[tokens] + self.places[at]
        # The taps of the convolution that look back, the token's own among them.
        near = torch.cat((memory.recent, x[:, None]), 1)
        back = self.neighbours[:, 0, : near.shape[1]]
        x = self._working((x + (near * back.t()).sum(1))[:, None])
        memory.recent = near[:, 1:]
        memory.seen = torch.cat((memory.seen, memory.seen.new_ones(len(tokens), 1)), 1)
        turned = self._turns((memory.words + memory.step)[:, None], x)
        hidden = ~memory.seen[:, None, None, :]
        x, memory.known = self._answer(x, None, memory.known, memory.shown, turned, hidden)
        memory.step += 1
        return self._logits(x[:, 0])

    # --- the stages, in the order in which data pass them

    def _embedded(self, batch: StagedBatch) -> Tensor:
        """Tokens of queries and answers [tokens, width], without neighbours."""
        return self.symbols[batch.asked] + self.places[batch.asked_places]

    def _bound(self, tokens: Tensor, batch: StagedBatch) -> Tensor:
        """The same through the convolution that reads the study examples.

        A word's neighbours are words of its query; answers and IO have only those before them.
        """
        x, row, column = tokens, batch.row, batch.column
        for tap, weight in enumerate(self.neighbours[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            there = torch.roll(column, -ahead)
            near = (torch.roll(row, -ahead) == row) & (there == column + ahead)
            if ahead > 0:
                near &= there < batch.words.lengths[row]
            x = x + torch.roll(tokens, -ahead, 0) * (near[:, None] * weight)
        return x

    def _learn(
        self, batch: StagedBatch, drop: Dropout, guide: Guidance | None = None
    ) -> tuple[Tensor, Tensor]:
        """The study tokens as read [tokens, width], and the lexicon [entries + 1, width]."""
        config, entries, rows = self.config, batch.entries, batch.examples
        x = self.symbols[batch.study] + self.places[batch.study_places]
        # Else the last tokens of a row would see how far its batch is padded.
        x = x * (batch.study != self.vocabulary.input.pad)[..., None]
        neighbours = F.conv1d(
            x.transpose(1, 2), self.neighbours, padding=config.kernel // 2, groups=config.emb_size
        )
        x = rows.collect(self._working(x + neighbours.transpose(1, 2)))
        held = x.new_zeros(len(entries.uses.lengths), config.emb_size)
        turned = self._turns(rows.column, x)
        hidden = other_examples(batch.example, config.nheads, config.nheads_within)
        # One more layer has what attention found for the examples to learn from each other.
        guided = max(0, config.nlayers_encoder - 2)
        layers = cast(
            Iterable[tuple[Layer, Exchange]], zip(self.encoder, self.lexicon, strict=True)
        )
        for number, (layer, exchange) in enumerate(layers):
            q, k, v = layer.own_heads(x, turned, rows)
            if guide and number == guided:
                unseen = hidden[:, 0] | ~rows.filled[:, None]
                guide.attention(q[:, 0], k[:, 0], unseen, guide.guides.study)
            found = attention(q, k, v, lengths=rows.lengths, hidden=hidden)
            x = x + drop(layer.own_branch(found, rows))
            x = x + drop(layer.feed_branch(x))
            held = exchange.gather(x, held, entries)
            # What one example alone tells does not say what a word means.
            if guide and (number or config.nlayers_encoder == 1):
                guide.meaning(held[:-1], self.norm_entry, self.meaning)
            x = x + exchange.spread(held, entries)
        return x, self.norm_entry(held, self.told)

    def _shown(self, memory: Tensor, batch: StagedBatch) -> tuple[Shown, Shown]:
        """The study examples as the words of queries, and as answers, look them up."""
        layers = (*self.reader, *self.decoder)
        looking = [layer for layer in layers if isinstance(layer, LookingLayer)]
        weights = [w for layer in looking for w in (layer.study.key, layer.study.value)]
        rows = batch.examples
        heads = split_heads(self.norm_memory(memory, *weights), rows, self.config.nheads, 4)
        return (
            Shown(heads[0], heads[1], rows.lengths, batch.words_of_episode),
            Shown(heads[2], heads[3], rows.lengths, batch.answers_of_episode),
        )

    def _read(
        self, x: Tensor, told: Tensor, shown: Shown, batch: StagedBatch, drop: Dropout
    ) -> Tensor:
        """The words [words, width] of all queries, read among those of their query."""
        rows = batch.words
        x = x + look_up(told, batch.entries.asked)
        turned = self._turns(rows.column, x)
        hidden = other_words(rows)
        for layer in cast(Sequence[Layer], self.reader):
            found = attention(*layer.own_heads(x, turned, rows), hidden=hidden)
            x = x + drop(layer.own_branch(found, rows))
            if isinstance(layer, LookingLayer):
                x = x + drop(layer.study_branch(x, shown))
            x = x + drop(layer.feed_branch(x))
        return x

    def _known(self, words: Tensor, batch: StagedBatch) -> list[Found]:
        """Keys and values of the words of queries for every decoder layer, a row for each query."""
        layers, rows = cast(Sequence[Layer], self.decoder), batch.words
        keys = halves_apart([layer.own.key for layer in layers], self.config.nheads)
        found = self.norm_words(words, keys, *(layer.own.value for layer in layers))
        found = Turn.apply(found, *self._turns(rows.column, words, len(layers)))
        count = len(layers)
        parts = split_heads(found, rows, self.config.nheads, count, turned=count)
        return list(zip(parts[:count], parts[count:], strict=True))

    def _answer(
        self,
        x: Tensor,
        rows: Rows | None,
        known: list[Found],
        shown: Shown,
        turned: Turns,
        hidden: Tensor,
        drop: Dropout = NOTHING_DROPPED,
        guide: Guidance | None = None,
    ) -> tuple[Tensor, list[Found]]:
        """Tokens of answers through the decoder.

        Args:
            x: [tokens, width] of these `rows`, or without them a table [queries, A, width].
            known: for each layer keys and values of what stands before them.
            shown: the study examples.
            turned: by which angles the tokens are turned.
            hidden: BoolTensor [queries, 1, A, tokens known + A], what each must not see.
            drop: what drops parts of the residual branches.
            guide: tells one head where to look.

        Returns:
            the tokens, and `known` with theirs.
        """
        now: list[Found] = []
        # One more layer has what attention found.
        guided = max(0, len(known) - 2)
        layers = cast(Sequence[Layer], self.decoder)
        for number, (layer, (known_k, known_v)) in enumerate(zip(layers, known, strict=True)):
            q, k, v = layer.own_heads(x, turned, rows)
            k, v = torch.cat((known_k, k), 2), torch.cat((known_v, v), 2)
            now.append((k, v))
            if guide and number == guided:
                guide.attention(q[:, 0], k[:, 0], hidden[:, 0], guide.guides.answers)
            x = x + drop(layer.own_branch(attention(q, k, v, hidden=hidden), rows))
            if isinstance(layer, LookingLayer):
                x = x + drop(layer.study_branch(x, shown))
            x = x + drop(layer.feed_branch(x))
        return x, now

    def _turns(self, place: Tensor, x: Tensor, projections: int = 2) -> Turns:
        """By which angles tokens at these places are turned, by default in queries and keys."""
        heads = self.config.nheads
        return turns(place, self.config.emb_size // heads, projections * heads, x.dtype)

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.norm_out(x.float(), self.out)

    @staticmethod
    def _working(x: Tensor) -> Tensor:
        """In bfloat16 under autocast, so that residuals are added in it as well."""
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _stage(config: StagedConfig, count: int) -> nn.ModuleList:
    """Layers of queries or of answers."""
    looks_up = min(LOOKS_UP, count - 1)
    return nn.ModuleList(
        LookingLayer(config) if number == looks_up else Layer(config) for number in range(count)
    )
