"""Log-likelihood response by response, so that it can be broken down and compared."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from biml.behaviour.responses import stem
from biml.behaviour.samples import unmap_words
from biml.episodes.answerers import Answerer
from biml.episodes.episode import Episode
from biml.episodes.present import EvaluationEpisodes
from biml.episodes.transforms import unmap_symbols
from biml.evaluation.likelihood import Likelihood, Scores, lapse, likelihood
from biml.evaluation.responder import Responder

RESPONSE = ["task", "item", "participant", "sample"]
"""What tells one scored response from another."""

_Said = tuple[str, str, str]
"""File, query and response."""


@dataclass(frozen=True)
class ScoredResponse:
    """One response, scored without a lapse in each pass.

    Attributes:
        item: the query, or the file where study sets differ.
        participant: where known: from an imported experiment, or where a file is one person's
            sheet; else empty.
        sample: number among the answers to the same query in the file, in the order of the file.
        query, response: in canonical names.
        n_symbols: how many symbols a lapse would pick from.
        log_probs: for each pass the natural logs of its symbols' probabilities [symbols].
    """

    item: str
    participant: str
    sample: int
    query: str
    response: str
    n_symbols: int
    log_probs: list[np.ndarray]

    def log_likelihood(self, p_lapse: float) -> float:
        """Mean over the passes at a lapse rate."""
        found = lapse(np.array(self.log_probs), p_lapse, self.n_symbols)
        return float(found.sum(axis=1).mean())


def score_responses(
    responder: Responder,
    evaluation: EvaluationEpisodes,
    *,
    repeats: int = 1,
    together: int = 2000,
    progress: Callable[[int], None] = lambda done: None,
) -> list[ScoredResponse]:
    """Every response of an evaluation, scored in passes with fresh orders and names.

    Each counts once, also where an episode type asks every query several times over.

    Args:
        repeats: passes; one is enough where they do not differ.
        together: so many responses are computed together.
        progress: called with the number of passes done so far.
    """
    repeats = repeats if evaluation.stochastic else 1
    evaluation = replace(evaluation, times=1)
    identify = _identities(evaluation)
    found: dict[tuple[_Said, int], ScoredResponse] = {}
    waiting: list[list[Episode]] = []
    for repeat in range(repeats):
        waiting.append(evaluation.presented(repeat))
        responses = sum(len(e.queries) for episodes in waiting for e in episodes)
        if responses < together and repeat + 1 < repeats:
            continue
        log_probs = iter(responder.log_prob([e for episodes in waiting for e in episodes]))
        for episodes in waiting:
            seen: dict[_Said, int] = defaultdict(int)
            for episode in episodes:
                choices = len(responder.symbols if episode.pool is None else episode.pool) + 1
                for query, log_prob in zip(episode.queries, next(log_probs), strict=True):
                    words = " ".join(unmap_words(episode, query.words))
                    response = " ".join(unmap_symbols(episode, query.symbols))
                    said = (episode.name, words, response)
                    # Passes may differ in the order of a person's answers to the same query.
                    key = (said, seen[said])
                    seen[said] += 1
                    if key not in found:
                        answerer, number = identify(*said)
                        found[key] = ScoredResponse(
                            **answerer._asdict(),
                            sample=number,
                            query=words,
                            response=response,
                            n_symbols=choices,
                            log_probs=[],
                        )
                    found[key].log_probs.append(log_prob)
        waiting = []
        progress(repeat + 1)
    return list(found.values())


def as_scores(scored: Sequence[ScoredResponse], times: int = 1) -> list[Scores]:
    """The same pass by pass, as `fit_lapse`, `best_lapse` and `likelihood` take them.

    Args:
        times: how often each response counts.
    """
    choices = [np.full(len(one.log_probs[0]), one.n_symbols) for one in scored]
    together = np.tile(np.concatenate(choices or [np.empty(0)]), times)
    passes = zip(*(one.log_probs for one in scored), strict=True)
    return [Scores(np.tile(np.concatenate(values), times), together) for values in passes]


def log_likelihoods(
    responder: Responder,
    evaluation: EvaluationEpisodes,
    *,
    model: str,
    task: str,
    p_lapse: float = 0.0,
    repeats: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """The log-likelihood of each response, averaged over passes with fresh orders and names.

    The five folds of the open-ended task are five tables, each of the model trained on the others,
    to be put one below another.

    Args:
        model, task: their names in the table.
        p_lapse: the lapse rate.
        repeats: passes; one is enough where they do not differ.
        progress: called with the number of passes done so far.
    Returns:
        A row for each response, see `tabulate`.
    """
    scored = score_responses(responder, evaluation, repeats=repeats, progress=progress)
    return tabulate(scored, model=model, task=task, p_lapse=p_lapse)


def tabulate(
    scored: Sequence[ScoredResponse], *, model: str, task: str, p_lapse: float
) -> pd.DataFrame:
    """Log-likelihoods of scored responses at a lapse rate, as a table.

    Returns:
        A row for each response: `model`, `task`, `item` (the query, or the file where study sets
        differ), `participant` (where known), `sample`, `query`, `response`, `symbols` (the end
        counted) and `log_likelihood`, the mean over the passes.
    """
    rows = [
        (
            model,
            task,
            one.item,
            one.participant,
            one.sample,
            one.query,
            one.response,
            len(one.log_probs[0]),
            one.log_likelihood(p_lapse),
        )
        for one in scored
    ]
    names = ["model", *RESPONSE, "query", "response", "symbols", "log_likelihood"]
    return pd.DataFrame(rows, columns=names)


def breakdown(
    loglikes: pd.DataFrame, by: Sequence[str] = ("model", "task", "item")
) -> pd.DataFrame:
    """Summed log-likelihood, by item or, with `by=("model", "participant")`, by participant."""
    grouped = loglikes.groupby(list(by), sort=False, dropna=False)
    return grouped.agg(
        responses=("log_likelihood", "size"),
        symbols=("symbols", "sum"),
        log_likelihood=("log_likelihood", "sum"),
    ).reset_index()


def best_lapse(scores: Sequence[Scores]) -> Likelihood:
    """The likelihood at the lapse rate between 0 and 1 that is best, by a bounded optimiser.

    The published search is `biml.evaluation.likelihood.fit_lapse`, which tries 18 rates.
    """
    found = minimize_scalar(
        lambda p: -likelihood(scores, float(p)).mean,
        bounds=(1e-6, 1 - 1e-6),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return likelihood(scores, float(found.x))


def _identities(
    evaluation: EvaluationEpisodes,
) -> Callable[[str, str, str], tuple[Answerer, int]]:
    """Item, participant and number of one answer after another, given file, query and response.

    In an imported experiment items and participants are as its table has them.
    """
    by_trial = _names_differ(evaluation.episodes)
    numbers: dict[tuple[str, str], count[int]] = defaultdict(count)

    def numbered(name: str, words: str, who: Answerer | None = None) -> tuple[Answerer, int]:
        item, person = stem(name) if by_trial else words, stem(name) if evaluation.by_name else ""
        return who or Answerer(item, person), next(numbers[name, words])

    # By the response as well, because an episode type may leave out some.
    told: dict[_Said, list[tuple[Answerer, int]]] = defaultdict(list)
    for episode in evaluation.episodes:
        known = evaluation.answerers.get(episode.name) or (None,) * len(episode.queries)
        for query, who in zip(episode.queries, known, strict=False):
            words, response = " ".join(query.words), " ".join(query.symbols)
            told[episode.name, words, response].append(numbered(episode.name, words, who))

    def identity(name: str, words: str, response: str) -> tuple[Answerer, int]:
        if left := told.get((name, words, response)):
            return left.pop(0)
        return numbered(name, words)

    return identity


def _names_differ(episodes: Sequence[Episode]) -> bool:
    """Whether several files ask the same query after different study examples (probe trials)."""
    contexts = {(frozenset(e.study), e.pool) for e in episodes}
    return len(contexts) > 1
