"""What everything that answers can do, whether a network or a symbolic model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from biml.episodes.episode import Episode

Response = tuple[str, ...]

DEFAULT_MAX_LENGTH = 10
"""Symbols that an answer may have by default, as published."""


class Responder(Protocol):
    """Answers the queries of episodes, given their study examples; a lapse is put on top of it.

    Likelihoods, behaviour and reports see nothing but this. A model is added by writing one class.
    """

    @property
    def symbols(self) -> tuple[str, ...]:
        """The output symbols it chooses from; a lapse picks one of them or the end."""

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        """For each episode and query the natural log-probabilities of the target's symbols.

        Each array has one number a symbol and one for the end (EOS) last; no lapse is in them. A
        symbol that the episode's pool does not have is impossible (-inf).

        Raises:
            UsageError: this responder does not know a symbol.
        """

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """For each episode and query the best answer, cut at `max_length` symbols.

        Targets are not looked at.
        """

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """For each episode and query `n` drawn answers; the same for the same seed."""
