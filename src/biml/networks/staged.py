"""The staged network: study examples are read, then queries, then answers are found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.attention import NO_DROPOUT as NOTHING_DROPPED
from biml.networks.attention import Dropout, attention
from biml.networks.auxiliary_loss import AuxiliaryLoss, n_meaning_logits
from biml.networks.base import DecoderState, EpisodeNetwork
from biml.networks.batching import RaggedRows
from biml.networks.staged_batch import (
    MAX_POSITION,
    N_POSITIONS,
    LexiconIndex,
    StagedBatch,
    collate_staged,
    encode_episode,
    output_to_input_ids,
    split_episodes,
)
from biml.networks.staged_layers import (
    MLP_INIT_SCALE,
    OUT_INIT_SCALE,
    ApplyRotary,
    CosSin,
    CrossAttentionBlock,
    FeedForward,
    KeyValue,
    RMSNormLinear,
    SelfAttentionBlock,
    StagedConfig,
    StudyMemory,
    causal_answer_mask,
    fan_in_init,
    padding_mask,
    rms_normalize,
    rotary_angles,
    split_half_layout,
    split_heads,
    within_example_mask,
)
from biml.vocabulary import IO, Vocabulary

LEXICON_INIT_SCALE = 0.5
"""How much of an entry is added to the uses of its word at first."""


class LexiconExchange(nn.Module):
    """The uses of each word add to its entry what they have found, and learn what it holds.

    Each head takes a weighted mean over a word's uses, at first nearly alike, so that those that
    tell more can count for more. Nothing is dropped here in training.
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        width = config.emb_size
        self.norm_uses = RMSNormLinear(width)
        self.weigh = nn.Parameter(fan_in_init(config.nheads, width) * MLP_INIT_SCALE)
        rotation = torch.linalg.qr(torch.randn(width, width))[0].contiguous()
        self.value = nn.Parameter(rotation)
        self.out = nn.Parameter(rotation.t().contiguous() * OUT_INIT_SCALE)
        self.norm_feed = RMSNormLinear(width)
        self.feed = FeedForward(config)
        self.norm_told = RMSNormLinear(width)
        self.told = nn.Parameter(torch.eye(width) * LEXICON_INIT_SCALE)

    def aggregate(self, x: Tensor, slots: Tensor, index: LexiconIndex) -> Tensor:
        """The entries with what the uses of their words have found.

        Args:
            x: study tokens [tokens, width].
            held: entries so far [entries + 1, width].
        """
        tokens = rms_normalize(index.uses.to_padded(x))
        used = index.uses.mask[..., None]
        weights = F.linear(tokens, self.norm_uses.fold_scale(self.weigh)).float()
        weights = weights.masked_fill(~used, -1e9).softmax(1)
        weights = (weights * used).to(tokens.dtype)
        values = F.linear(tokens, self.norm_uses.fold_scale(self.value))
        values = values.unflatten(-1, (weights.shape[-1], -1))
        slots = slots + F.linear((values * weights[..., None]).sum(1).flatten(1), self.out)
        return slots + self.feed(slots, self.norm_feed)

    def broadcast(self, slots: Tensor, index: LexiconIndex) -> Tensor:
        """What the entries tell each study token [tokens, width]; 0 for those of no word."""
        return slot_lookup(self.norm_told(slots, self.told), index.study_slots)


def slot_lookup(slots: Tensor, slot_ids: Tensor) -> Tensor:
    """Rows of entries [entries + 1, width] for tokens [..]; 0 for those of no word."""
    return F.embedding(slot_ids, slots * _used_slot_mask(slots), padding_idx=len(slots) - 1)


def _used_slot_mask(slots: Tensor) -> Tensor:
    """1 for each entry, 0 for the spare one."""
    there = torch.ones(len(slots), 1, dtype=slots.dtype, device=slots.device)
    there[-1] = 0
    return there


# === What the staged network keeps of study examples, query and answer between decoding steps.


@dataclass
class StagedState(DecoderState):
    """What answering goes on from, a row for each query.

    Attributes:
        shown: the study examples.
        known: keys and values of the query and the answer so far, for each decoder layer.
        seen: BoolTensor [rows, tokens of `known`], those that are not padding.
        words: LongTensor [rows], words of each query.
        recent: [rows, kernel // 2, width], the latest tokens as embedded; 0 before the first.
        step: symbols answered so far.
    """

    study: StudyMemory
    cache: list[KeyValue]
    mask: Tensor
    query_lengths: Tensor
    recent: Tensor
    step: int = 0


# === The staged network: study examples are read, then queries, then answers are found.


CROSS_ATTENTION_LAYER = 1
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
            self.places = nn.Parameter(torch.randn(N_POSITIONS, width) * 0.3)
            self.neighbours = nn.Parameter(torch.randn(width, 1, config.kernel) * 0.3)
            self.encoder = nn.ModuleList(SelfAttentionBlock(config) for _ in range(layers))
            self.lexicon = nn.ModuleList(LexiconExchange(config) for _ in range(layers))
            self.norm_entry = RMSNormLinear(width)
            self.told = nn.Parameter(torch.eye(width) * LEXICON_INIT_SCALE)
            self.reader = _build_blocks(config, config.nlayers_query)
            self.norm_words = RMSNormLinear(width)
            self.decoder = _build_blocks(config, config.nlayers_decoder)
            self.norm_memory = RMSNormLinear(width)
            self.norm_out = RMSNormLinear(width)
            self.out = nn.Parameter(torch.randn(len(vocabulary.output), width) * 0.02)
        # Reads what a word means, which guidance asks for; no answer needs it.
        self.meaning = nn.Parameter(torch.zeros(n_meaning_logits(len(vocabulary.output)), width))
        as_read = torch.tensor(output_to_input_ids(vocabulary))
        self.register_buffer("as_read", as_read, persistent=False)

    def embedding_parameters(self) -> tuple[str, ...]:
        return ("symbols", "places", "out", "meaning")

    # --- episodes to batches

    def collate(self, episodes: Sequence[Episode]) -> StagedBatch:
        encoded = [
            encode_episode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)
        ]
        return collate_staged(encoded, self.vocabulary)

    def micro_batches(
        self, episodes: Sequence[Episode], max_tokens: int, min_batches: int = 1
    ) -> list[StagedBatch]:
        encoded = [
            encode_episode(i, episode, self.vocabulary) for i, episode in enumerate(episodes)
        ]
        pieces = split_episodes([e for e in encoded if e.query_lengths], max_tokens, min_batches)
        return [collate_staged(piece, self.vocabulary) for piece in pieces]

    # --- all target symbols of all queries at once

    def forward(self, batch: StagedBatch, generator: torch.Generator | None = None) -> Tensor:
        drop = Dropout(self.config.dropout if self.training else 0.0, generator)
        guide = AuxiliaryLoss(batch.aux_labels) if self.training and batch.aux_labels else None
        memory, told = self._encode_study(batch, drop, guide)
        for_words, for_answers = self._study_memory(memory, batch)
        tokens = self._local_conv(self._embed(batch), batch)
        words = self._encode_queries(
            self._compute_dtype(tokens[batch.word_index]), told, for_words, batch, drop
        )
        x = self._compute_dtype(tokens[batch.answer_index])
        rows = batch.answer_rows
        turned = self._rotary_angles(batch.offset[batch.answer_index], x)
        hidden = causal_answer_mask(batch.word_rows, rows)
        x, _ = self._decode(
            x, rows, self._query_cache(words, batch), for_answers, turned, hidden, drop, guide
        )
        self.auxiliary_loss = guide.total if guide else None
        return self._logits(rows.to_padded(x))

    # --- one symbol at a time

    @torch.no_grad()
    def encode(self, batch: StagedBatch) -> StagedState:
        memory, told = self._encode_study(batch, NOTHING_DROPPED)
        for_words, for_answers = self._study_memory(memory, batch)
        embedded = self._embed(batch)
        begun = self._compute_dtype(self._local_conv(embedded, batch)[batch.word_index])
        words = self._encode_queries(begun, told, for_words, batch, NOTHING_DROPPED)
        io = batch.answer_index[batch.answer_rows.unpack[:, 0]]
        before = torch.arange(-(self.config.kernel // 2), 0, device=io.device)
        there = batch.word_rows.lengths[:, None] + before >= 0
        recent = embedded[(io[:, None] + before).clamp(min=0)] * there[..., None]
        of_query = batch.episode_id
        # Contiguous, since every decoding step would copy them else.
        key, value = (x[of_query].contiguous() for x in (for_answers.key, for_answers.value))
        return StagedState(
            study=StudyMemory(key, value, batch.study_rows.lengths[of_query]),
            cache=self._query_cache(words, batch),
            mask=batch.word_rows.mask,
            query_lengths=batch.word_rows.lengths,
            recent=recent,
        )

    @torch.no_grad()
    def decode_step(self, state: StagedState, tokens: Tensor) -> Tensor:
        if state.step == 0:
            tokens = torch.full_like(tokens, self.vocabulary.input.index[IO])
        else:
            tokens = self.as_read[tokens]
        at = MAX_POSITION + min(state.step, MAX_POSITION - 1)
        x = self.symbols[tokens] + self.places[at]
        # The taps of the convolution that look back, the token's own among them.
        near = torch.cat((state.recent, x[:, None]), 1)
        back = self.neighbours[:, 0, : near.shape[1]]
        x = self._compute_dtype((x + (near * back.t()).sum(1))[:, None])
        state.recent = near[:, 1:]
        state.mask = torch.cat((state.mask, state.mask.new_ones(len(tokens), 1)), 1)
        turned = self._rotary_angles((state.query_lengths + state.step)[:, None], x)
        hidden = ~state.mask[:, None, None, :]
        x, state.cache = self._decode(x, None, state.cache, state.study, turned, hidden)
        state.step += 1
        return self._logits(x[:, 0])

    # --- the stages, in the order in which data pass them

    def _embed(self, batch: StagedBatch) -> Tensor:
        """Tokens of queries and answers [tokens, width], without neighbours."""
        return self.symbols[batch.query_tokens] + self.places[batch.query_positions]

    def _local_conv(self, tokens: Tensor, batch: StagedBatch) -> Tensor:
        """The same through the convolution that reads the study examples.

        A word's neighbours are words of its query; answers and IO have only those before them.
        """
        x, row, column = tokens, batch.query_id, batch.offset
        for tap, weight in enumerate(self.neighbours[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            there = torch.roll(column, -ahead)
            near = (torch.roll(row, -ahead) == row) & (there == column + ahead)
            if ahead > 0:
                near &= there < batch.word_rows.lengths[row]
            x = x + torch.roll(tokens, -ahead, 0) * (near[:, None] * weight)
        return x

    def _encode_study(
        self, batch: StagedBatch, drop: Dropout, aux_loss: AuxiliaryLoss | None = None
    ) -> tuple[Tensor, Tensor]:
        """The study tokens as read [tokens, width], and the lexicon [entries + 1, width]."""
        config, entries, rows = self.config, batch.lexicon_index, batch.study_rows
        x = self.symbols[batch.study_tokens] + self.places[batch.study_positions]
        # Else the last tokens of a row would see how far its batch is padded.
        x = x * (batch.study_tokens != self.vocabulary.input.pad)[..., None]
        neighbours = F.conv1d(
            x.transpose(1, 2), self.neighbours, padding=config.kernel // 2, groups=config.emb_size
        )
        x = rows.to_packed(self._compute_dtype(x + neighbours.transpose(1, 2)))
        held = x.new_zeros(len(entries.uses.lengths), config.emb_size)
        turned = self._rotary_angles(rows.position, x)
        hidden = within_example_mask(batch.example_ids, config.nheads, config.nheads_within)
        # One more layer has what attention found for the examples to learn from each other.
        guided = max(0, config.nlayers_encoder - 2)
        layers = cast(
            Iterable[tuple[SelfAttentionBlock, LexiconExchange]],
            zip(self.encoder, self.lexicon, strict=True),
        )
        for number, (layer, exchange) in enumerate(layers):
            q, k, v = layer.self_attn_qkv(x, turned, rows)
            if aux_loss and number == guided:
                unseen = hidden[:, 0] | ~rows.mask[:, None]
                aux_loss.add_attention_loss(
                    q[:, 0], k[:, 0], unseen, aux_loss.labels.study_alignment
                )
            found = attention(q, k, v, lengths=rows.lengths, blocked=hidden)
            x = x + drop(layer.self_attn_out(found, rows))
            x = x + drop(layer.mlp_out(x))
            held = exchange.aggregate(x, held, entries)
            # What one example alone tells does not say what a word means.
            if aux_loss and (number or config.nlayers_encoder == 1):
                aux_loss.add_meaning_loss(held[:-1], self.norm_entry, self.meaning)
            x = x + exchange.broadcast(held, entries)
        return x, self.norm_entry(held, self.told)

    def _study_memory(self, encoded: Tensor, batch: StagedBatch) -> tuple[StudyMemory, StudyMemory]:
        """The study examples as the words of queries, and as answers, look them up."""
        layers = (*self.reader, *self.decoder)
        looking = [layer for layer in layers if isinstance(layer, CrossAttentionBlock)]
        weights = [w for layer in looking for w in (layer.study.key, layer.study.value)]
        rows = batch.study_rows
        heads = split_heads(self.norm_memory(encoded, *weights), rows, self.config.nheads, 4)
        return (
            StudyMemory(heads[0], heads[1], rows.lengths, batch.episode_word_rows),
            StudyMemory(heads[2], heads[3], rows.lengths, batch.episode_answer_rows),
        )

    def _encode_queries(
        self, x: Tensor, lexicon: Tensor, study: StudyMemory, batch: StagedBatch, drop: Dropout
    ) -> Tensor:
        """The words [words, width] of all queries, read among those of their query."""
        rows = batch.word_rows
        x = x + slot_lookup(lexicon, batch.lexicon_index.query_slots)
        turned = self._rotary_angles(rows.position, x)
        hidden = padding_mask(rows)
        for layer in cast(Sequence[SelfAttentionBlock], self.reader):
            found = attention(*layer.self_attn_qkv(x, turned, rows), blocked=hidden)
            x = x + drop(layer.self_attn_out(found, rows))
            if isinstance(layer, CrossAttentionBlock):
                x = x + drop(layer.cross_attn_out(x, study))
            x = x + drop(layer.mlp_out(x))
        return x

    def _query_cache(self, words: Tensor, batch: StagedBatch) -> list[KeyValue]:
        """Keys and values of the words of queries for every decoder layer, a row for each query."""
        layers, rows = cast(Sequence[SelfAttentionBlock], self.decoder), batch.word_rows
        keys = split_half_layout([layer.own.key for layer in layers], self.config.nheads)
        found = self.norm_words(words, keys, *(layer.own.value for layer in layers))
        found = ApplyRotary.apply(found, *self._rotary_angles(rows.position, words, len(layers)))
        count = len(layers)
        parts = split_heads(found, rows, self.config.nheads, count, n_rotated=count)
        return list(zip(parts[:count], parts[count:], strict=True))

    def _decode(
        self,
        x: Tensor,
        rows: RaggedRows | None,
        cache: list[KeyValue],
        study: StudyMemory,
        rotation: CosSin,
        blocked: Tensor,
        drop: Dropout = NOTHING_DROPPED,
        aux_loss: AuxiliaryLoss | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
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
        now: list[KeyValue] = []
        # One more layer has what attention found.
        guided = max(0, len(cache) - 2)
        layers = cast(Sequence[SelfAttentionBlock], self.decoder)
        for number, (layer, (known_k, known_v)) in enumerate(zip(layers, cache, strict=True)):
            q, k, v = layer.self_attn_qkv(x, rotation, rows)
            k, v = torch.cat((known_k, k), 2), torch.cat((known_v, v), 2)
            now.append((k, v))
            if aux_loss and number == guided:
                aux_loss.add_attention_loss(
                    q[:, 0], k[:, 0], blocked[:, 0], aux_loss.labels.answer_alignment
                )
            x = x + drop(layer.self_attn_out(attention(q, k, v, blocked=blocked), rows))
            if isinstance(layer, CrossAttentionBlock):
                x = x + drop(layer.cross_attn_out(x, study))
            x = x + drop(layer.mlp_out(x))
        return x, now

    def _rotary_angles(self, positions: Tensor, x: Tensor, projections: int = 2) -> CosSin:
        """By which angles tokens at these places are turned, by default in queries and keys."""
        heads = self.config.nheads
        return rotary_angles(positions, self.config.emb_size // heads, projections * heads, x.dtype)

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.norm_out(x.float(), self.out)

    @staticmethod
    def _compute_dtype(x: Tensor) -> Tensor:
        """In bfloat16 under autocast, so that residuals are added in it as well."""
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _build_blocks(config: StagedConfig, count: int) -> nn.ModuleList:
    """Layers of queries or of answers."""
    looks_up = min(CROSS_ATTENTION_LAYER, count - 1)
    return nn.ModuleList(
        CrossAttentionBlock(config) if number == looks_up else SelfAttentionBlock(config)
        for number in range(count)
    )
