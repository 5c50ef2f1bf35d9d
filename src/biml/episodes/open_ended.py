"""The open-ended task: seven inputs that each participant answered without any study example.

The likelihood of a participant's answers is that of answering one query after another, the earlier
pairs being the study examples: P(y1..y7 | x1..x7) = Π P(yi | xi, x<i, y<i) (paper, Methods).
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from biml.episodes.episode import Episode

MAX_RANDOM_STUDY = 6


def shuffle_queries(episode: Episode, rng: Random) -> Episode:
    """Put the queries in a random order."""
    return replace(episode, queries=tuple(rng.sample(episode.queries, len(episode.queries))))


def random_study_query_split(episode: Episode, rng: Random) -> Episode:
    """Make a random 0 to 6 of the pairs study examples and the others queries."""
    pairs = rng.sample(episode.queries, len(episode.queries))
    n = rng.randint(0, min(MAX_RANDOM_STUDY, len(pairs) - 1))
    return replace(episode, study=tuple(pairs[:n]), queries=tuple(pairs[n:]))


def autoregressive_episodes(episode: Episode) -> Iterator[Episode]:
    """An episode for each query, in order, whose study examples are the earlier pairs.

    All have the participant's name, so that their log-likelihoods can be added up.

    >>> from biml.episodes.episode import Example
    >>> a, b = Example(("dax",), ("RED",)), Example(("lug",), ("BLUE",))
    >>> [(len(e.study), e.queries[0].input) for e in autoregressive_episodes(Episode((), (a, b)))]
    [(0, ('dax',)), (1, ('lug',))]
    """
    for i, query in enumerate(episode.queries):
        study = (*episode.study, *episode.queries[:i])
        yield replace(episode, study=study, queries=(query,))
