"""A trained network behind the protocol of everything that answers."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from biml.episodes.episode import Episode
from biml.evaluation import decode, score
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response
from biml.networks.base import EpisodeNetwork


@dataclass(frozen=True)
class NetworkResponder:
    """A network of any architecture; it computes where its parameters are.

    Attributes:
        network: the network.
        max_tokens: so many source tokens are computed together.
        batch_size: at most so many episodes are computed together; by default any number.
        precision: "fp32", or "bf16" for automatic mixed precision.
    """

    network: EpisodeNetwork
    max_tokens: int = decode.MAX_TOKENS
    batch_size: int | None = None
    precision: str = "fp32"

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.network.vocabulary.output.symbols

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in score.response_log_probs(
                    self.network, some, max_tokens=self.max_tokens
                )
            ]

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in decode.greedy_decode(
                    self.network, some, max_length, max_tokens=self.max_tokens
                )
            ]

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        return self.sample_with_lapse(episodes, 0.0, seed=seed, n=n, max_length=max_length)

    def sample_with_lapse(
        self,
        episodes: Sequence[Episode],
        p_lapse: float,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `biml.evaluation.lapsing.SamplesLapsing`."""
        # One generator for all batches, whose draws do not depend on how many there are.
        generator = torch.Generator().manual_seed(seed)
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in decode.sample_decode(
                    self.network,
                    some,
                    max_length,
                    generator=generator,
                    n=n,
                    p_lapse=p_lapse,
                    max_tokens=self.max_tokens,
                )
            ]

    def _batches(self, episodes: Sequence[Episode]) -> list[Sequence[Episode]]:
        size = self.batch_size or max(1, len(episodes))
        return [episodes[start : start + size] for start in range(0, len(episodes), size)]

    def _autocast(self) -> AbstractContextManager[object]:
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")
