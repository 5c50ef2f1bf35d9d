"""Exact match with the targets, on copied study examples and on new queries apart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import (
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    VALIDATION,
    EpisodeType,
)
from biml.episodes.registry import evaluation_type
from biml.evaluation.likelihood import fit_lapse, score_repeats
from biml.evaluation.network import NetworkResponder
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder, Response
from biml.networks.base import EpisodeNetwork
from biml.paths import DataFolders
from biml.rng import derive_seed

EPISODES_PER_CHUNK = 50
"""Episodes that are answered between two reports of progress."""

CountCallback = Callable[[int], None]
"""Called with the number of episodes answered so far."""


def no_progress(done: int) -> None:
    """Progress that nobody watches."""


def max_response_length(episodes: Iterable[Episode], default: int = DEFAULT_MAX_LENGTH) -> int:
    """The most symbols of a response: `default` (published: 10), or more where targets are longer.

    Targets are those that the episodes hold and those of the episodes' grammars.
    """
    lengths = [
        len(answer)
        for episode in episodes
        for query in episode.queries
        for answer in (query.output, *_grammar_response(episode, query.input))
    ]
    return max([default, *lengths])


def _grammar_response(episode: Episode, words: tuple[str, ...]) -> list[Response]:
    return [episode.grammar.interpret(words)] if episode.grammar else []


def greedy_responses(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """The responder's best answer to each query of each episode."""
    answers: list[list[Response]] = []
    for start in range(0, len(episodes), EPISODES_PER_CHUNK):
        answers += responder.respond(
            episodes[start : start + EPISODES_PER_CHUNK], max_length=max_length
        )
        progress(len(answers))
    return answers


def sampled_responses(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """One drawn answer to each query of each episode; the same for the same seed."""
    answers: list[list[Response]] = []
    for start in range(0, len(episodes), EPISODES_PER_CHUNK):
        some = episodes[start : start + EPISODES_PER_CHUNK]
        several = responder.sample(some, seed=derive_seed(seed, start), max_length=max_length)
        answers += [[one for (one,) in of_episode] for of_episode in several]
        progress(len(answers))
    return answers


def sample_autoregressively(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int,
    p_lapse: float = 0.0,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """Drawn answers to queries in turn, each pair becoming a study example for the next.

    So the open-ended task is answered from nothing (paper, Methods): targets are not looked at.
    """
    answers: list[list[Response]] = [[] for _ in episodes]
    study = [list(episode.study) for episode in episodes]
    for turn in range(max((len(episode.queries) for episode in episodes), default=0)):
        asking = [n for n, episode in enumerate(episodes) if turn < len(episode.queries)]
        asked = [
            replace(
                episodes[n], study=tuple(study[n]), queries=episodes[n].queries[turn : turn + 1]
            )
            for n in asking
        ]
        turn_seed = derive_seed(seed, "turn", turn)
        several = responder.sample(asked, seed=turn_seed, max_length=max_length, p_lapse=p_lapse)
        for n, episode, ((answer,),) in zip(asking, asked, several, strict=True):
            answers[n].append(answer)
            study[n].append(Example(episode.queries[0].input, answer))
        progress(turn + 1)
    return answers


def max_target_length(episodes: Iterable[Episode]) -> tuple[int, str]:
    """How many symbols the longest target has, and the name of its episode."""
    targets = ((len(q.output), e.name) for e in episodes for q in e.queries)
    return max(targets, default=(0, ""))


# === Exact match with the targets, on copied study examples and on new queries apart.


@dataclass(frozen=True)
class Accuracy:
    """Percent of queries answered exactly.

    Attributes:
        mean: over episodes, in percent.
        sd: sample standard deviation over episodes, in percent; 0 for one episode.
        episodes: how many episodes have such queries.
    """

    mean: float
    sd: float
    n_episodes: int


def accuracy(
    episodes: Sequence[Episode],
    responses: Sequence[Sequence[tuple[str, ...]]],
    *,
    in_study: bool,
    group_by_participant: bool = False,
) -> Accuracy | None:
    """Exact match on the copied queries ("retrieve") or on the new ones ("novel").

    Args:
        answers: for each episode and query the answer.
        copied: which of the two.
        by_name: episodes of one name are parts of one, as a participant's answer sheet is.
    Returns:
        None where no episode has such queries.

    >>> from biml.episodes.episode import Example
    >>> episode = Episode((), (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",))))
    >>> accuracy([episode], [[("RED",), ("PINK",)]], in_study=False)
    Accuracy(mean=50.0, sd=0.0, n_episodes=1)
    """
    right = [
        [answer == query.output for query, answer in zip(episode.queries, given, strict=True)]
        for episode, given in zip(episodes, responses, strict=True)
    ]
    return exact_match_rate(
        episodes, right, in_study=in_study, group_by_participant=group_by_participant
    )


def exact_match_rate(
    episodes: Sequence[Episode],
    is_correct: Sequence[Sequence[bool]],
    *,
    in_study: bool,
    group_by_participant: bool = False,
) -> Accuracy | None:
    """The same, given for each episode and query whether it is answered exactly."""
    found: dict[object, list[bool]] = {}
    for number, (episode, given) in enumerate(zip(episodes, is_correct, strict=True)):
        for query, exact in zip(episode.queries, given, strict=True):
            if query.in_study == in_study:
                found.setdefault(episode.name if group_by_participant else number, []).append(exact)
    if not found:
        return None
    shares = [100 * sum(one) / len(one) for one in found.values()]
    sd = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return Accuracy(float(np.mean(shares)), sd, len(shares))


# === The figures of a model that its card states: the paper's, as far as they can be asked of i


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
            episodes, answers, in_study=copied, group_by_participant=evaluation.autoregressive
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
        task: that it is measured on, in the vocabulary of the model.
        take: measures it.
    """

    name: str
    label: str
    task: str
    evaluate: Callable[[EpisodeNetwork, EvaluationSet, int], Metrics]

    def episode_type_for(self, network: EpisodeNetwork) -> EpisodeType | None:
        """The episode type to ask this network, if there is one."""
        return evaluation_type(self.task, network.vocabulary)


CARD_BENCHMARKS = (
    Benchmark("gold", "gold few-shot queries", FEW_SHOT_GOLD, exact_match_metrics),
    Benchmark("validation", "validation episodes", VALIDATION, exact_match_metrics),
    Benchmark("novel_rules", "rules never met in training", NOVEL_RULES, exact_match_metrics),
    Benchmark("few_shot_human", "people's few-shot answers", FEW_SHOT, log_likelihood_metrics),
    Benchmark("open_ended", "people's open-ended answers", OPEN_ENDED, log_likelihood_metrics),
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
