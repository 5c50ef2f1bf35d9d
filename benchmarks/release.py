"""Models prepared for release: rounded weights, and a card of provenance and metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    VALIDATION,
    EpisodeType,
)
from biml.episodes.registry import episode_type, evaluation_type
from biml.errors import UsageError
from biml.evaluation.accuracy import (
    error_rates,
    max_response_length,
    single_responses,
    study_and_novel,
    total_error_rate,
)
from biml.evaluation.card_text import METRIC_NAMES
from biml.evaluation.cards import provenance, thin_log, training_segments
from biml.evaluation.evaluate import DEFAULT_REPEATS
from biml.evaluation.likelihood import (
    cross_validate,
    fit_lapse,
    score_responses,
    token_scores,
)
from biml.evaluation.network import NetworkResponder, teacher_forced_exact_match
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import (
    REQUIRED_KEYS,
    cast_weights,
    load_checkpoint,
    network_from_checkpoint,
    queries_per_study_set,
)
from biml.paths import DataFolders
from biml.progress import Progress, no_progress

EVALUATION_SEED = 0

Metrics = dict[str, Any]


def exact_match_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int = 1
) -> Metrics:
    """Percent of exact greedy responses to novel and study-example queries (SD over episodes)."""
    episodes = evaluation.repeat(0)
    exact = teacher_forced_exact_match(network, episodes, max_response_length(episodes))
    study, novel = study_and_novel(evaluation, episodes, exact)
    metrics: Metrics = {}
    for name, rate in (("novel", novel), ("study", study)):
        if rate is not None:
            metrics |= {name: round(rate.mean, 3), f"{name}_sd": round(rate.sd, 3)}
            metrics["episodes"] = rate.n_episodes
    return metrics


def log_likelihood_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int
) -> Metrics:
    """Log-likelihood of human responses at the best lapse rate (SD over repeats).

    The cross-validated value has the lapse rate fitted to other responses.
    """
    scored = score_responses(NetworkResponder(network), evaluation, repeats=repeats)
    fit = fit_lapse(token_scores(scored, evaluation.query_repeats))
    held_out = evaluation.query_repeats * cross_validate([scored])[0]
    return {
        "log_likelihood": round(fit.mean, 3),
        "cross_validated": round(held_out, 3),
        "sd": round(fit.sd, 3),
        "symbols": fit.n_symbols,
        "p_lapse": fit.p_lapse,
        "repeats": len(fit.by_repeat),
    }


def error_rate_metrics(network: EpisodeNetwork, evaluation: EvaluationSet) -> Metrics:
    """Percent of wrong greedy responses to the queries of a corpus, with Wilson's 95% interval.

    Where queries have several items, such as the types of COGS, also by item.
    """
    episodes = evaluation.repeat(0)
    exact = teacher_forced_exact_match(network, episodes, max_response_length(episodes))
    rates = error_rates(episodes, exact)
    total = total_error_rate(rates.values())
    metrics: Metrics = {
        "error_rate": round(total.percent, 3),
        "interval": [round(bound, 3) for bound in total.interval],
        "wrong": total.n_wrong,
        "queries": total.n_queries,
    }
    if len(rates) > 1:
        metrics["by_item"] = {item: round(rate.percent, 3) for item, rate in rates.items()}
    return metrics


CARD_MEASUREMENTS = {
    "gold": (FEW_SHOT_GOLD, exact_match_metrics),
    "validation": (VALIDATION, exact_match_metrics),
    "novel_rules": (NOVEL_RULES, exact_match_metrics),
    "few_shot_human": (FEW_SHOT, log_likelihood_metrics),
    "open_ended": (OPEN_ENDED, log_likelihood_metrics),
}
"""What cards have under the names of `card_text.METRIC_NAMES`: the task, and what measures it."""


def evaluate_for_card(
    network: EpisodeNetwork,
    data: DataFolders,
    *,
    corpus: EpisodeType | None = None,
    n_queries: int = 1,
    repeats: int = DEFAULT_REPEATS,
    progress: Progress = no_progress,
) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Run all measurements of the card that the network is eligible for.

    Those of a network of a `corpus` are the error rates of its tests, in which `n_queries` share a
    study set.

    Returns:
        Metrics by measurement, with their episode type, and the reasons why others are missing.
    Raises:
        BimlError: human data are missing; the message says how to get them.
    """
    metrics: dict[str, Metrics] = {}
    not_measured: dict[str, str] = {}
    for name in corpus.test_types if corpus else ():
        row = episode_type(name)
        progress(0, stage=row.summary)
        evaluation = row.open_evaluation(data, EVALUATION_SEED)
        if row.uses_study:
            evaluation = evaluation.with_shared_study(n_queries)
        metrics[name] = {"episode_type": name, **error_rate_metrics(network, evaluation)}
    if corpus:
        return metrics, not_measured
    for name, (task, measure) in CARD_MEASUREMENTS.items():
        kind = evaluation_type(task, network.vocabulary)
        if kind is None:
            words = " ".join(network.vocabulary.input.symbols)
            not_measured[name] = f"it knows other words ({words})"
            continue
        progress(0, stage=METRIC_NAMES[name].partition(",")[0])
        found = measure(network, kind.open_evaluation(data, EVALUATION_SEED), repeats)
        metrics[name] = {"episode_type": kind.name, **found}
    return metrics, not_measured


def count_changed_responses(
    network: EpisodeNetwork,
    other: EpisodeNetwork,
    data: DataFolders,
    corpus: EpisodeType | None = None,
) -> tuple[int, int]:
    """Count greedy responses that differ between two networks, and all.

    On the episodes of all exact-match measurements, or on those that validate models of a corpus;
    such as to see the effect of rounding.
    """
    if corpus:
        sets = [corpus.open_validation(data, EVALUATION_SEED)]
    else:
        kinds = [
            evaluation_type(task, network.vocabulary)
            for task, measure in CARD_MEASUREMENTS.values()
            if measure is exact_match_metrics
        ]
        sets = [kind.open_evaluation(data, EVALUATION_SEED).repeat(0) for kind in kinds if kind]
    n_changed = n_responses = 0
    for episodes in sets:
        max_length = max_response_length(episodes)
        for ours, theirs in zip(
            single_responses(NetworkResponder(network), episodes, max_length),
            single_responses(NetworkResponder(other), episodes, max_length),
            strict=True,
        ):
            n_responses += len(ours)
            n_changed += sum(a != b for a, b in zip(ours, theirs, strict=True))
    return n_changed, n_responses


def build_release(
    checkpoint: Path,
    name: str,
    data: DataFolders,
    *,
    facts: Mapping[str, Any] | None = None,
    repeats: int = DEFAULT_REPEATS,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """The contents of a released model, for `networks.checkpoint.write_safetensors`.

    The metrics are those of the weights rounded to float16, which are what is released.

    Args:
        facts: entries of the card that replace the checkpoint's.
    """
    contents = load_checkpoint(checkpoint)
    if not contents["episode_type"]:
        raise UsageError(f"{checkpoint} does not state the episode type that it was trained on")
    segments = training_segments(checkpoint)
    card = {"name": name, **provenance(contents, name, segments)}
    unknown = set(facts or {}) - {*card, "note"}
    if unknown:
        raise UsageError(f"a card has no {', '.join(sorted(unknown))}; it has {', '.join(card)}")
    card |= facts or {}
    weights = cast_weights(cast_weights(contents["weights"], torch.float16), torch.float32)
    network = network_from_checkpoint({**contents, "weights": weights}, str(checkpoint))
    info, kind = contents.get("info") or {}, episode_type(contents["episode_type"])
    corpus, n_queries = kind if kind.is_corpus else None, queries_per_study_set(info)
    metrics, not_measured = evaluate_for_card(
        network, data, corpus=corpus, n_queries=n_queries, repeats=repeats, progress=progress
    )
    progress(0, stage="responses before and after rounding")
    exact_network = network_from_checkpoint(contents, str(checkpoint))
    n_changed, n_responses = count_changed_responses(network, exact_network, data, corpus)
    card |= {
        "metrics": metrics,
        "not_measured": not_measured,
        "p_lapse": metrics.get("few_shot_human", {}).get("p_lapse"),
        "rounding": {"changed_answers": n_changed, "answers": n_responses},
    }
    kept = {key: info[key] for key in ("step", "total_steps", "episodes") if key in info}
    return {
        **{key: contents[key] for key in ("format", "version", *REQUIRED_KEYS)},
        "weights": weights,
        "info": kept | ({"n_queries": n_queries} if corpus else {}),
        "card": card,
        "history": thin_log(segments[-1].log),
    }
