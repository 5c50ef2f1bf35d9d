"""Drawn answers of a model to the tasks that people did, as a table like people's."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from biml.analysis import few_shot, probes
from biml.analysis.people import grammars_by_item
from biml.analysis.responses import file_stem, response_table, trial_columns
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.registry import episode_type
from biml.episodes.transforms import undo_remapping
from biml.evaluation.accuracy import max_response_length, sample_autoregressively
from biml.evaluation.likelihood import Likelihood, TokenScores, apply_lapse, likelihood
from biml.evaluation.responder import Responder
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, SampledItem, sample_items
from biml.paths import DataFolders

RESPONSE_KEYS = ["task", "item", "participant", "sample"]
"""What tells one scored response from another."""

_ResponseKey = tuple[str, str, str, str, str]
"""File, item, participant, query and response in canonical names."""


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
    numbers = _sample_numbers(evaluation)
    items_by_file = _contexts_differ(evaluation.episodes)
    found: dict[tuple[_ResponseKey, int], ScoredResponse] = {}
    waiting: list[list[Episode]] = []
    for repeat in range(repeats):
        waiting.append(evaluation.repeat(repeat))
        responses = sum(len(e.queries) for episodes in waiting for e in episodes)
        if responses < responses_per_chunk and repeat + 1 < repeats:
            continue
        log_probs = iter(responder.log_prob([e for episodes in waiting for e in episodes]))
        for episodes in waiting:
            seen: dict[_ResponseKey, int] = defaultdict(int)
            for episode in episodes:
                choices = len(responder.symbols if episode.pool is None else episode.pool) + 1
                for query, log_prob in zip(episode.queries, next(log_probs), strict=True):
                    words = " ".join(words_in_original_names(episode, query.input))
                    response = " ".join(undo_remapping(episode, query.output))
                    said = (episode.name, query.item, query.participant, words, response)
                    # Passes may differ in the order of a person's answers to the same query.
                    key = (said, seen[said])
                    seen[said] += 1
                    if key not in found:
                        found[key] = ScoredResponse(
                            item=query.item
                            or (file_stem(episode.name) if items_by_file else words),
                            participant=query.participant,
                            sample=numbers(*said),
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


def _sample_numbers(evaluation: EvaluationSet) -> Callable[[str, str, str, str, str], int]:
    """Number of one response after another among those to its query in the file, in file order."""
    counts: dict[tuple[str, str], count[int]] = defaultdict(count)
    numbers: dict[_ResponseKey, list[int]] = defaultdict(list)
    for episode in evaluation.episodes:
        for query in episode.queries:
            words, response = " ".join(query.input), " ".join(query.output)
            # By the response as well, because an episode type may leave out some.
            key = (episode.name, query.item, query.participant, words, response)
            numbers[key].append(next(counts[episode.name, words]))

    def number(file: str, item: str, participant: str, words: str, response: str) -> int:
        left = numbers.get((file, item, participant, words, response))
        return left.pop(0) if left else next(counts[file, words])

    return number


def _contexts_differ(episodes: Sequence[Episode]) -> bool:
    """Whether several files ask the same query after different study examples (probe trials)."""
    contexts = {(frozenset(e.study), e.pool) for e in episodes}
    return len(contexts) > 1


# === Drawn answers of a model to the tasks that people did, as a table like people's.


N_RESPONSE_SETS = 100
"""Answer sheets drawn in the open-ended task, as published."""

CountCallback = Callable[[int], None]


def open_evaluation_set(
    episode_type_name: str, data: DataFolders, seed: int, *, own_names: bool = False
) -> EvaluationSet:
    """What an episode type asks, or the same with words and symbols as the data have them.

    Args:
        own_names: they are not renamed to the published ones.
    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    evaluation = episode_type(episode_type_name).open_evaluation(data, seed)
    return evaluation.in_original_names() if own_names else evaluation


def sample_few_shot(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    samples_per_response: int = SAMPLES_PER_RESPONSE,
    seed: int = 0,
    p_lapse: float = 0.0,
    max_length: int | None = None,
    kind: str = "few_shot_human",
    own_names: bool = False,
    progress: CountCallback = lambda done: None,
) -> pd.DataFrame:
    """`times` as many drawn answers to each few-shot query as people gave.

    Each has a renaming and an order of study examples of its own.

    Args:
        model: its name in the table.
        max_length: symbols that an answer may have; see `answers.longest` where not given.
        kind: the episode type to show; `human_vanilla` for a network without study context.
        own_names: as for `open_evaluation`; the responder has to know them.
        progress: called with the number of answers drawn so far.
    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    evaluation = open_evaluation_set(kind, data, seed, own_names=own_names)
    most = max_length or max_response_length(evaluation.episodes)
    items = sample_items(
        responder,
        evaluation,
        seed=seed,
        samples_per_response=samples_per_response,
        p_lapse=p_lapse,
        max_length=most,
        progress=progress,
    )
    return few_shot_table(items, evaluation, model=model, seed=seed)


def few_shot_table(
    items: Sequence[SampledItem], evaluation: EvaluationSet, *, model: str, seed: int
) -> pd.DataFrame:
    """What `draw_items` drew, as a table with `target`, `correct` and `error_type`."""
    rows = [
        {
            "item": episode.queries[0].item or words,
            "query": words,
            "response": " ".join(answer),
            "sample": number,
        }
        for item, episode in zip(items, evaluation.episodes, strict=True)
        for words in [" ".join(item.words)]
        for number, answer in enumerate(item.model_counts.elements())
    ]
    responses = _model_response_table(rows, model, seed, FEW_SHOT)
    return few_shot.annotate_errors(responses, grammars_by_item(evaluation))


def sample_probes(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    samples_per_response: int = SAMPLES_PER_RESPONSE,
    seed: int = 0,
    p_lapse: float = 0.0,
    max_length: int | None = None,
    kind: str = "probe_human",
    progress: CountCallback = lambda done: None,
) -> pd.DataFrame:
    """`times` as many drawn answers to each probe trial as people gave, of symbols of its pool.

    Args:
        model, max_length, progress: as for `sample_few_shot`.
        kind: `probe_human`, or `probe_human_w_pool` for a network that is shown the pool.
    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    evaluation = episode_type(kind).open_evaluation(data, seed)
    most = max_length or max_response_length(evaluation.episodes)
    items = sample_items(
        responder,
        evaluation,
        seed=seed,
        samples_per_response=samples_per_response,
        p_lapse=p_lapse,
        max_length=most,
        progress=progress,
    )
    return probe_table(items, evaluation, model=model, seed=seed)


def probe_table(
    items: Sequence[SampledItem], evaluation: EvaluationSet, *, model: str, seed: int
) -> pd.DataFrame:
    """What `draw_items` drew of trials with pools, as a table."""
    rows = [
        {
            "item": episode.queries[0].item,
            "query": " ".join(item.words),
            "response": " ".join(answer),
            "sample": number,
            **trial_columns(episode),
        }
        for item, episode in zip(items, evaluation.episodes, strict=True)
        for number, answer in enumerate(item.model_counts.elements())
    ]
    return probes.annotate_targets(_model_response_table(rows, model, seed, PROBES))


def sample_open_ended(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    n_sets: int = N_RESPONSE_SETS,
    seed: int = 0,
    p_lapse: float = 0.0,
    max_length: int | None = None,
    own_names: bool = False,
    progress: CountCallback = lambda done: None,
) -> pd.DataFrame:
    """`n` answer sheets of the open-ended task, each query answered after the ones before it.

    Each sheet starts from nothing, in an order and renaming of its own, and each answer becomes a
    study example for the next (paper, Methods).

    Args:
        model, max_length, own_names: as for `sample_few_shot`.
        progress: called with the number of queries of each sheet answered so far.
    Raises:
        BimlError: there are no human data; the message says how to get them.
    """
    evaluation = open_evaluation_set("open_end_freeform", data, seed, own_names=own_names)
    sheets: list[Episode] = []
    passes = count()
    while len(sheets) < n_sets:
        sheets += evaluation.repeat(next(passes))
    del sheets[n_sets:]
    most = max_length or max_response_length(evaluation.episodes)
    answers = sample_autoregressively(
        responder, sheets, most, seed=seed, p_lapse=p_lapse, progress=progress
    )
    return open_ended_table(sheets, answers, model=model, seed=seed)


def open_ended_table(
    episodes: Sequence[Episode],
    responses: Sequence[Sequence[tuple[str, ...]]],
    *,
    model: str,
    seed: int,
) -> pd.DataFrame:
    """Answer sheets that were filled in one query after another, as a table."""
    rows = []
    for number, (sheet, given) in enumerate(zip(episodes, responses, strict=True)):
        for query, answer in zip(sheet.queries, given, strict=True):
            words = " ".join(words_in_original_names(sheet, query.input))
            response = " ".join(undo_remapping(sheet, answer))
            rows.append({"item": words, "query": words, "response": response, "sample": number})
    return _model_response_table(rows, model, seed, OPEN_ENDED)


def words_in_original_names(episode: Episode, words: tuple[str, ...]) -> tuple[str, ...]:
    """Words of a remapped episode in its own names."""
    if episode.remapping is None:
        return words
    back = {new: old for old, new in episode.remapping.words.items()}
    return tuple(back[word] for word in words)


def _model_response_table(
    rows: list[dict[str, object]], model: str, seed: int, task: str
) -> pd.DataFrame:
    return response_table({"model": model, "seed": seed, "task": task, **row} for row in rows)
