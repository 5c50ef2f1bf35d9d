"""Log-likelihoods of human responses, and sampled responses, as tables.

Any `Responder` is scored and sampled on the evaluation of an episode type. Log-likelihoods are in
nats and count the end of a response as a symbol. A repeat presents all episodes with another random
order of study examples and another remapping; likelihoods are averaged over repeats (paper,
Methods: 100).

>>> from biml.episodes.registry import episode_type
>>> from biml.evaluation.registry import symbolic_model
>>> from biml.paths import DataFolders
>>> gold = episode_type("few_shot_gold").open_evaluation(DataFolders(), 0)
>>> oracle = symbolic_model("oracle").build()
>>> table = log_likelihoods(oracle, gold, model="oracle", task="few_shot_gold", p_lapse=0.1)
>>> summed_by(table)[["item", "responses", "symbols"]].head(1).values.tolist()
[['3 surround 1', 100, 400]]
"""

from collections.abc import Sequence
from itertools import chain, count, islice

import pandas as pd
from scipy.optimize import minimize_scalar

from biml.analysis import few_shot, probes
from biml.analysis.people import grammars_by_item
from biml.analysis.responses import response_table, trial_columns
from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.registry import episode_type
from biml.episodes.transforms import original_words, undo_remapping
from biml.evaluation.accuracy import max_response_length, sample_autoregressively
from biml.evaluation.intervals import standard_error_of_sum
from biml.evaluation.likelihood import (
    Likelihood,
    ScoredResponse,
    TokenScores,
    likelihood,
    score_responses,
)
from biml.evaluation.responder import Responder
from biml.evaluation.sample_page import SAMPLES_PER_RESPONSE, SampledItem, sample_items
from biml.paths import DataFolders
from biml.progress import Progress, no_progress

RESPONSE_KEYS = ["task", "item", "participant", "sample"]
"""Columns that identify a scored response."""

N_RESPONSE_SETS = 100
"""Response sets sampled in the open-ended task (paper, Methods)."""


def log_likelihoods(
    responder: Responder,
    evaluation: EvaluationSet,
    *,
    model: str,
    task: str,
    p_lapse: float = 0.0,
    repeats: int = 1,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """The log-likelihood of each response at a lapse rate; see `to_table`.

    The five folds of the open-ended task are five tables, each of the model trained on the other
    participants, to be concatenated.
    """
    scored = score_responses(responder, evaluation, repeats=repeats, progress=progress)
    return to_table(scored, model=model, task=task, p_lapse=p_lapse)


def to_table(
    scored: Sequence[ScoredResponse], *, model: str, task: str, p_lapse: float
) -> pd.DataFrame:
    """A table of log-likelihoods, a row per response.

    `symbols` counts those of the response and its end; `log_likelihood` is the mean over repeats.
    """
    rows = [
        {
            **vars(one),
            "model": model,
            "task": task,
            "symbols": len(one.log_probs_by_repeat[0]),
            "log_likelihood": one.log_likelihood(p_lapse),
        }
        for one in scored
    ]
    names = ["model", *RESPONSE_KEYS, "query", "response", "symbols", "log_likelihood"]
    return pd.DataFrame(rows, columns=names)


def summed_by(
    log_likelihoods: pd.DataFrame, by: Sequence[str] = ("model", "task", "item")
) -> pd.DataFrame:
    """Summed log-likelihoods by item or, with `by=("model", "participant")`, by participant.

    With the `standard_error` of each sum (`intervals.standard_error_of_sum`); that of a
    participant's is over all of their responses.
    """
    groups = log_likelihoods.groupby(list(by), sort=False, dropna=False)
    errors = [
        standard_error_of_sum(
            rows["log_likelihood"].tolist(),
            [""] * len(rows) if "participant" in by else rows["participant"].tolist(),
            [""] * len(rows) if "participant" in by else rows["item"].tolist(),
        )
        for _, rows in groups
    ]
    sums = groups.agg(
        responses=("log_likelihood", "size"),
        symbols=("symbols", "sum"),
        log_likelihood=("log_likelihood", "sum"),
    )
    return sums.assign(standard_error=errors).reset_index()


def fit_lapse_bounded(scores: Sequence[TokenScores]) -> Likelihood:
    """The likelihood at the best lapse rate between 0 and 1, by bounded optimisation.

    The published fit, over a grid of 18 rates, is `biml.evaluation.likelihood.fit_lapse`.
    """
    best = minimize_scalar(
        lambda p: -likelihood(scores, float(p)).mean,
        bounds=(1e-6, 1 - 1e-6),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return likelihood(scores, float(best.x))


def open_evaluation_set(
    name: str, data: DataFolders, seed: int, *, original_names: bool = False
) -> EvaluationSet:
    """The evaluation of an episode type, remapped or in the words and symbols of the data."""
    evaluation = episode_type(name).open_evaluation(data, seed)
    return evaluation.in_original_names() if original_names else evaluation


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
    original_names: bool = False,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Sample responses to each few-shot query or probe trial, so many per human response.

    Each sample has a random remapping and order of study examples of its own.

    Args:
        model: its name in the table.
        max_length: of a response, in symbols; by default as for `max_response_length`.
        kind: the episode type; `human_vanilla` for a network without study context, `probe_human`
            or `probe_human_w_pool` for responses to the probe trials, from their allowed outputs.
        original_names: do not remap; the responder has to know the words and symbols of the data.
    Returns:
        A table of responses with `target`, `correct` and `error_type`.
    Raises:
        BimlError: there are no human data; the message names the command that downloads them.
    """
    evaluation = open_evaluation_set(kind, data, seed, original_names=original_names)
    items = sample_items(
        responder,
        evaluation,
        seed=seed,
        samples_per_response=samples_per_response,
        p_lapse=p_lapse,
        max_length=max_length or max_response_length(evaluation.episodes),
        progress=progress,
    )
    return item_table(items, evaluation, model=model, seed=seed, kind=kind)


def item_table(
    items: Sequence[SampledItem], evaluation: EvaluationSet, *, model: str, seed: int, kind: str
) -> pd.DataFrame:
    """Sampled responses to queries, or to trials for an episode type of probes, with targets."""
    task = PROBES if episode_type(kind).evaluation_task == PROBES else FEW_SHOT
    responses = response_table(
        {
            "model": model,
            "seed": seed,
            "task": task,
            "item": episode.queries[0].item or " ".join(item.words),
            "query": " ".join(item.words),
            "response": " ".join(response),
            "sample": number,
            **(trial_columns(episode) if task == PROBES else {}),
        }
        for item, episode in zip(items, evaluation.episodes, strict=True)
        for number, response in enumerate(item.model_counts.elements())
    )
    if task == PROBES:
        return probes.annotate_targets(responses)
    return few_shot.annotate_errors(responses, grammars_by_item(evaluation))


def sample_open_ended(
    responder: Responder,
    data: DataFolders,
    *,
    model: str,
    n_sets: int = N_RESPONSE_SETS,
    seed: int = 0,
    p_lapse: float = 0.0,
    max_length: int | None = None,
    kind: str = "open_end_freeform",
    original_names: bool = False,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Sample response sets of the open-ended task autoregressively (paper, Methods).

    A set starts without study examples, in a random order and remapping of its own, and each
    response becomes a study example for the next query. The other arguments are those of
    `sample_few_shot`.
    """
    evaluation = open_evaluation_set(kind, data, seed, original_names=original_names)
    repeats = map(evaluation.repeat, count())
    episodes = list(islice(chain.from_iterable(repeats), n_sets))
    responses = sample_autoregressively(
        responder,
        episodes,
        max_length or max_response_length(evaluation.episodes),
        seed=seed,
        p_lapse=p_lapse,
        progress=progress,
    )
    return open_ended_table(episodes, responses, model=model, seed=seed)


def open_ended_table(
    episodes: Sequence[Episode],
    responses: Sequence[Sequence[tuple[str, ...]]],
    *,
    model: str,
    seed: int,
) -> pd.DataFrame:
    """Sampled response sets, one per episode, as a table in original names."""
    return response_table(
        {
            "model": model,
            "seed": seed,
            "task": OPEN_ENDED,
            "item": " ".join(words),
            "query": " ".join(words),
            "response": " ".join(undo_remapping(episode, response)),
            "sample": number,
        }
        for number, (episode, given) in enumerate(zip(episodes, responses, strict=True))
        for query, response in zip(episode.queries, given, strict=True)
        for words in [original_words(episode, query.input)]
    )
