"""The figures of a model that its card states: the paper's, as far as they can be asked of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from biml.episodes.locate import DataFolders
from biml.episodes.present import EvaluationSet
from biml.episodes.types import EpisodeType, episode_type
from biml.evaluation.accuracy import accuracy
from biml.evaluation.answers import greedy_responses, max_response_length
from biml.evaluation.likelihood import fit_lapse, score_repeats
from biml.evaluation.network_responder import NetworkResponder
from biml.networks.base import EpisodeNetwork

DEFAULT_REPEATS = 10
"""Passes with fresh orders and names that log-likelihoods are averaged over."""

EVALUATION_SEED = 0

Metrics = dict[str, Any]


def exact_match_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int
) -> Metrics:
    """Percent of likeliest answers that are exact, on novel and copied queries (SD: episodes)."""
    episodes = evaluation.repeat(0)
    answers = greedy_responses(NetworkResponder(network), episodes, max_response_length(episodes))
    figure: Metrics = {}
    for name, copied in (("novel", False), ("copied", True)):
        found = accuracy(
            episodes, answers, in_study=copied, group_by_participant=evaluation.group_by_participant
        )
        if found is not None:
            figure |= {
                name: round(found.mean, 3),
                f"{name}_sd": round(found.sd, 3),
                "episodes": found.n_episodes,
            }
    return figure


def log_likelihood_metrics(
    network: EpisodeNetwork, evaluation: EvaluationSet, repeats: int
) -> Metrics:
    """Log-likelihood of people's answers at the lapse rate that fits best (SD: over passes)."""
    repeats = repeats if evaluation.varies else 1
    found = fit_lapse(score_repeats(NetworkResponder(network), evaluation.repeat, repeats))
    figure = asdict(found)
    del figure["passes"]
    figure["log_likelihood"] = round(figure.pop("mean"), 3)
    return figure | {"sd": round(found.sd, 3), "passes": repeats}


@dataclass(frozen=True)
class Benchmark:
    """One figure of a card.

    Attributes:
        name: its key on the card.
        label: for people.
        kinds: episode types that it can be measured on; the first whose symbols a model knows.
        take: measures it.
    """

    name: str
    label: str
    episode_types: tuple[str, ...]
    evaluate: Callable[[EpisodeNetwork, EvaluationSet, int], Metrics]

    def episode_type_for(self, network: EpisodeNetwork) -> EpisodeType | None:
        """The episode type to ask this network, if there is one."""
        fitting = (
            k for k in map(episode_type, self.episode_types) if k.vocabulary == network.vocabulary
        )
        return next(fitting, None)


CARD_BENCHMARKS = (
    Benchmark(
        "gold", "gold few-shot queries", ("few_shot_gold", "few_shot_vanilla"), exact_match_metrics
    ),
    Benchmark("validation", "validation episodes", ("algebraic",), exact_match_metrics),
    Benchmark("novel_rules", "rules never met in training", ("novel_rules",), exact_match_metrics),
    Benchmark(
        "few_shot_human",
        "people's few-shot answers",
        ("few_shot_human", "human_vanilla"),
        log_likelihood_metrics,
    ),
    Benchmark(
        "open_ended", "people's open-ended answers", ("open_end_human_all",), log_likelihood_metrics
    ),
)


def evaluate_for_card(
    network: EpisodeNetwork,
    data: DataFolders,
    *,
    repeats: int = DEFAULT_REPEATS,
    progress: Callable[[str], None] = lambda label: None,
) -> tuple[dict[str, Metrics], dict[str, str]]:
    """All figures that can be asked of a network.

    Args:
        network: of any architecture.
        data: where people's answers are found.
        passes: over people's answers.
        progress: told the label of each figure before it is taken.

    Returns:
        the figures by name, each with the episode type it is for; and why others are missing.

    Raises:
        BimlError: people's answers are not found; the message says how to get them.
    """
    figures: dict[str, Metrics] = {}
    skipped: dict[str, str] = {}
    for one in CARD_BENCHMARKS:
        kind = one.episode_type_for(network)
        if kind is None:
            words = " ".join(network.vocabulary.input.symbols)
            skipped[one.name] = f"it knows other words ({words})"
            continue
        progress(one.label)
        found = one.evaluate(network, kind.open_evaluation(data, EVALUATION_SEED), repeats)
        figures[one.name] = {"episode_type": kind.name, **found}
    return figures, skipped


def count_changed_responses(
    network: EpisodeNetwork, other: EpisodeNetwork, data: DataFolders
) -> tuple[int, int]:
    """How many of the likeliest answers differ between two networks, and of how many.

    They are asked all that is measured by exact answers, such as to tell what rounding changed.
    """
    changed = asked = 0
    for one in CARD_BENCHMARKS:
        kind = one.episode_type_for(network)
        if kind is not None and one.evaluate is exact_match_metrics:
            episodes = kind.open_evaluation(data, EVALUATION_SEED).repeat(0)
            most = max_response_length(episodes)
            pairs = zip(
                greedy_responses(NetworkResponder(network), episodes, most),
                greedy_responses(NetworkResponder(other), episodes, most),
                strict=True,
            )
            for ours, theirs in pairs:
                asked += len(ours)
                changed += sum(a != b for a, b in zip(ours, theirs, strict=True))
    return changed, asked
