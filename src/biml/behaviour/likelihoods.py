"""Log-likelihood response by response, so that it can be broken down and compared."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from biml.behaviour.responses import file_stem
from biml.behaviour.samples import words_in_original_names
from biml.episodes.answerers import Respondent
from biml.episodes.episode import Episode
from biml.episodes.present import EvaluationSet
from biml.episodes.transforms import undo_remapping
from biml.evaluation.likelihood import Likelihood, TokenScores, apply_lapse, likelihood
from biml.evaluation.responder import Responder

RESPONSE_KEYS = ["task", "item", "participant", "sample"]
"""What tells one scored response from another."""

_FileQueryResponse = tuple[str, str, str]
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
    log_probs_by_repeat: list[np.ndarray]

    def log_likelihood(self, p_lapse: float) -> float:
        """Mean over the passes at a lapse rate."""
        found = apply_lapse(np.array(self.log_probs_by_repeat), p_lapse, self.n_symbols)
        return float(found.sum(axis=1).mean())


def score_responses(
    responder: Responder,
    evaluation: EvaluationSet,
    *,
    repeats: int = 1,
    responses_per_chunk: int = 2000,
    progress: Callable[[int], None] = lambda done: None,
) -> list[ScoredResponse]:
    """Every response of an evaluation, scored in passes with fresh orders and names.

    Each counts once, also where an episode type asks every query several times over.

    Args:
        repeats: passes; one is enough where they do not differ.
        together: so many responses are computed together.
        progress: called with the number of passes done so far.
    """
    repeats = repeats if evaluation.varies else 1
    evaluation = replace(evaluation, query_repeats=1)
    identify = _respondent_lookup(evaluation)
    found: dict[tuple[_FileQueryResponse, int], ScoredResponse] = {}
    waiting: list[list[Episode]] = []
    for repeat in range(repeats):
        waiting.append(evaluation.repeat(repeat))
        responses = sum(len(e.queries) for episodes in waiting for e in episodes)
        if responses < responses_per_chunk and repeat + 1 < repeats:
            continue
        log_probs = iter(responder.log_prob([e for episodes in waiting for e in episodes]))
        for episodes in waiting:
            seen: dict[_FileQueryResponse, int] = defaultdict(int)
            for episode in episodes:
                choices = len(responder.symbols if episode.pool is None else episode.pool) + 1
                for query, log_prob in zip(episode.queries, next(log_probs), strict=True):
                    words = " ".join(words_in_original_names(episode, query.input))
                    response = " ".join(undo_remapping(episode, query.output))
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
                            log_probs_by_repeat=[],
                        )
                    found[key].log_probs_by_repeat.append(log_prob)
        waiting = []
        progress(repeat + 1)
    return list(found.values())


def token_scores(scored: Sequence[ScoredResponse], copies: int = 1) -> list[TokenScores]:
    """The same pass by pass, as `fit_lapse`, `best_lapse` and `likelihood` take them.

    Args:
        times: how often each response counts.
    """
    choices = [np.full(len(one.log_probs_by_repeat[0]), one.n_symbols) for one in scored]
    together = np.tile(np.concatenate(choices or [np.empty(0)]), copies)
    passes = zip(*(one.log_probs_by_repeat for one in scored), strict=True)
    return [TokenScores(np.tile(np.concatenate(values), copies), together) for values in passes]


def log_likelihoods(
    responder: Responder,
    evaluation: EvaluationSet,
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
    return to_table(scored, model=model, task=task, p_lapse=p_lapse)


def to_table(
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
            len(one.log_probs_by_repeat[0]),
            one.log_likelihood(p_lapse),
        )
        for one in scored
    ]
    names = ["model", *RESPONSE_KEYS, "query", "response", "symbols", "log_likelihood"]
    return pd.DataFrame(rows, columns=names)


def summed_by(
    log_likelihoods: pd.DataFrame, by: Sequence[str] = ("model", "task", "item")
) -> pd.DataFrame:
    """Summed log-likelihood, by item or, with `by=("model", "participant")`, by participant."""
    grouped = log_likelihoods.groupby(list(by), sort=False, dropna=False)
    return grouped.agg(
        responses=("log_likelihood", "size"),
        symbols=("symbols", "sum"),
        log_likelihood=("log_likelihood", "sum"),
    ).reset_index()


def fit_lapse_bounded(scores: Sequence[TokenScores]) -> Likelihood:
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


def _respondent_lookup(
    evaluation: EvaluationSet,
) -> Callable[[str, str, str], tuple[Respondent, int]]:
    """Item, participant and number of one answer after another, given file, query and response.

    In an imported experiment items and participants are as its table has them.
    """
    by_trial = _contexts_differ(evaluation.episodes)
    numbers: dict[tuple[str, str], count[int]] = defaultdict(count)

    def numbered(name: str, words: str, who: Respondent | None = None) -> tuple[Respondent, int]:
        item, person = (
            file_stem(name) if by_trial else words,
            file_stem(name) if evaluation.group_by_participant else "",
        )
        return who or Respondent(item, person), next(numbers[name, words])

    # By the response as well, because an episode type may leave out some.
    told: dict[_FileQueryResponse, list[tuple[Respondent, int]]] = defaultdict(list)
    for episode in evaluation.episodes:
        known = evaluation.respondents.get(episode.name) or (None,) * len(episode.queries)
        for query, who in zip(episode.queries, known, strict=False):
            words, response = " ".join(query.input), " ".join(query.output)
            told[episode.name, words, response].append(numbered(episode.name, words, who))

    def identity(name: str, words: str, response: str) -> tuple[Respondent, int]:
        if left := told.get((name, words, response)):
            return left.pop(0)
        return numbered(name, words)

    return identity


def _contexts_differ(episodes: Sequence[Episode]) -> bool:
    """Whether several files ask the same query after different study examples (probe trials)."""
    contexts = {(frozenset(e.study), e.pool) for e in episodes}
    return len(contexts) > 1
