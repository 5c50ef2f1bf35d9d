"""Measurements of models: the base of every table of them, and those on the cards of models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    VALIDATION,
    EpisodeType,
)
from biml.episodes.registry import (
    EPISODE_TYPES,
    OPEN_ENDED_RESPONSES,
    PROBE_RESPONSES,
    evaluation_type,
)
from biml.evaluation.accuracy import accuracy, greedy_responses, max_response_length
from biml.evaluation.likelihood import fit_lapse, score_responses, token_scores
from biml.evaluation.network import NetworkResponder, teacher_forced_exact_match
from biml.networks.base import EpisodeNetwork
from biml.paths import DataFolders

DEFAULT_REPEATS = 10
"""Repeats with random orders and remappings that log-likelihoods are averaged over."""

EVALUATION_SEED = 0

_HUMAN_RESPONSES = {OPEN_ENDED: OPEN_ENDED_RESPONSES, PROBES: PROBE_RESPONSES}
"""Data sources with the human responses of a task."""

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """One measurement of a model.

    `biml.reproduce.measurements` extends it by what it needs to keep and share out results.

    Attributes:
        name: its key.
        summary: a few words for people.
        version: increased whenever its results change.
        run: takes the model and more; see the tables.
        ineligible_reason: why a model cannot be measured, or "".
    """

    name: str
    summary: str
    version: int
    run: Callable[..., Any]
    ineligible_reason: Callable[[Any], str]


@dataclass(frozen=True)
class CardMeasurement(Measurement):
    """One measurement of a network's card: `run(network, evaluation, repeats)` to `Metrics`.

    Attributes:
        task: what it is measured on, in the vocabulary of the network.
    """

    task: str

    def episode_type_for(self, network: EpisodeNetwork) -> EpisodeType | None:
        return evaluation_type(self.task, network.vocabulary)


def exact_match_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int = 1
) -> Metrics:
    """Percent of exact greedy responses to novel and study-example queries (SD over episodes)."""
    episodes = evaluation.repeat(0)
    exact = teacher_forced_exact_match(network, episodes, max_response_length(episodes))
    metrics: Metrics = {}
    for name, in_study in (("novel", False), ("copied", True)):
        found = accuracy(
            episodes,
            exact,
            in_study=in_study,
            group_by_participant=evaluation.autoregressive,
        )
        if found is not None:
            metrics |= {
                name: round(found.mean, 3),
                f"{name}_sd": round(found.sd, 3),
                "episodes": found.n_episodes,
            }
    return metrics


def log_likelihood_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int
) -> Metrics:
    """Log-likelihood of human responses at the best lapse rate (SD over repeats)."""
    scored = score_responses(NetworkResponder(network), evaluation, repeats=repeats)
    fit = fit_lapse(token_scores(scored, evaluation.query_repeats))
    return {
        "sd": round(fit.sd, 3),
        "symbols": fit.n_symbols,
        "p_lapse": fit.p_lapse,
        "log_likelihood": round(fit.mean, 3),
        "passes": len(fit.passes),
    }


def _unknown_vocabulary(network: EpisodeNetwork) -> str:
    return f"it knows other words ({' '.join(network.vocabulary.input.symbols)})"


CARD_MEASUREMENTS = tuple(
    CardMeasurement(name, summary, 1, run, _unknown_vocabulary, task)
    for name, summary, run, task in (
        ("gold", "gold few-shot queries", exact_match_metrics, FEW_SHOT_GOLD),
        ("validation", "validation episodes", exact_match_metrics, VALIDATION),
        ("novel_rules", "held-out rules", exact_match_metrics, NOVEL_RULES),
        ("few_shot_human", "human few-shot responses", log_likelihood_metrics, FEW_SHOT),
        ("open_ended", "human open-ended responses", log_likelihood_metrics, OPEN_ENDED),
    )
)


def evaluate_for_card(
    network: EpisodeNetwork,
    data: DataFolders,
    *,
    repeats: int = DEFAULT_REPEATS,
    progress: Callable[[str], None] = lambda summary: None,
) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Run all measurements of the card that the network is eligible for.

    Returns:
        Metrics by measurement, with their episode type, and the reasons why others are missing.
    Raises:
        BimlError: human data are missing; the message says how to get them.
    """
    metrics: dict[str, Metrics] = {}
    not_measured: dict[str, str] = {}
    for row in CARD_MEASUREMENTS:
        kind = row.episode_type_for(network)
        if kind is None:
            not_measured[row.name] = row.ineligible_reason(network)
            continue
        progress(row.summary)
        found = row.run(network, kind.open_evaluation(data, EVALUATION_SEED), repeats)
        metrics[row.name] = {"episode_type": kind.name, **found}
    return metrics, not_measured


def count_changed_responses(
    network: EpisodeNetwork, other: EpisodeNetwork, data: DataFolders
) -> tuple[int, int]:
    """Count greedy responses that differ between two networks, and all.

    On the episodes of all exact-match measurements; such as to see the effect of rounding.
    """
    n_changed = n_responses = 0
    for row in CARD_MEASUREMENTS:
        kind = row.episode_type_for(network)
        if kind is not None and row.run is exact_match_metrics:
            episodes = kind.open_evaluation(data, EVALUATION_SEED).repeat(0)
            max_length = max_response_length(episodes)
            for ours, theirs in zip(
                greedy_responses(NetworkResponder(network), episodes, max_length),
                greedy_responses(NetworkResponder(other), episodes, max_length),
                strict=True,
            ):
                n_responses += len(ours)
                n_changed += sum(a != b for a, b in zip(ours, theirs, strict=True))
    return n_changed, n_responses


def seen_in_training(trained_on: str, evaluated_on: EpisodeType) -> bool:
    """Whether a model's training episodes contain the human responses of an evaluation.

    >>> folds = EPISODE_TYPES["open_end_human_cross1"], EPISODE_TYPES["open_end_human_cross2"]
    >>> [seen_in_training("joint_cross1", fold) for fold in folds]  # the first is held out
    [False, True]
    """
    training = EPISODE_TYPES.get(trained_on)
    if training is None or not evaluated_on.has_targets:
        return False
    source = _HUMAN_RESPONSES.get(evaluated_on.evaluation_task)
    held_out = training.fold and training.fold == evaluated_on.fold
    return source in training.data_sources and not held_out
