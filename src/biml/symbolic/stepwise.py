"""What all symbolic models share: an answer is given symbol by symbol, each with a probability."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from biml.episodes.episode import COLOURS, Episode
from biml.errors import UsageError
from biml.evaluation.likelihood import check_lapse
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response
from biml.rng import derive_seed

NextTokenFn = Callable[[tuple[int, ...]], np.ndarray]
"""Numbers of the symbols so far -> probabilities of each choice and, last, of the end.

A symbol so far that is none of the choices has a number of its own, that behind the end.
"""


class TokenwiseModel(ABC):
    """A `Responder` made of one method, `reader`: the probabilities of each next symbol.

    The choices are the symbols of the episode's pool, or the responder's where it has none. No
    lapse is in the probabilities: it is put on top, as on those of a network.

    Attributes:
        symbols: the output symbols it chooses from.
    """

    symbols: tuple[str, ...] = COLOURS

    @abstractmethod
    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        """Ready to answer one query of an episode, whose targets are not to be looked at.

        Args:
            episode: gives study examples, grammar and renaming.
            words: the query.
            choices: the symbols to choose from; `Next` numbers them in this order.
        Raises:
            UsageError: this model cannot answer such an episode; the message says why.
        """

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        """See `Responder`; a probability of zero has the logarithm -inf."""
        with np.errstate(divide="ignore"):
            return [
                [np.log(self._response_probabilities(read, query.output)) for read, query in asked]
                for episode in episodes
                for asked in [
                    list(zip(self._next_token_fns(episode), episode.queries, strict=True))
                ]
            ]

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """See `Responder`; of symbols that are as likely the first one is taken."""
        return [
            [
                self._generate(read, max_length, lambda probabilities: int(probabilities.argmax()))
                for read in self._next_token_fns(episode)
            ]
            for episode in episodes
        ]

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `Responder`."""
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
        check_lapse(p_lapse)
        rng = np.random.default_rng(derive_seed(seed, "symbolic"))

        def draw(probabilities: np.ndarray) -> int:
            reached = ((1 - p_lapse) * probabilities + p_lapse / len(probabilities)).cumsum()
            return int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))

        return [
            [
                [self._generate(read, max_length, draw) for _ in range(n)]
                for read in self._next_token_fns(episode)
            ]
            for episode in episodes
        ]

    def _next_token_fns(self, episode: Episode) -> list["_Memo"]:
        """A reader for each query; queries of the same words share one."""
        choices = self.symbols if episode.pool is None else episode.pool
        made: dict[tuple[str, ...], _Memo] = {}
        for query in episode.queries:
            if query.input not in made:
                made[query.input] = _Memo(
                    self.next_token_fn(episode, query.input, choices), choices
                )
        return [made[query.input] for query in episode.queries]

    def _response_probabilities(
        self, next_probabilities: "_Memo", response: Response
    ) -> np.ndarray:
        for symbol in response:
            if symbol not in (*self.symbols, *next_probabilities.choices):
                raise UsageError(
                    f"the symbol {symbol!r} is not among those of this model "
                    f"({' '.join(self.symbols)}); rename the episode or name its symbols"
                )
        numbers = next_probabilities.encode(response)
        end = len(next_probabilities.choices)
        return np.array(
            [next_probabilities(numbers[:i])[n] if n <= end else 0.0 for i, n in enumerate(numbers)]
        )

    def _generate(
        self, next_probabilities: "_Memo", max_length: int, choose: Callable[[np.ndarray], int]
    ) -> Response:
        answer: tuple[int, ...] = ()
        while len(answer) < max_length:
            number = choose(next_probabilities(answer))
            if number == len(next_probabilities.choices):
                break
            answer = (*answer, number)
        return tuple(next_probabilities.choices[number] for number in answer)


class _Memo:
    """The next-symbol probabilities of one query, each beginning computed once."""

    def __init__(self, compute: NextTokenFn, choices: tuple[str, ...]) -> None:
        self.choices = choices
        self._compute = compute
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def __call__(self, begun: tuple[int, ...]) -> np.ndarray:
        if begun not in self._cache:
            self._cache[begun] = self._compute(begun)
        return self._cache[begun]

    def encode(self, response: Response) -> tuple[int, ...]:
        """Numbers of the symbols, that of the end last."""
        end = len(self.choices)
        number = {symbol: i for i, symbol in enumerate(self.choices)}
        return (*[number.get(symbol, end + 1) for symbol in response], end)
