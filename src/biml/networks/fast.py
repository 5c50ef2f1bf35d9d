"""The fast network: study examples are read once an episode, and queries look things up in them."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.attention import attention
from biml.networks.dropout import Dropout
from biml.networks.encoded import Encoded
from biml.networks.fast_layers import DecoderLayer, Regather, project
from biml.networks.guidance import Guidance
from biml.networks.packed import PackedBatch, hidden_tokens, pack_episodes
from biml.networks.study import AnswerMemory, Found, StudyNetwork

GUIDED = 2
"""The decoder layer in which guidance tells one head where to look, at words that know by then what
they mean; later layers look up symbols."""


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

    def _pack(self, episodes: Sequence[Encoded]) -> PackedBatch:
        return pack_episodes(episodes, self.vocabulary)

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
        place = torch.arange(batch.unpack.shape[1], device=x.device)
        filled = place < batch.tokens[:, None]
        turns = self._turns(place, x.dtype)
        guided = min(GUIDED, len(study) - 1)
        layers = cast(Sequence[DecoderLayer], self.decoder)
        for number, (layer, (k, v)) in enumerate(zip(layers, study, strict=True)):
            normed = layer.norm_own(x)
            own = project(normed, layer.own.query, layer.own.key, layer.own.value)
            rows = Regather.apply(own.flatten(0, 1), batch.unpack.flatten(), batch.pack)
            q, own_k, own_v = self._own(rows.view(*batch.unpack.shape, -1), turns)
            if guide and number == guided:
                guide.meaning(normed, guide.guides.asked_words, self.meaning)
                guide.attention(q[:, 0], own_k[:, 0], hidden[:, 0], guide.guides.answers)
            y = attention(q, own_k, own_v, hidden=hidden).transpose(1, 2).flatten(2)
            # Going back, each place behind a row's end would get the gradient of some token.
            y = (y * filled[..., None]).flatten(0, 1)
            y = Regather.apply(y, batch.pack, batch.unpack.flatten()).view(shape)
            x = x + drop(F.linear(y, layer.own.out))
            (q,) = self._heads(project(layer.norm_study(x), layer.study.query), 1)
            y = attention(q, k, v, lengths=batch.lengths)
            x = x + drop(F.linear(y.transpose(1, 2).flatten(2), layer.study.out))
            x = self._feed_forward(layer, x, drop)
        self.guidance = guide.total if guide else None
        answers = x.flatten(0, 1)[batch.answers]
        return self._logits(answers)

    @torch.no_grad()
    def remember(self, batch: PackedBatch) -> AnswerMemory:
        read = self._lookups(self._read_study(batch, Dropout()))
        # Contiguous, since every decoding step would copy them else.
        study: list[Found | None] = [
            (k[batch.episode].contiguous(), v[batch.episode].contiguous()) for k, v in read
        ]
        rows = len(batch.episode)
        longest = int(batch.words.max()) if rows else 0
        words = batch.words[:rows]
        place = torch.arange(longest, device=words.device)
        seen = place < words[:, None]
        x = self._read_asked(batch).flatten(0, 1)[batch.unpack[:rows, :longest]]
        last = self.last_places(words)
        at = batch.unpack[:rows].gather(1, last.clamp(min=0))
        recent = self._embedded(batch, at) * (last >= 0)[..., None]
        memory = AnswerMemory(study, [], batch.lengths[batch.episode], seen, words, recent)
        # A row's padding sees that row's words, which keeps it finite; nothing sees the padding.
        hidden = ~seen[:, None, None, :].expand(-1, -1, longest, -1)
        self._decode(memory, self._working(x), place, hidden)
        return memory

    def _read_asked(self, batch: PackedBatch) -> Tensor:
        """Queries and answers [episodes, P, width] through the convolution."""
        row = batch.pack.div(batch.unpack.shape[1], rounding_mode="floor")
        column = batch.pack.remainder(batch.unpack.shape[1])
        row, column = row.view(batch.asked.shape), column.view(batch.asked.shape)
        return self._beside(self._embedded(batch), row, column, batch.words)

    def _lookups(self, memory: Tensor) -> list[Found]:
        """Keys and values of the study examples for every decoder layer, in one product."""
        layers = cast(Sequence[DecoderLayer], self.decoder)
        weights = [w for layer in layers for w in (layer.study.key, layer.study.value)]
        both = self._heads(project(memory, *weights), len(weights)).unbind()
        return list(zip(both[0::2], both[1::2], strict=True))
