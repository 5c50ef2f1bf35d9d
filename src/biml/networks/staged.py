"""The staged network: it encodes the study examples once an episode, then queries, then responses.

The published network (`seq2seq`) reads the study examples again for each query. This one needs
about a tenth of the arithmetic, and its loss has shorter plateaus; see docs/staged-network.md.

    study examples                          query words          IO, response so far
    SOS dax IO RED SOS wif lug IO …         wif lug fep          IO BLUE …
          │                                      │                    │
    ──────┴─── token + position embedding, then local convolution ────┴──────
          │                                      │                    │
    ┌─────▼─────┐   pool    ┌─────────┐  slots ┌─▼───────┐  keys,   ┌─▼───────┐
    │  encoder  │ ────────► │ lexicon │ ─────► │ query   │ values   │ decoder │ ──► logits of the
    │ 5 layers  │ ◄──────── │ a slot  │        │ encoder │ ───────► │         │     next symbol
    │           │ broadcast │ a word  │        │ 4 layers│          │ 4 layers│
    └─────┬─────┘           └─────────┘        └─▲───────┘          └─▲───────┘
          └───────── study memory ── cross-attention ─────────────────┘

Ideas and their sources:

- pre-norm blocks with RMSNorm (Zhang & Sennrich 2019) and rotary positions (Su et al. 2021);
- mimetic initialisation (Trockman & Kolter 2023): attention begins as a search for equal tokens;
- a short depthwise convolution (as in Primer, So et al. 2021) binds each token to its neighbours;
- learned positions beside the rotary ones; in responses a token has the position of the symbol that
  it predicts;
- the lexicon: one slot for each word type of an episode pools all its uses and initialises the
  word's embedding in queries; some encoder heads see only their own study example;
- auxiliary losses on inner layers (deep supervision, Lee et al. 2015; `auxiliary_loss`);
- the optimiser Muon (Jordan et al. 2024; `biml.training.optim`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.networks.attention import NO_DROPOUT, Dropout, attention
from biml.networks.auxiliary_loss import AuxiliaryLoss, n_meaning_logits
from biml.networks.base import DecoderState, EpisodeNetwork
from biml.networks.batching import RaggedRows
from biml.networks.hooks import active_hooks
from biml.networks.staged_batch import (
    StagedBatch,
    TokenizedEpisode,
    output_position,
    pad_episodes,
    tokenize_episode,
)
from biml.networks.staged_layers import (
    LEXICON_INIT_SCALE,
    ApplyRotary,
    AttentionBlock,
    CosSin,
    KeyValue,
    LexiconExchange,
    RMSNormLinear,
    Slots,
    StagedConfig,
    StudyMemory,
    Tokens,
    causal_answer_mask,
    padding_mask,
    rotary_angles,
    slot_lookup,
    split_half_layout,
    split_heads,
    within_example_mask,
)
from biml.vocabulary import IO, Vocabulary

CROSS_ATTENTION_LAYER = 1  # of the query encoder, and of the decoder


@dataclass
class StagedState(DecoderState):
    study: StudyMemory
    cache: list[KeyValue]  # of the query and the response so far, for each decoder layer
    mask: Bool[Tensor, "query cached"]  # True: a token of the cache, not padding
    query_lengths: Int[Tensor, " query"]
    recent: Float[Tensor, "query taps emb"]  # latest embeddings, for the convolution; 0 before
    step: int = 0


class StagedNetwork(EpisodeNetwork):
    """Study examples → encoder ⇄ lexicon → query encoder → decoder → logits.

    The input vocabulary must contain all output symbols.
    """

    output_to_input: Tensor
    _study: tuple[tuple[Tensor, Tensor], tuple[Tokens, Slots]] | None = None

    def __init__(self, config: StagedConfig, vocabulary: Vocabulary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        width, layers = config.emb_size, config.nlayers_encoder
        n_inputs, n_outputs = len(vocabulary.input), len(vocabulary.output)
        # Optimiser states in checkpoints depend on the order of the parameters.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_embedding = nn.Parameter(torch.randn(n_inputs, width) * 0.7)
            positions = 2 * config.max_positions + 2  # words, output symbols, IO and separator
            self.position_embedding = nn.Parameter(torch.randn(positions, width) * 0.3)
            self.local_conv = nn.Parameter(torch.randn(width, 1, config.kernel) * 0.3)
            self.encoder = nn.ModuleList(AttentionBlock(config) for _ in range(layers))
            self.lexicon = nn.ModuleList(LexiconExchange(config) for _ in range(layers))
            self.lexicon_norm = RMSNormLinear(width)
            self.lexicon_proj = nn.Parameter(torch.eye(width) * LEXICON_INIT_SCALE)
            self.query_encoder = _build_blocks(config, config.nlayers_query)
            self.query_norm = RMSNormLinear(width)
            self.decoder = _build_blocks(config, config.nlayers_decoder)
            self.study_norm = RMSNormLinear(width)
            self.out_norm = RMSNormLinear(width)
            self.out = nn.Parameter(torch.randn(n_outputs, width) * 0.02)
        # Only for the auxiliary loss on meanings.
        self.meaning_proj = nn.Parameter(torch.zeros(n_meaning_logits(n_outputs), width))
        read = vocabulary.input  # responses are read like the outputs of study examples
        symbol_ids = [read.index[symbol] for symbol in vocabulary.output.symbols]
        read_ids = [*symbol_ids, read.sos, read.eos, read.pad]
        self.register_buffer("output_to_input", torch.tensor(read_ids), persistent=False)

    def embedding_parameters(self) -> tuple[str, ...]:
        return ("token_embedding", "position_embedding", "out", "meaning_proj")

    def tokenize(self, index: int, episode: Episode) -> list[TokenizedEpisode]:
        item = tokenize_episode(index, episode, self.vocabulary, self.config.max_positions)
        return [item] if item.query_lengths else []

    def pad(self, items: Sequence[TokenizedEpisode]) -> StagedBatch:
        return pad_episodes(items, self.vocabulary)

    def source_tokens(self, batch: StagedBatch) -> tuple[Tensor, Tensor]:
        examples = batch.example_ids[0].clone()
        examples[0] = -1  # the separator before the first
        length = batch.study_rows.lengths[0]
        return batch.study_tokens[0, :length], examples[:length]

    # --- training: all target symbols of all queries at once

    def forward(
        self, batch: StagedBatch, generator: torch.Generator | None = None
    ) -> Float[Tensor, "query out vocab"]:
        drop = Dropout(self.config.dropout if self.training else 0.0, generator)
        labels = batch.aux_labels if self.training else None
        aux_loss = AuxiliaryLoss(labels) if labels else None
        encoded, lexicon = self._encode_study(batch, drop, aux_loss)
        study_for_words, study_for_answers = self._study_memory(encoded, batch)
        tokens = self._embed(batch.query_tokens, batch.query_positions)
        tokens = self._convolve_queries(tokens, batch)
        words = self._compute_dtype(tokens[batch.word_index])
        words = self._encode_queries(words, lexicon, study_for_words, batch, drop)
        x = self._compute_dtype(tokens[batch.answer_index])
        rows = batch.answer_rows
        rotation = self._rotary_angles(batch.offset[batch.answer_index], x)
        blocked = causal_answer_mask(batch.word_rows, rows)
        cache = self._query_cache(words, batch)
        if active_hooks(self):
            study_for_answers = study_for_answers.of_queries(batch.episode_id, rows)
        x, _ = self._decode(x, rows, cache, study_for_answers, rotation, blocked, drop, aux_loss)
        self.auxiliary_loss = aux_loss.total if aux_loss else None
        return self._logits(rows.to_padded(x))

    # --- decoding: one symbol at a time

    @torch.no_grad()
    def encode(self, batch: StagedBatch) -> StagedState:
        encoded, lexicon = self._encode_study(batch, NO_DROPOUT)
        study_for_words, study_for_answers = self._study_memory(encoded, batch)
        embedded = self._embed(batch.query_tokens, batch.query_positions)
        words = self._compute_dtype(self._convolve_queries(embedded, batch)[batch.word_index])
        words = self._encode_queries(words, lexicon, study_for_words, batch, NO_DROPOUT)
        io = batch.answer_index[batch.answer_rows.unpack[:, 0]]
        before = torch.arange(-(self.config.kernel // 2), 0, device=io.device)
        exists = batch.word_rows.lengths[:, None] + before >= 0
        recent = embedded[(io[:, None] + before).clamp(min=0)] * exists[..., None]
        return StagedState(
            study=study_for_answers.of_queries(batch.episode_id),
            cache=self._query_cache(words, batch),
            mask=batch.word_rows.mask,
            query_lengths=batch.word_rows.lengths,
            recent=recent,
        )

    @torch.no_grad()
    def decode_step(
        self, state: StagedState, tokens: Int[Tensor, " query"]
    ) -> Float[Tensor, "query vocab"]:
        if state.step == 0:
            tokens = torch.full_like(tokens, self.vocabulary.input.index[IO])
        else:
            tokens = self.output_to_input[tokens]
        position = output_position(state.step, self.config.max_positions)
        x = self.token_embedding[tokens] + self.position_embedding[position]
        window = torch.cat((state.recent, x[:, None]), 1)
        taps = self.local_conv[:, 0, : window.shape[1]]  # up to the token itself
        x = self._compute_dtype((x + (window * taps.t()).sum(1))[:, None])
        state.recent = window[:, 1:]
        state.mask = torch.cat((state.mask, state.mask.new_ones(len(tokens), 1)), 1)
        rotation = self._rotary_angles((state.query_lengths + state.step)[:, None], x)
        blocked = ~state.mask[:, None, None, :]
        x, state.cache = self._decode(
            x, None, state.cache, state.study, rotation, blocked, start=state.step
        )
        state.step += 1
        return self._logits(x, state.step - 1)[:, 0]

    # --- stages, in the order of the data flow

    def _encode_study(
        self, batch: StagedBatch, drop: Dropout, aux_loss: AuxiliaryLoss | None = None
    ) -> tuple[Tokens, Slots]:
        """Encode the study tokens and the lexicon, or remember them from the batch before."""
        if not self.remembers_study or active_hooks(self):
            return self._encode_new_study(batch, drop, aux_loss)
        texts = batch.study_tokens, batch.study_positions
        if self._study is None or not all(map(torch.equal, texts, self._study[0])):
            self._study = texts, self._encode_new_study(batch, drop, aux_loss)
        return self._study[1]

    def _encode_new_study(
        self, batch: StagedBatch, drop: Dropout, aux_loss: AuxiliaryLoss | None
    ) -> tuple[Tokens, Slots]:
        config, index, rows = self.config, batch.lexicon_index, batch.study_rows
        x = self._embed(batch.study_tokens, batch.study_positions)
        # Otherwise the last tokens of a row would depend on the padding of the batch.
        x = x * (batch.study_tokens != self.vocabulary.input.pad)[..., None]
        conv = F.conv1d(
            x.transpose(1, 2), self.local_conv, padding=config.kernel // 2, groups=config.emb_size
        )
        x = rows.to_packed(self._compute_dtype(x + conv.transpose(1, 2)))
        hooks = self.at("encoder", rows)
        x = hooks("embedding", x)
        slot_hooks = self.at("lexicon", _slot_rows(batch) if hooks.find else None)
        slots = x.new_zeros(len(index.uses.lengths), config.emb_size)
        rotation = self._rotary_angles(rows.position, x)
        blocked = within_example_mask(batch.example_ids, config.nheads, config.nheads_within)
        aligned_layer = max(0, config.nlayers_encoder - 2)  # one more layer can use what it finds
        layers = cast(
            Iterable[tuple[AttentionBlock, LexiconExchange]],
            zip(self.encoder, self.lexicon, strict=True),
        )
        for number, (block, exchange) in enumerate(layers):
            q, k, v = block.self_attn_qkv(x, rotation, rows)
            if aux_loss and number == aligned_layer:
                invisible = blocked[:, 0] | ~rows.mask[:, None]
                targets = aux_loss.labels.study_alignment
                aux_loss.add_attention_loss(q[:, 0], k[:, 0], invisible, targets)
            at = hooks.layer(number)
            attended = attention(q, k, v, lengths=rows.lengths, blocked=blocked, at=at)
            x = block.add_branches(x, attended, rows, drop, at=at)
            slots = exchange.aggregate(x, slots, index)
            slots = slot_hooks.layer(number)("output", slots)
            # Not after the first layer: one example alone does not determine a meaning.
            if aux_loss and (number or config.nlayers_encoder == 1):
                aux_loss.add_meaning_loss(slots[:-1], self.lexicon_norm, self.meaning_proj)
            x = x + exchange.broadcast(slots, index)
        return x, self.lexicon_norm(slots, self.lexicon_proj)

    def _study_memory(self, encoded: Tokens, batch: StagedBatch) -> tuple[StudyMemory, StudyMemory]:
        """Project keys and values for cross-attention in query encoder and decoder."""
        blocks = cast(Iterable[AttentionBlock], (*self.query_encoder, *self.decoder))
        cross = [block.cross_attn for block in blocks if block.cross]
        weights = [matrix for attn in cross for matrix in (attn.key, attn.value)]
        rows = batch.study_rows
        heads = split_heads(self.study_norm(encoded, *weights), rows, self.config.nheads, 4)
        return (
            StudyMemory(heads[0], heads[1], rows.lengths, batch.episode_word_rows),
            StudyMemory(heads[2], heads[3], rows.lengths, batch.episode_answer_rows),
        )

    def _embed(self, tokens: Int[Tensor, "*tok"], positions: Int[Tensor, "*tok"]) -> Tokens:
        return self.token_embedding[tokens] + self.position_embedding[positions]

    def _convolve_queries(self, tokens: Tokens, batch: StagedBatch) -> Tokens:
        """Add the local convolution within each query, causal in responses."""
        x, row, column = tokens, batch.query_id, batch.offset
        for tap, weight in enumerate(self.local_conv[:, 0].t()):
            ahead = tap - self.config.kernel // 2
            neighbour = torch.roll(column, -ahead)
            visible = (torch.roll(row, -ahead) == row) & (neighbour == column + ahead)
            if ahead > 0:
                visible &= neighbour < batch.word_rows.lengths[row]
            x = x + torch.roll(tokens, -ahead, 0) * (visible[:, None] * weight)
        return x

    def _encode_queries(
        self, x: Tokens, lexicon: Slots, study: StudyMemory, batch: StagedBatch, drop: Dropout
    ) -> Tokens:
        rows = batch.word_rows
        x = x + slot_lookup(lexicon, batch.lexicon_index.query_slots)
        hooks = self.at("query_encoder", rows)
        x = hooks("embedding", x)
        if hooks.find:
            study = study.of_queries(batch.episode_id, rows)
        rotation = self._rotary_angles(rows.position, x)
        blocked = padding_mask(rows)
        for i, block in enumerate(cast(Sequence[AttentionBlock], self.query_encoder)):
            at = hooks.layer(i)
            attended = attention(*block.self_attn_qkv(x, rotation, rows), blocked=blocked, at=at)
            x = block.add_branches(x, attended, rows, drop, study, at)
        return x

    def _query_cache(self, words: Tokens, batch: StagedBatch) -> list[KeyValue]:
        """Project keys and values of the query's words for every decoder layer."""
        layers = [block.self_attn for block in cast(Sequence[AttentionBlock], self.decoder)]
        count, rows, heads = len(layers), batch.word_rows, self.config.nheads
        keys = split_half_layout([attn.key for attn in layers], heads)
        projected = self.query_norm(words, keys, *(attn.value for attn in layers))
        projected = ApplyRotary.apply(projected, *self._rotary_angles(rows.position, words, count))
        parts = split_heads(projected, rows, heads, count, n_rotated=count)
        return list(zip(parts[:count], parts[count:], strict=True))

    def _decode(
        self,
        x: Tokens,
        rows: RaggedRows | None,
        cache: list[KeyValue],
        study: StudyMemory,
        rotation: CosSin,
        blocked: Bool[Tensor, "query 1 answer cached+answer"],
        drop: Dropout = NO_DROPOUT,
        aux_loss: AuxiliaryLoss | None = None,
        start: int = 0,
    ) -> tuple[Tokens, list[KeyValue]]:
        """Decode response tokens from the position `start` on; extend the cache by them."""
        hooks = self.at("decoder", rows, start)
        x = hooks("embedding", x)
        extended: list[KeyValue] = []
        aligned_layer = max(0, len(cache) - 2)
        layers = cast(Sequence[AttentionBlock], self.decoder)
        for number, (block, (cached_k, cached_v)) in enumerate(zip(layers, cache, strict=True)):
            q, k, v = block.self_attn_qkv(x, rotation, rows)
            k, v = torch.cat((cached_k, k), 2), torch.cat((cached_v, v), 2)
            extended.append((k, v))
            if aux_loss and number == aligned_layer:
                targets = aux_loss.labels.answer_alignment
                aux_loss.add_attention_loss(q[:, 0], k[:, 0], blocked[:, 0], targets)
            at = hooks.layer(number)
            attended = attention(q, k, v, blocked=blocked, at=at)
            x = block.add_branches(x, attended, rows, drop, study, at)
        return x, extended

    def _logits(
        self, x: Float[Tensor, "query out emb"], start: int = 0
    ) -> Float[Tensor, "query out vocab"]:
        with torch.autocast(x.device.type, enabled=False):
            logits = self.out_norm(x.float(), self.out)
        return self.at("decoder", start=start)("logits", logits)

    def _rotary_angles(
        self, positions: Int[Tensor, "*tok"], x: Tensor, projections: int = 2
    ) -> CosSin:
        config, heads = self.config, self.config.nheads
        head_size = config.emb_size // heads
        return rotary_angles(positions, head_size, projections * heads, x.dtype, config.rotary_base)

    @staticmethod
    def _compute_dtype(x: Tensor) -> Tensor:
        """Cast to bfloat16 under autocast, so that residuals are added in it as well."""
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _slot_rows(batch: StagedBatch) -> RaggedRows:
    """The slots of each episode, without the spare one."""
    first_use = batch.lexicon_index.uses.unpack[:-1, 0]
    episode = batch.study_rows.pack[first_use] // batch.study_rows.unpack.shape[1]
    counts = torch.bincount(episode, minlength=len(batch.study_tokens)).cpu().numpy()
    return RaggedRows.from_lengths(counts, n_padding=1).to(episode.device)


def _build_blocks(config: StagedConfig, count: int) -> nn.ModuleList:
    """Build a query encoder or decoder: blocks, one of them with cross-attention."""
    cross = min(CROSS_ATTENTION_LAYER, count - 1)
    return nn.ModuleList(AttentionBlock(config, cross=i == cross) for i in range(count))
