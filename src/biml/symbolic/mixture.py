"""A mixture of whole answers, read symbol by symbol."""

from collections.abc import Iterable, Mapping

import numpy as np

from biml.errors import UsageError
from biml.evaluation.responder import Response

_PAST_END = -1
"""Stands behind the end of an answer."""


class ResponseMixture:
    """Answers and how probable each is: P(next symbol | symbols so far), marginalised exactly.

    The conditional probability of a symbol is the weight of all answers that go on with it over
    the weight of all answers that begin as given. Behind the end of an answer it leaves every
    choice as likely.

    Where no answer begins as given, as only a lapse can bring about, those answers count that
    differ from it in the fewest places, their ends among them, and each the less the more symbols
    stand behind its end, as it leaves them to chance: the limit of what a mixture with lapses would
    believe when lapses are rare. With a single answer this is the rule of the published oracle,
    which goes on with its own symbol at each place whatever came before.

    >>> mixture = ResponseMixture({("RED", "RED"): 0.9, ("RED", "BLUE"): 0.1}, ("RED", "BLUE"))
    >>> mixture(()).tolist(), mixture((0,)).tolist()  # RED, BLUE and the end
    ([1.0, 0.0, 0.0], [0.9, 0.1, 0.0])
    """

    def __init__(
        self, weights_by_response: Mapping[Response, float], choices: tuple[str, ...]
    ) -> None:
        """Take answers and weights.

        Args:
            answers: whole answers and their probabilities, all above zero; any sum.
            choices: the symbols they are made of, in the order of the probabilities given.
        Raises:
            UsageError: an answer has a symbol that is not a choice.
        """
        self.n_symbols = len(choices) + 1
        number = {symbol: i for i, symbol in enumerate(choices)}
        self.weights = np.array(list(weights_by_response.values()), dtype=float)
        longest = max(map(len, weights_by_response))
        self.token_ids = np.full((len(weights_by_response), longest + 1), _PAST_END)
        for row, answer in enumerate(weights_by_response):
            for place, symbol in enumerate(answer):
                if symbol not in number:
                    raise UsageError(
                        f"the answer '{' '.join(answer)}' has the symbol {symbol!r}, which is not "
                        f"among those to choose from ({' '.join(choices)})"
                    )
                self.token_ids[row, place] = number[symbol]
            self.token_ids[row, len(answer)] = len(choices)

    def __call__(self, prefix: tuple[int, ...]) -> np.ndarray:
        """Probabilities of the choices and of the end, given the numbers of the symbols so far."""
        places = min(len(prefix), self.token_ids.shape[1])
        so_far = self.token_ids[:, :places]
        ended = so_far == _PAST_END
        differ = ((so_far != prefix[:places]) & ~ended).sum(axis=1)
        chance = self.weights / float(self.n_symbols) ** ended.sum(axis=1)
        weights = np.where(differ == differ.min(), chance, 0.0)
        if len(prefix) >= self.token_ids.shape[1]:
            return np.full(self.n_symbols, 1 / self.n_symbols)
        following = self.token_ids[:, len(prefix)]
        past = following == _PAST_END
        given = np.bincount(following[~past], weights[~past], minlength=self.n_symbols)
        return (given + weights[past].sum() / self.n_symbols) / weights.sum()


def sum_duplicates(weighted: Iterable[tuple[Response, float]]) -> dict[Response, float]:
    """Answers with the summed weights of those that are the same; impossible ones are left out."""
    answers: dict[Response, float] = {}
    for answer, weight in weighted:
        if weight > 0:
            answers[answer] = answers.get(answer, 0.0) + weight
    return answers
