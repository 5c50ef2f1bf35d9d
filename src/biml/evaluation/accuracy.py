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
    episodes: int


def accuracy(
    episodes: Sequence[Episode],
    answers: Sequence[Sequence[tuple[str, ...]]],
    *,
    copied: bool,
    by_name: bool = False,
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
    >>> accuracy([episode], [[("RED",), ("PINK",)]], copied=False)
    Accuracy(mean=50.0, sd=0.0, episodes=1)
    """
    right = [
        [answer == query.symbols for query, answer in zip(episode.queries, given, strict=True)]
        for episode, given in zip(episodes, answers, strict=True)
    ]
    return share_right(episodes, right, copied=copied, by_name=by_name)


def share_right(
    episodes: Sequence[Episode],
    right: Sequence[Sequence[bool]],
    *,
    copied: bool,
    by_name: bool = False,
) -> Accuracy | None:
    """The same, given for each episode and query whether it is answered exactly."""
    found: dict[object, list[bool]] = {}
    for number, (episode, given) in enumerate(zip(episodes, right, strict=True)):
        for query, exact in zip(episode.queries, given, strict=True):
            if query.copied == copied:
                found.setdefault(episode.name if by_name else number, []).append(exact)
    if not found:
        return None
    shares = [100 * sum(one) / len(one) for one in found.values()]
    sd = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return Accuracy(float(np.mean(shares)), sd, len(shares))
