"""The figures of a model that its card states: the paper's, as far as they can be asked of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from biml.episodes.locate import DataFolders
from biml.episodes.present import EvaluationEpisodes
from biml.episodes.types import EpisodeType, episode_type
from biml.evaluation.accuracy import accuracy
from biml.evaluation.answers import best, longest
from biml.evaluation.likelihood import fit_lapse, score_repeats
from biml.evaluation.network_responder import NetworkResponder
from biml.networks.base import EpisodeNetwork

PASSES = 10
"""Passes with fresh orders and names that log-likelihoods are averaged over."""

SEED = 0

Figure = dict[str, Any]


def exact_answers(network: EpisodeNetwork, evaluation: EvaluationEpisodes, passes: int) -> Figure:
    """Percent of likeliest answers that are exact, on novel and copied queries (SD: episodes)."""
    episodes = evaluation.presented(0)
    answers = best(NetworkResponder(network), episodes, longest(episodes))
    figure: Figure = {}
    for name, copied in (("novel", False), ("copied", True)):
        found = accuracy(episodes, answers, copied=copied, by_name=evaluation.by_name)
        if found is not None:
            figure |= {
                name: round(found.mean, 3),
                f"{name}_sd": round(found.sd, 3),
                "episodes": found.episodes,
            }
    return figure


def log_likelihood(network: EpisodeNetwork, evaluation: EvaluationEpisodes, passes: int) -> Figure:
    """Log-likelihood of people's answers at the lapse rate that fits best (SD: over passes)."""
    repeats = passes if evaluation.stochastic else 1
    found = fit_lapse(score_repeats(NetworkResponder(network), evaluation.presented, repeats))
    figure = asdict(found)
    del figure["passes"]
    figure["log_likelihood"] = round(figure.pop("mean"), 3)
    return figure | {"sd": round(found.sd, 3), "passes": repeats}


@dataclass(frozen=True)
class Measure:
    """One figure of a card.

    Attributes:
        name: its key on the card.
        label: for people.
        kinds: episode types that it can be measured on; the first whose symbols a model knows.
        take: measures it.
    """

    name: str
    label: str
    kinds: tuple[str, ...]
    take: Callable[[EpisodeNetwork, EvaluationEpisodes, int], Figure]

    def kind_for(self, network: EpisodeNetwork) -> EpisodeType | None:
        """The episode type to ask this network, if there is one."""
        fitting = (k for k in map(episode_type, self.kinds) if k.vocabulary == network.vocabulary)
        return next(fitting, None)


MEASURES = (
    Measure("gold", "gold few-shot queries", ("few_shot_gold", "few_shot_vanilla"), exact_answers),
    Measure("validation", "validation episodes", ("algebraic",), exact_answers),
    Measure("novel_rules", "rules never met in training", ("novel_rules",), exact_answers),
    Measure(
        "few_shot_human",
        "people's few-shot answers",
        ("few_shot_human", "human_vanilla"),
        log_likelihood,
    ),
    Measure("open_ended", "people's open-ended answers", ("open_end_human_all",), log_likelihood),
)


def measure(
    network: EpisodeNetwork,
    data: DataFolders,
    *,
    passes: int = PASSES,
    progress: Callable[[str], None] = lambda label: None,
) -> tuple[dict[str, Figure], dict[str, str]]:
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
    figures: dict[str, Figure] = {}
    skipped: dict[str, str] = {}
    for one in MEASURES:
        kind = one.kind_for(network)
        if kind is None:
            words = " ".join(network.vocabulary.input.symbols)
            skipped[one.name] = f"it knows other words ({words})"
            continue
        progress(one.label)
        found = one.take(network, kind.open_evaluation(data, SEED), passes)
        figures[one.name] = {"episode_type": kind.name, **found}
    return figures, skipped


def changed_answers(
    network: EpisodeNetwork, other: EpisodeNetwork, data: DataFolders
) -> tuple[int, int]:
    """How many of the likeliest answers differ between two networks, and of how many.

    They are asked all that is measured by exact answers, such as to tell what rounding changed.
    """
    changed = asked = 0
    for one in MEASURES:
        kind = one.kind_for(network)
        if kind is not None and one.take is exact_answers:
            episodes = kind.open_evaluation(data, SEED).presented(0)
            most = longest(episodes)
            pairs = zip(
                best(NetworkResponder(network), episodes, most),
                best(NetworkResponder(other), episodes, most),
                strict=True,
            )
            for ours, theirs in pairs:
                asked += len(ours)
                changed += sum(a != b for a, b in zip(ours, theirs, strict=True))
    return changed, asked
