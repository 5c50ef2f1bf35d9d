"""Exact match with the targets, on copied study examples and on new queries apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biml.episodes.episode import Episode


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
    Accuracy(mean=50.0, sd=0.0, episodes=1)
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
