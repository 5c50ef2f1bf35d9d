"""Log-likelihood of responses: scoring in repeats, lapse and its fit (paper, Methods).

A lapse applies to every model alike: with probability λ a participant does not follow the model but
picks any of the output symbols or the end, so P = (1-λ) P_model + λ/|S| for each symbol.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import original_words, undo_remapping
from biml.errors import BimlError, UsageError
from biml.evaluation.intervals import (
    PARTICIPANTS,
    RESPONSES,
    finite_or_none,
    interval_of_best,
    standard_error_of_sum,
    unit_of,
)
from biml.evaluation.responder import Responder, check_lapse, fit_candidates
from biml.progress import Progress, no_progress

LAPSE_GRID = (*(n / 100 for n in range(1, 10)), *(n / 10 for n in range(1, 10)))
"""The lapse rates that the fit tries, as published: 0.01 … 0.09, 0.1 … 0.9."""

FINE_LAPSE_GRID = tuple(n / 100 for n in range(1, 100))
"""All hundredths: the published 0.13 of the symbolic oracle is not in `LAPSE_GRID`."""

CV_SPLITS = 100
"""Random halvings of the responses that a cross-validated likelihood is averaged over."""


def apply_lapse(log_prob: np.ndarray, p_lapse: float, n_symbols: int | np.ndarray) -> np.ndarray:
    """Mix a lapse into log-probabilities: log((1-λ) exp(log_prob) + λ / n_symbols).

    `n_symbols` counts the symbols that a lapse picks from, the end included.

    >>> apply_lapse(np.log([0.5, 0.01]), 0.1, 4).round(4)
    array([-0.7444, -3.3814])
    """
    check_lapse(p_lapse)
    if p_lapse == 0:
        return log_prob
    with np.errstate(divide="ignore"):
        return np.logaddexp(log_prob + np.log1p(-p_lapse), np.log(p_lapse / n_symbols))


@dataclass(frozen=True)
class ScoredResponse:
    """One response with its log-probabilities without a lapse, in each repeat.

    Attributes:
        item: the query, or the file where study sets differ.
        participant: empty where unknown.
        sample: its number among the responses to the same query in the file, in file order.
        query, response: in the original words and symbols.
        n_symbols: how many symbols a lapse picks from, the end included.
        log_probs_by_repeat: natural logs, the end last.
    """

    item: str
    participant: str
    sample: int
    query: str
    response: str
    n_symbols: int
    log_probs_by_repeat: list[Float[np.ndarray, " length+1"]]

    def log_likelihood(self, p_lapse: float) -> float:
        """Mean over the repeats."""
        values = apply_lapse(np.array(self.log_probs_by_repeat), p_lapse, self.n_symbols)
        return float(values.sum(axis=1).mean())


MAX_REPEATS = 100_000
"""More would take days, for digits that the standard error over participants makes meaningless."""


def score_responses(
    responder: Responder,
    evaluation: EvaluationSet,
    *,
    repeats: int = 1,
    responses_per_chunk: int = 2000,
    progress: Progress = no_progress,
) -> list[ScoredResponse]:
    """Score every response of an evaluation in repeats with random orders and remappings.

    Each counts once, also where an episode type presents every query several times over.

    Args:
        repeats: one is enough where repeats do not differ (`EvaluationSet.varies`).
        responses_per_chunk: computed together, which lets equal queries be found.
    """
    if not 1 <= repeats <= MAX_REPEATS:
        raise UsageError(f"{repeats:,} repeats (--ll_nrep): give from 1 to {MAX_REPEATS:,}")
    repeats = repeats if evaluation.varies else 1
    evaluation = replace(evaluation, query_repeats=1)
    number = _sample_numbers(evaluation)
    several_contexts = len({(frozenset(e.study), e.pool) for e in evaluation.episodes}) > 1
    scored: dict[tuple[object, int], ScoredResponse] = {}
    waiting: list[list[Episode]] = []
    for repeat in range(repeats):
        waiting.append(evaluation.repeat(repeat))
        n_waiting = sum(len(e.queries) for episodes in waiting for e in episodes)
        if n_waiting < responses_per_chunk and repeat + 1 < repeats:
            continue
        log_probs = iter(responder.log_prob([e for episodes in waiting for e in episodes]))
        for episodes in waiting:
            # Repeats may differ in the order of a participant's responses to the same query.
            seen: dict[object, int] = defaultdict(int)
            for episode in episodes:
                n_symbols = len(responder.symbols if episode.pool is None else episode.pool) + 1
                for query, log_prob in zip(episode.queries, next(log_probs), strict=True):
                    if np.isnan(log_prob).any():
                        raise BimlError(
                            f"the model gives no probability (NaN) to '{' '.join(query.output)}' "
                            f"as a response to '{' '.join(query.input)}'; its weights are damaged"
                        )
                    original = query._replace(
                        input=original_words(episode, query.input),
                        output=undo_remapping(episode, query.output),
                    )
                    key = (episode.name, original)
                    if (key, seen[key]) not in scored:
                        words = " ".join(original.input)
                        file = PureWindowsPath(episode.name).name.removesuffix(".txt")
                        scored[key, seen[key]] = ScoredResponse(
                            item=query.item or (file if several_contexts else words),
                            participant=query.participant,
                            sample=number(episode.name, original),
                            query=words,
                            response=" ".join(original.output),
                            n_symbols=n_symbols,
                            log_probs_by_repeat=[],
                        )
                    scored[key, seen[key]].log_probs_by_repeat.append(log_prob)
                    seen[key] += 1
        waiting = []
        progress(repeat + 1, repeats, stage="scoring", unit="repeats")
    return list(scored.values())


def _sample_numbers(evaluation: EvaluationSet) -> Callable[[str, Example], int]:
    """Number one response after another among those to its query in the file, in file order."""
    counts: dict[tuple[str, tuple[str, ...]], count[int]] = defaultdict(count)
    numbers: dict[tuple[str, Example], list[int]] = defaultdict(list)
    for episode in evaluation.episodes:
        for query in episode.queries:
            # By the response as well, because an episode type may drop some.
            key = (episode.name, query._replace(in_study=False))
            numbers[key].append(next(counts[episode.name, query.input]))

    def number(file: str, query: Example) -> int:
        left = numbers.get((file, query._replace(in_study=False)))
        return left.pop(0) if left else next(counts[file, query.input])

    return number


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities (without a lapse) of the symbols of all responses in one repeat.

    Ends are included; `n_symbols` counts those that a lapse picks from at each of them.
    """

    log_prob: Float[np.ndarray, " symbols"]
    n_symbols: Int[np.ndarray, " symbols"]

    def total(self, p_lapse: float = 0.0) -> float:
        """The log-likelihood of all responses."""
        return float(apply_lapse(self.log_prob, p_lapse, self.n_symbols).sum())


def token_scores(scored: Sequence[ScoredResponse], copies: int = 1) -> list[TokenScores]:
    """Regroup scored responses by repeat; each response counts `copies` times."""
    choices = [np.full(len(one.log_probs_by_repeat[0]), one.n_symbols) for one in scored]
    n_symbols = np.tile(np.concatenate(choices or [np.empty(0)]), copies)
    repeats = zip(*(one.log_probs_by_repeat for one in scored), strict=True)
    return [TokenScores(np.tile(np.concatenate(values), copies), n_symbols) for values in repeats]


@dataclass(frozen=True)
class Likelihood:
    """The log-likelihood of all responses: mean and sample SD (0 for one) over the repeats.

    `n_symbols` counts the symbols in one repeat, one end per response included. The standard errors
    are over the `unit`. Of a fit there are also the value at rates fitted to other responses
    (`cross_validate`) and the 95% interval of the lapse rate, where they were computed.
    """

    mean: float
    sd: float
    n_symbols: int
    p_lapse: float
    by_repeat: tuple[float, ...]
    standard_error: float = float("nan")
    cross_validated: float = float("nan")
    cross_validated_error: float = float("nan")
    unit: str = RESPONSES
    p_lapse_interval: tuple[float, float] = (float("nan"), float("nan"))

    def as_json(self, *, fitted: bool) -> dict[str, Any]:
        """Plain values under the names of `biml eval --json`; None where unknown or infinite."""
        values = {"": self.mean, "_sd": self.sd, "_se": self.standard_error}
        found: dict[str, Any] = {
            f"loglike{end}": finite_or_none(value) for end, value in values.items()
        }
        found |= {"loglike_over": self.unit, "symbols": self.n_symbols, "p_lapse": self.p_lapse}
        if fitted:
            found["p_lapse_interval"] = [finite_or_none(end) for end in self.p_lapse_interval]
            found["loglike_cross_validated"] = finite_or_none(self.cross_validated)
            found["loglike_cross_validated_se"] = finite_or_none(self.cross_validated_error)
        return found


def likelihood(scores: Sequence[TokenScores], p_lapse: float = 0.0) -> Likelihood:
    """Compute mean and standard deviation over repeats at one lapse rate.

    >>> likelihood([TokenScores(np.log([0.5, 0.5]), np.array([7, 7]))]).mean.__round__(4)
    -1.3863
    """
    if not scores:
        raise UsageError("there are no responses to compute a likelihood of; score at least one")
    totals = tuple(one.total(p_lapse) for one in scores)
    with np.errstate(invalid="ignore"):  # the standard deviation of impossible responses is NaN
        sd = float(np.std(totals, ddof=1)) if len(totals) > 1 else 0.0
    return Likelihood(
        mean=float(np.mean(totals)),
        sd=sd,
        n_symbols=len(scores[0].log_prob),
        p_lapse=p_lapse,
        by_repeat=totals,
    )


def fit_lapse(scores: Sequence[TokenScores], grid: Iterable[float] = LAPSE_GRID) -> Likelihood:
    """Return the likelihood at the lapse rate of the grid whose mean over repeats is highest."""
    return max((likelihood(scores, p) for p in grid), key=lambda fit: fit.mean)


def with_standard_error(
    result: Likelihood, scored: Sequence[ScoredResponse], copies: int = 1
) -> Likelihood:
    """Add the standard error; each scored response counts `copies` times in the likelihood."""
    values = [one.log_likelihood(result.p_lapse) for one in scored]
    participants, items = _names(scored)
    error = copies * standard_error_of_sum(values, participants, items)
    return replace(result, standard_error=error, unit=unit_of(participants, items))


def _names(scored: Sequence[ScoredResponse]) -> tuple[list[str], list[str]]:
    """The participants and the items of responses."""
    return [one.participant for one in scored], [one.item for one in scored]


def with_cross_validation(
    result: Likelihood,
    scored: Sequence[ScoredResponse],
    responder: Responder,
    evaluation: EvaluationSet,
    *,
    task: str,
    grid: Sequence[float] = LAPSE_GRID,
) -> Likelihood:
    """Add the likelihood at rates fitted to other responses, and the interval of the lapse rate.

    Args:
        scored: the responses as scored by the responder.
        task: that the evaluation presents. Error rates that were fitted to its published responses
            are fitted anew, beside the lapse rate; not those in the training of a network.
    """
    candidates = score_candidates(scored, responder, evaluation, task)
    value, error = cross_validate(candidates, grid)
    return replace(
        result,
        cross_validated=evaluation.query_repeats * value,
        cross_validated_error=evaluation.query_repeats * error,
        p_lapse_interval=lapse_interval(scored, grid),
    )


def score_candidates(
    scored: Sequence[ScoredResponse], responder: Responder, evaluation: EvaluationSet, task: str
) -> list[Sequence[ScoredResponse]]:
    """The responses as scored by each model that the fit of a responder to them chose among.

    Those that were not fitted to the published responses of the task have one, `scored`.
    """
    candidates = [] if evaluation.is_imported else fit_candidates(responder, task)
    if len(candidates) < 2:
        return [scored]
    repeats = len(scored[0].log_probs_by_repeat)
    return [score_responses(one, evaluation, repeats=repeats) for one in candidates]


def lapse_interval(
    scored: Sequence[ScoredResponse], grid: Sequence[float] = LAPSE_GRID
) -> tuple[float, float]:
    """95% bootstrap interval of the fitted lapse rate, over participants or within items."""
    return interval_of_best(_by_lapse_rate(scored, grid), grid, *_names(scored))


def _by_lapse_rate(
    scored: Sequence[ScoredResponse], grid: Sequence[float]
) -> Float[np.ndarray, "rates responses"]:
    """Each response's log-likelihood at each lapse rate, averaged over the repeats."""
    tokens = np.concatenate([np.array(one.log_probs_by_repeat) for one in scored], axis=1)
    lengths = [len(one.log_probs_by_repeat[0]) for one in scored]
    n_symbols = np.repeat([one.n_symbols for one in scored], lengths)
    starts = np.cumsum([0, *lengths[:-1]])
    values = [apply_lapse(tokens, p_lapse, n_symbols).mean(axis=0) for p_lapse in grid]
    return np.asarray(np.add.reduceat(np.array(values), starts, axis=1))


def cross_validate(
    candidates: Sequence[Sequence[ScoredResponse]],
    grid: Sequence[float] = LAPSE_GRID,
) -> tuple[float, float]:
    """Log-likelihood of all responses, each under the fit to the half without it.

    The fit chooses one of the candidates and a lapse rate. Halves are random: of the participants
    if there are several and all are known, else of the responses to each item.

    Args:
        candidates: models whose parameters were fitted to the responses in alternative to each
            other, each with all responses; one where only the lapse rate is fitted.
    Returns:
        The mean over `CV_SPLITS` random halvings, and its standard error over participants or over
        responses within items; NaN for a single participant or response.
    """
    values = np.concatenate([_by_lapse_rate(scored, grid) for scored in candidates])
    names = _names(candidates[0])
    found = held_out(values, *names)
    return float(found.sum()), standard_error_of_sum(found.tolist(), *names)


def held_out(
    values: Float[np.ndarray, "fits responses"],
    participants: Sequence[str],
    items: Sequence[str],
) -> Float[np.ndarray, " responses"]:
    """The `values` of responses, each of the fit that is best for the other half.

    >>> held_out(np.array([[-1.0, -1.0], [-9.0, -9.0]]), ["", ""], ["a", "a"]).tolist()
    [-1.0, -1.0]
    """
    by_participant = unit_of(participants) == PARTICIPANTS
    units, number = np.unique(
        participants if by_participant else np.arange(len(items)), return_inverse=True
    )
    strata = np.unique(["" for _ in units] if by_participant else items, return_inverse=True)[1]
    if len(units) < 2:
        return np.full(len(items), np.nan)
    rng = np.random.default_rng(0)
    half = np.empty((CV_SPLITS, len(units)))
    for row in half:
        # Alternate units in a random order within strata, themselves in a random order.
        order = np.lexsort((rng.random(len(units)), rng.permutation(len(units))[strata]))
        row[order] = (np.arange(len(units)) + rng.integers(2)) % 2
    total = np.zeros(len(items))
    for fitted in (half[:, number], 1 - half[:, number]):
        best = (values @ fitted.T).argmax(axis=0)
        total += (values[best] * (1 - fitted)).sum(axis=0)
    return np.asarray(total / CV_SPLITS)
