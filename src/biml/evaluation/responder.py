"""The protocol of every model that answers queries, whether a network or a symbolic model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from biml.episodes.episode import Episode
from biml.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

Response = tuple[str, ...]

DEFAULT_MAX_LENGTH = 10
"""Symbols of the longest response by default, as published."""


class Responder(Protocol):
    """A model of responses to the queries of episodes, given their study examples.

    Likelihoods, analyses and reports use nothing else of a model. A lapse is added to the model's
    probabilities: with probability λ a symbol is any of the choices or the end, equally likely.
    """

    @property
    def symbols(self) -> tuple[str, ...]:
        """The output symbols to choose from, where an episode has no pool."""

    def log_prob(self, episodes: Sequence[Episode], /) -> "list[list[np.ndarray]]":
        """For each episode and query the natural log-probabilities of the target's symbols.

        Each array has one number per symbol and one for the end (EOS) last, without a lapse. A
        symbol outside the episode's pool has -inf; one unknown to this model is a UsageError.
        """

    def respond(
        self, episodes: Sequence[Episode], /, *, max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """For each episode and query the best response, cut at `max_length` symbols.

        The queries' targets must not be used.
        """

    def sample(
        self,
        episodes: Sequence[Episode],
        /,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
        p_lapse: float = 0.0,
    ) -> list[list[list[Response]]]:
        """For each episode and query `n` sampled responses; the same for the same seed.

        After a lapse the model continues from the symbols given so far.
        """


def fit_candidates(responder: Responder, task: str) -> "Sequence[Responder]":
    """The models among which a fit to the published responses of a task chose this one.

    Itself alone unless its attribute `fitted_to` names the task and it has `fit_candidates`; a
    responder without such attributes was fitted to nothing.
    """
    candidates: Callable[[], Sequence[Responder]] | None
    candidates = getattr(responder, "fit_candidates", None)
    if candidates is None or task not in getattr(responder, "fitted_to", ()):
        return [responder]
    return candidates()


def check_lapse(p_lapse: float) -> None:
    """Raise UsageError unless a lapse rate is a probability."""
    if not 0 <= p_lapse <= 1:
        raise UsageError(f"a lapse rate is a probability from 0 to 1, not {p_lapse}")
