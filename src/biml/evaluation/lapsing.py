"""A responder that lapses: what sampled answers need, as likelihoods have `likelihood.lapse`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from biml.episodes.episode import Episode, Example
from biml.evaluation.likelihood import apply_lapse
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response, Responder
from biml.rng import derive_seed


@runtime_checkable
class SamplesLapsing(Protocol):
    """A responder that can lapse as it draws, which spares scoring every choice at every step."""

    def sample_with_lapse(
        self,
        episodes: Sequence[Episode],
        p_lapse: float,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """As `Responder.sample`, with the lapse."""


@dataclass(frozen=True)
class Lapsing:
    """Any responder with a lapse: with probability λ a symbol is any choice or the end.

    After a lapse the responder goes on from the symbols that were really given.

    Attributes:
        responder: what answers when there is no lapse.
        p_lapse: λ, from 0 to 1.
    """

    responder: Responder
    p_lapse: float

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.responder.symbols

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        """See `Responder`; the lapse is in the probabilities."""
        return [
            [
                apply_lapse(values, self.p_lapse, len(self._choices(episode)) + 1)
                for values in scored
            ]
            for episode, scored in zip(episodes, self.responder.log_prob(episodes), strict=True)
        ]

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """See `Responder`; a lapse does not change what is likeliest."""
        return self.responder.respond(episodes, max_length)

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `Responder`; one that cannot lapse by itself is asked for every choice, slowly."""
        if not self.p_lapse:
            return self.responder.sample(episodes, seed=seed, n=n, max_length=max_length)
        if isinstance(self.responder, SamplesLapsing):
            return self.responder.sample_with_lapse(
                episodes, self.p_lapse, seed=seed, n=n, max_length=max_length
            )
        rng = np.random.default_rng(derive_seed(seed, "lapse"))
        answers: list[list[list[Response]]] = [[[()] * n for _ in e.queries] for e in episodes]
        opened = [
            (e, q, i)
            for e, episode in enumerate(episodes)
            for q in range(len(episode.queries))
            for i in range(n)
        ]
        for _ in range(max_length):
            asked = [(episodes[e], q, answers[e][q][i]) for e, q, i in opened]
            drawn = [_sample_index(*step, rng.random()) for step in self._next_probabilities(asked)]
            goes_on = []
            for (e, q, i), symbol in zip(opened, drawn, strict=True):
                if symbol is not None:
                    answers[e][q][i] = (*answers[e][q][i], symbol)
                    goes_on.append((e, q, i))
            opened = goes_on
        return answers

    def _choices(self, episode: Episode) -> tuple[str, ...]:
        return self.symbols if episode.pool is None else episode.pool

    def _next_probabilities(
        self, queries: Sequence[tuple[Episode, int, Response]]
    ) -> list[tuple[tuple[str, ...], np.ndarray]]:
        """For each (episode, query, symbols so far) the choices and the probability of each next.

        A responder only scores given answers, so each choice is put behind the symbols so far.
        """
        scoring = [
            replace(
                episode,
                queries=tuple(
                    Example(episode.queries[q].input, (*begun, symbol))
                    for symbol in self._choices(episode)
                ),
            )
            for episode, q, begun in queries
        ]
        steps = []
        for (episode, _, begun), scored in zip(queries, self.log_prob(scoring), strict=True):
            probabilities = np.exp([values[len(begun)] for values in scored])
            steps.append((self._choices(episode), probabilities))
        return steps


def _sample_index(
    choices: tuple[str, ...], probabilities: np.ndarray, uniform: float
) -> str | None:
    """The choice that a uniform draw falls on, or None where it falls on the end."""
    number = int(np.searchsorted(probabilities.cumsum(), uniform, side="right"))
    return choices[number] if number < len(choices) else None
