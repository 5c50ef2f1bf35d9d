"""Log-likelihood of responses: the lapse, its fit, and repeated passes (paper, Methods).

The lapse sits on top of every model alike: with probability λ a person does not follow the model
but picks any of the output symbols or the end, so P = (1-λ) P_model + λ/|S| for each symbol.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.evaluation.responder import Responder, check_lapse

LAPSE_GRID = (*(n / 100 for n in range(1, 10)), *(n / 10 for n in range(1, 10)))
"""The lapse rates that the fit tries, as published: 0.01 … 0.09, 0.1 … 0.9."""


def apply_lapse(log_prob: np.ndarray, p_lapse: float, n_symbols: int | np.ndarray) -> np.ndarray:
    """Log-probabilities with a lapse: log((1-λ) exp(log_prob) + λ / n_symbols).

    Args:
        log_prob: natural logs of the model's probabilities, of any shape; -inf is allowed.
        p_lapse: λ, from 0 to 1.
        n_symbols: how many symbols a lapse picks from, the end among them.
    Raises:
        UsageError: λ is not a probability.

    >>> apply_lapse(np.log([0.5, 0.01]), 0.1, 4).round(4)
    array([-0.7444, -3.3814])
    """
    check_lapse(p_lapse)
    if p_lapse == 0:
        return log_prob
    with np.errstate(divide="ignore"):
        return np.logaddexp(log_prob + np.log1p(-p_lapse), np.log(p_lapse / n_symbols))


@dataclass(frozen=True)
class TokenScores:
    """What one pass over the responses gave, symbol by symbol, EOS included.

    Attributes:
        log_prob: natural logs of the model's probabilities, without lapse [symbols].
        n_symbols: how many symbols a lapse would pick from at each of them [symbols].
    """

    log_prob: np.ndarray
    n_symbols: np.ndarray

    def total(self, p_lapse: float = 0.0) -> float:
        """The log-likelihood of all responses."""
        return float(apply_lapse(self.log_prob, p_lapse, self.n_symbols).sum())


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood of all responses over repeated passes.

    Attributes:
        mean: over the passes.
        sd: sample standard deviation over the passes; 0 for one pass.
        symbols: how many symbols a pass has, one EOS a response included.
        p_lapse: the lapse rate it is for.
        passes: the log-likelihood of each pass.
    """

    mean: float
    sd: float
    n_symbols: int
    p_lapse: float
    passes: tuple[float, ...]


def score_passes(responder: Responder, repeats: Sequence[Sequence[Episode]]) -> list[TokenScores]:
    """The responses of each pass, scored; all passes are computed together."""
    every = [episode for episodes in repeats for episode in episodes]
    log_probs = iter(responder.log_prob(every))
    n_symbols = len(responder.symbols) + 1
    scores = []
    for episodes in repeats:
        values: list[np.ndarray] = []
        choices: list[np.ndarray] = []
        for episode in episodes:
            choice = n_symbols if episode.pool is None else len(episode.pool) + 1
            for value in next(log_probs):
                values.append(value)
                choices.append(np.full(len(value), choice))
        empty = [np.empty(0)]
        scores.append(
            TokenScores(np.concatenate(values or empty), np.concatenate(choices or empty))
        )
    return scores


def score_repeats(
    responder: Responder,
    episodes_of_repeat: Callable[[int], Sequence[Episode]],
    repeats: int,
    *,
    queries_per_chunk: int = 2000,
    progress: Callable[[int], None] = lambda done: None,
) -> list[TokenScores]:
    """Scores of passes 0 … repeats-1, each over the episodes as `presented` for that pass.

    Args:
        together: so many queries are computed together, which lets identical ones be found.
        progress: called with the number of passes done so far.
    """
    scores: list[TokenScores] = []
    waiting: list[Sequence[Episode]] = []
    for repeat in range(repeats):
        waiting.append(episodes_of_repeat(repeat))
        queries = sum(len(episode.queries) for episodes in waiting for episode in episodes)
        if queries >= queries_per_chunk or repeat + 1 == repeats:
            scores += score_passes(responder, waiting)
            waiting = []
            progress(len(scores))
    return scores


def likelihood(scores: Sequence[TokenScores], p_lapse: float = 0.0) -> Likelihood:
    """Mean and standard deviation over passes at one lapse rate.

    Raises:
        UsageError: there is no pass, or λ is not a probability.

    >>> likelihood([TokenScores(np.log([0.5, 0.5]), np.array([7, 7]))]).mean.__round__(4)
    -1.3863
    """
    if not scores:
        raise UsageError("there is no likelihood of nothing; score at least one pass of responses")
    totals = tuple(one.total(p_lapse) for one in scores)
    return Likelihood(
        mean=float(np.mean(totals)),
        sd=float(np.std(totals, ddof=1)) if len(totals) > 1 else 0.0,
        n_symbols=len(scores[0].log_prob),
        p_lapse=p_lapse,
        passes=totals,
    )


def fit_lapse(scores: Sequence[TokenScores], grid: Iterable[float] = LAPSE_GRID) -> Likelihood:
    """The likelihood at the lapse rate whose mean over the passes is highest.

    The model is not asked again: a lapse only needs its probabilities.
    """
    return max((likelihood(scores, p) for p in grid), key=lambda found: found.mean)
