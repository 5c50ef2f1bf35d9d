"""Reading the study examples of an episode once, whatever is then made of them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biml.networks.attention import attention
from biml.networks.base import EpisodeNetwork
from biml.networks.dropout import Dropout
from biml.networks.fast_config import FastConfig
from biml.networks.fast_layers import Layer, Norm, Turn, project
from biml.networks.guidance import Guidance, meaning_size
from biml.networks.packed import PLACES, answer_symbols
from biml.vocabulary import Vocabulary

SLOWEST = 100.0
"""Ratio of the fastest to the slowest turn of rotary positions; rows are 20 to 150 tokens long."""


class StudyBatch(Protocol):
    """What is read of a batch; see `PackedBatch`."""

    study: Tensor
    study_places: Tensor
    example: Tensor
    lengths: Tensor


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

    def outer_parameters(self) -> tuple[str, ...]:
        return ("symbols", "places", "out", "meaning")

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
        layers = cast(Sequence[Layer], self.encoder)
        # One more layer has what attention found for the examples to learn from each other.
        guided = max(0, len(layers) - 2)
        for number, layer in enumerate(layers):
            own = project(layer.norm_own(x), layer.own.query, layer.own.key, layer.own.value)
            q, k, v = self._own(own, turns)
            if guide and number == guided:
                guide.attention(q[:, 0], k[:, 0], hidden[:, 0], guide.guides.study)
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
        q, k, v = self._heads(x, 3)
        return Turn.apply(q, *turns), Turn.apply(k, *turns), v

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """[rows, tokens, parts * width] to [parts, rows, heads, tokens, head size]."""
        return x.unflatten(-1, (parts, self.config.nheads, -1)).permute(2, 0, 3, 1, 4)

    def _feed_forward(self, layer: Layer, x: Tensor, drop: Dropout) -> Tensor:
        hidden = F.linear(layer.norm_feed(x), layer.feed.up)
        hidden = F.gelu(hidden) if self.config.activation == "gelu" else F.relu(hidden)
        return x + drop(F.linear(hidden, layer.feed.down))

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(self.norm_out(x.float()), self.out)

    @staticmethod
    def _working(x: Tensor) -> Tensor:
        """In bfloat16 under autocast, so that residuals are added in it as well."""
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
