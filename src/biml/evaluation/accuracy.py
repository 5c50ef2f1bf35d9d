"""Responses to the queries of episodes, greedy or sampled, and their exact match with targets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.evaluation.intervals import (
    PARTICIPANTS,
    finite_or_none,
    mean_interval,
    mean_of_shares_error,
    percent_interval,
    wilson_interval,
)
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder, Response
from biml.progress import Progress, no_progress
from biml.rng import derive_seed
from biml.vocabulary import NO_SYMBOL

EPISODES_PER_CHUNK = 50
"""Episodes computed between two reports of progress."""


def max_response_length(episodes: Iterable[Episode], default: int = DEFAULT_MAX_LENGTH) -> int:
    """Length limit for responses: `default` (10 as published), or more where targets are longer.

    Targets are those of the queries and, where an episode has a grammar, its outputs.
    """
    lengths = [default]
    for episode in episodes:
        for query in episode.queries:
            lengths.append(len(query.output))
            if episode.grammar:
                lengths.append(len(episode.grammar.interpret(query.input)))
    return max(lengths)


def max_target_length(episodes: Iterable[Episode]) -> tuple[int, str]:
    """Length of the longest target, and the name of its episode."""
    targets = ((len(q.output), e.name) for e in episodes for q in e.queries)
    return max(targets, default=(0, ""))


def single_responses(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int | None = None,
    progress: Progress = no_progress,
) -> list[list[Response]]:
    """One response to each query of each episode: the best, or with a seed a sampled one."""
    responses: list[list[Response]] = []
    for start in range(0, len(episodes), EPISODES_PER_CHUNK):
        chunk = episodes[start : start + EPISODES_PER_CHUNK]
        if seed is None:
            responses += responder.respond(chunk, max_length=max_length)
        else:
            sampled = responder.sample(chunk, seed=derive_seed(seed, start), max_length=max_length)
            responses += [[one for (one,) in of_episode] for of_episode in sampled]
        progress(len(responses), len(episodes), stage="responding", unit="episodes")
    return responses


def sample_autoregressively(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int,
    p_lapse: float = 0.0,
    progress: Progress = no_progress,
) -> list[list[Response]]:
    """Sample responses query by query, each becoming a study example for the next.

    This is the open-ended task without any examples to begin with (paper, Methods); targets are
    not used. An answer of a language model that is no sequence of symbols becomes no example.
    """
    responses: list[list[Response]] = [[] for _ in episodes]
    study = [list(episode.study) for episode in episodes]
    n_turns = max((len(episode.queries) for episode in episodes), default=0)
    for turn in range(n_turns):
        numbers = [n for n, episode in enumerate(episodes) if turn < len(episode.queries)]
        current = [
            replace(
                episodes[n], study=tuple(study[n]), queries=episodes[n].queries[turn : turn + 1]
            )
            for n in numbers
        ]
        turn_seed = derive_seed(seed, "turn", turn)
        sampled = responder.sample(current, seed=turn_seed, max_length=max_length, p_lapse=p_lapse)
        for n, episode, ((response,),) in zip(numbers, current, sampled, strict=True):
            responses[n].append(response)
            if NO_SYMBOL not in response:
                study[n].append(Example(episode.queries[0].input, response))
        progress(turn + 1, n_turns, stage="sampling", unit="queries in turn")
    return responses


EPISODES = "episodes"
"""The unit of accuracies, unless it is `intervals.PARTICIPANTS`."""


@dataclass(frozen=True)
class Accuracy:
    """Percent of exact responses: mean and sample standard deviation (0 for one) over episodes.

    In the open-ended task an episode is the response set of a participant (`unit`).
    """

    mean: float
    sd: float
    n_episodes: int
    n_queries: int = 0
    """Different queries of all episodes."""
    unit: str = EPISODES

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN for one episode."""
        return self.sd / self.n_episodes**0.5 if self.n_episodes > 1 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean over episodes; of one episode, Wilson's over its queries."""
        if self.n_episodes > 1:
            return mean_interval(self.mean, self.sd, self.n_episodes)
        return wilson_interval(self.mean / 100, self.n_queries)

    def as_json(self, name: str) -> dict[str, Any]:
        """The value as `name` with its uncertainty, missing (None) where it is not known."""
        return {
            name: self.mean,
            f"{name}_sd": self.sd,
            f"{name}_se": finite_or_none(self.standard_error),
            f"{name}_interval": list(map(finite_or_none, self.interval)),
        }


def exact_matches(
    episodes: Sequence[Episode], responses: Sequence[Sequence[Response | bool]]
) -> Iterator[tuple[int, Example, bool]]:
    """Each query with the number of its episode, and whether its response is its target.

    In place of a response there may be the answer to that.
    """
    for number, (episode, given) in enumerate(zip(episodes, responses, strict=True)):
        for query, response in zip(episode.queries, given, strict=True):
            exact = response if isinstance(response, bool) else response == query.output
            yield number, query, exact


def accuracy(
    episodes: Sequence[Episode],
    responses: Sequence[Sequence[Response | bool]],
    *,
    in_study: bool,
    group_by_participant: bool = False,
) -> Accuracy | None:
    """Exact match on study-example queries ("retrieve") or on novel queries; None without any.

    Args:
        responses: for each episode and query the response, or whether it is exact.
        group_by_participant: episodes of one name are parts of one response set.

    >>> episode = Episode((), (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",))))
    >>> accuracy([episode], [[("RED",), ("PINK",)]], in_study=False)
    Accuracy(mean=50.0, sd=0.0, n_episodes=1, n_queries=2, unit='episodes')
    """
    groups: dict[object, list[bool]] = {}
    queries: set[tuple[object, tuple[str, ...]]] = set()
    for number, query, exact in exact_matches(episodes, responses):
        if query.in_study == in_study:
            group = episodes[number].name if group_by_participant else number
            groups.setdefault(group, []).append(exact)
            queries.add((group, query.input))
    if not groups:
        return None
    percents = [100 * sum(group) / len(group) for group in groups.values()]
    sd = float(np.std(percents, ddof=1)) if len(percents) > 1 else 0.0
    unit = PARTICIPANTS if group_by_participant else EPISODES
    return Accuracy(float(np.mean(percents)), sd, len(percents), len(queries), unit)


def study_and_novel(
    evaluation: EvaluationSet,
    episodes: Sequence[Episode],
    responses: Sequence[Sequence[Response | bool]],
) -> tuple[Accuracy | None, Accuracy | None]:
    """The `accuracy` on study-example and on novel queries of a repeat of an evaluation."""
    by_participant = evaluation.autoregressive
    study = accuracy(episodes, responses, in_study=True, group_by_participant=by_participant)
    return study, accuracy(episodes, responses, in_study=False, group_by_participant=by_participant)


@dataclass(frozen=True)
class ErrorRate:
    """Responses that are not exact, among those to some queries.

    >>> rate = ErrorRate(1, 200)
    >>> rate.percent, [round(bound, 2) for bound in rate.interval]
    (0.5, [0.09, 2.78])
    """

    n_wrong: int
    n_queries: int

    @property
    def percent(self) -> float:
        return 100 * self.n_wrong / self.n_queries

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval, in percent."""
        return wilson_interval(self.n_wrong / self.n_queries, self.n_queries)


def error_rates(
    episodes: Sequence[Episode], responses: Sequence[Sequence[Response | bool]]
) -> dict[str, ErrorRate]:
    """The error rate on the novel queries of each `Example.item`, in alphabetical order.

    >>> query = Example(("dax",), ("RED",), item="one word")
    >>> error_rates([Episode((), (query, query))], [[("RED",), ("PINK",)]])
    {'one word': ErrorRate(n_wrong=1, n_queries=2)}
    """
    wrong: dict[str, list[bool]] = {}
    for _, query, exact in exact_matches(episodes, responses):
        if not query.in_study:
            wrong.setdefault(query.item, []).append(not exact)
    return {item: ErrorRate(sum(wrong[item]), len(wrong[item])) for item in sorted(wrong)}


def total_error_rate(rates: Iterable[ErrorRate]) -> ErrorRate:
    """The error rate on all queries together."""
    pairs = [(rate.n_wrong, rate.n_queries) for rate in rates]
    return ErrorRate(*map(sum, zip(*pairs, strict=True)))


def mean_error_rate(rates: Iterable[ErrorRate]) -> tuple[float, tuple[float, float]]:
    """The mean of error rates, such as those of the types of COGS, and its 95% interval.

    >>> mean, interval = mean_error_rate([ErrorRate(0, 100), ErrorRate(10, 100)])
    >>> mean, [round(end, 2) for end in interval]
    (5.0, [1.66, 8.34])
    """
    every = list(rates)
    mean = sum(rate.percent for rate in every) / len(every)
    counts, totals = [rate.n_wrong for rate in every], [rate.n_queries for rate in every]
    return mean, percent_interval(mean, mean_of_shares_error(counts, totals))
