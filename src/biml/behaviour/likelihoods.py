"""Log-likelihood response by response, so that it can be broken down and compared."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from biml.behaviour.responses import stem
from biml.behaviour.samples import unmap_words
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
        differ), `participant` (where a file is one person's sheet), `sample`, `query`, `response`,
        `symbols` (the end counted) and `log_likelihood`.
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
    by_trial = _names_differ(evaluation.episodes)
    rows = [
        {
            "model": model,
            "task": task,
            "item": stem(name) if by_trial else words,
            "participant": stem(name) if evaluation.by_name else "",
            "sample": number,
            "query": words,
            "response": facts[name, words, number][0],
            "symbols": facts[name, words, number][1],
            "log_likelihood": float(np.mean(found)),
        }
        for (name, words, number), found in values.items()
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


def _names_differ(episodes: Sequence[Episode]) -> bool:
    """Whether several files ask the same query after different study examples (probe trials)."""
    contexts = {(frozenset(e.study), e.pool) for e in episodes}
    return len(contexts) > 1
