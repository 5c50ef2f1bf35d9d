"""Drawn answers of a model to the tasks that people did, as a table like people's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pandas as pd

from biml.behaviour import probes
from biml.behaviour.people import FEW_SHOT, OPEN_ENDED, PROBES, annotate_by_file
from biml.behaviour.responses import file_stem, response_table, trial_columns
from biml.episodes.episode import Episode
from biml.episodes.locate import DataFolders
from biml.episodes.present import EvaluationSet
from biml.episodes.steps import remap_published
from biml.episodes.transforms import undo_remapping
from biml.episodes.types import episode_type
from biml.evaluation.answers import sample_autoregressively, max_response_length
from biml.evaluation.responder import Responder
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, SampledItem, sample_items

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
    if not own_names:
        return evaluation
    return replace(
        evaluation, transforms=tuple(s for s in evaluation.transforms if s is not remap_published)
    )


def sample_few_shot(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    samples_per_response: int = SAMPLES_PER_RESPONSE,
    seed: int = 0,
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
        max_length=most,
        progress=progress,
    )
    return few_shot_table(items, evaluation, model=model, seed=seed)


def few_shot_table(
    items: Sequence[SampledItem], evaluation: EvaluationSet, *, model: str, seed: int
) -> pd.DataFrame:
    """What `draw_items` drew, as a table with `target`, `correct` and `error_type`."""
    rows = [
        {"item": name, "query": words, "response": " ".join(answer), "sample": number}
        for item, episode in zip(items, evaluation.episodes, strict=True)
        for words in [" ".join(item.words)]
        for name in [item_name(episode, evaluation, words)]
        for number, answer in enumerate(item.model_counts.elements())
    ]
    counts = [item.model_counts.total() for item in items]
    return annotate_by_file(_model_response_table(rows, model, seed, FEW_SHOT), evaluation, counts)


def sample_probes(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    samples_per_response: int = SAMPLES_PER_RESPONSE,
    seed: int = 0,
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
            "item": item_name(episode, evaluation, file_stem(episode.name)),
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
    answers = sample_autoregressively(responder, sheets, most, seed=seed, progress=progress)
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


def item_name(episode: Episode, evaluation: EvaluationSet, default: str) -> str:
    """The item that a file of one query asks, by the name it has in an imported experiment."""
    told = evaluation.respondents.get(episode.name)
    return told[0].item if told else default


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
