"""Log-likelihood response by response, so that it can be broken down and compared."""

from collections import defaultdict
from collections.abc import Callable, Sequence

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

_Key = tuple[str, str, int]


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
        A row for each response: `model`, `task`, `item` (the query, or the file where study sets
        differ), `participant` (where known: from an imported experiment, or where a file is one
        person's sheet), `sample`, `query`, `response`, `symbols` (the end counted) and
        `log_likelihood`.
    """
    repeats = repeats if evaluation.stochastic else 1
    values: dict[_Key, list[float]] = defaultdict(list)
    facts: dict[_Key, tuple[str, int]] = {}
    for repeat in range(repeats):
        episodes = evaluation.presented(repeat)
        seen: dict[tuple[str, str], int] = defaultdict(int)
        for episode, scored in zip(episodes, responder.log_prob(episodes), strict=True):
            choices = len(responder.symbols if episode.pool is None else episode.pool) + 1
            for query, log_prob in zip(episode.queries, scored, strict=True):
                words = " ".join(unmap_words(episode, query.words))
                key = (episode.name, words, seen[episode.name, words])
                seen[episode.name, words] += 1
                values[key].append(float(lapse(log_prob, p_lapse, choices).sum()))
                facts[key] = (" ".join(unmap_symbols(episode, query.symbols)), len(log_prob))
        progress(repeat + 1)
    answerer = _answerers(evaluation)
    rows = [
        {
            "model": model,
            "task": task,
            **known._asdict(),
            "sample": number,
            "query": words,
            "response": facts[key][0],
            "symbols": facts[key][1],
            "log_likelihood": float(np.mean(found)),
        }
        for key, found in values.items()
        for (_, words, number), known in [(key, answerer(key))]
    ]
    return pd.DataFrame(rows)


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


def _answerers(evaluation: EvaluationEpisodes) -> Callable[[_Key], Answerer]:
    """Item and participant of an answer; in an imported experiment as its table has them."""
    by_trial = _names_differ(evaluation.episodes)
    told: dict[tuple[str, str], list[Answerer]] = defaultdict(list)
    for episode in evaluation.episodes:
        known = evaluation.answerers.get(episode.name, ())
        for query, who in zip(episode.queries, known, strict=False):
            told[episode.name, " ".join(query.words)].append(who)

    def answerer(key: _Key) -> Answerer:
        name, words, number = key
        if known := told.get((name, words)):
            # An episode type may ask all queries of a file several times over, in their order.
            return known[number % len(known)]
        return Answerer(stem(name) if by_trial else words, stem(name) if evaluation.by_name else "")

    return answerer


def _names_differ(episodes: Sequence[Episode]) -> bool:
    """Whether several files ask the same query after different study examples (probe trials)."""
    contexts = {(frozenset(e.study), e.pool) for e in episodes}
    return len(contexts) > 1
