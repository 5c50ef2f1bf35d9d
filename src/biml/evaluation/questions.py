"""Which questions some episodes really ask, so that each is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.networks.base import Batch
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class Questions:
    """The distinct questions of a list of episodes.

    A question is a study set in one order, the words of a query and the pool its answer may use;
    the 217 human few-shot responses answer 10 of them.

    Attributes:
        episodes: one a study set and pool, with each of its queries once, and without targets.
        asked: for each query of each given episode the number of its question.
        number: the number of query q of `episodes[e]`, by (e, q).
    """

    episodes: list[Episode]
    asked: list[list[int]]
    number: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.number)

    def of(self, batch: Batch) -> list[int]:
        """The question that each row of a batch of `episodes` asks."""
        return [self.number[origin] for origin in batch.origin]

    def forbidden(self, batch: Batch, vocabulary: Vocabulary, *, everyone: Sequence[int]) -> Tensor:
        """Which output entries the row's answer may not use, BoolTensor [rows, output vocabulary].

        Args:
            everyone: entries that no row may use.
        """
        pools = [self.episodes[episode].pool for episode, _ in batch.origin]
        return forbidden_by(pools, vocabulary, everyone=everyone).to(batch.target.device)


def forbidden_by(
    pools: Sequence[tuple[str, ...] | None], vocabulary: Vocabulary, *, everyone: Sequence[int]
) -> Tensor:
    """Which output entries answers may not use, given the pool of each row.

    Args:
        everyone: entries that no row may use.
    Returns:
        BoolTensor [rows, output vocabulary].
    """
    masks = {pool: _mask(pool, vocabulary, everyone) for pool in dict.fromkeys(pools)}
    return torch.stack([masks[pool] for pool in pools])


def distinct(episodes: Sequence[Episode]) -> Questions:
    """The distinct questions of the episodes.

    >>> study = (Example(("dax",), ("RED",)),)
    >>> query = Example(("dax",), ("RED",))
    >>> distinct([Episode(study, (query, query)), Episode(study, (query,))]).asked
    [[0, 0], [0]]
    """
    groups: dict[tuple[object, object], tuple[Episode, dict[tuple[str, ...], int]]] = {}
    questions = 0
    asked: list[list[int]] = []
    for episode in episodes:
        _, known = groups.setdefault((episode.study, episode.pool), (episode, {}))
        for query in episode.queries:
            if query.words not in known:
                known[query.words] = questions
                questions += 1
        asked.append([known[query.words] for query in episode.queries])
    merged: list[Episode] = []
    number: dict[tuple[int, int], int] = {}
    for episode, known in groups.values():
        for place, question in enumerate(known.values()):
            number[len(merged), place] = question
        queries = tuple(Example(words, ()) for words in known)
        merged.append(Episode(episode.study, queries, pool=episode.pool, name=episode.name))
    return Questions(merged, asked, number)


def _mask(pool: tuple[str, ...] | None, vocabulary: Vocabulary, everyone: Sequence[int]) -> Tensor:
    language = vocabulary.output
    mask = torch.zeros(len(language), dtype=torch.bool)
    if pool is not None:
        mask[:] = True
        mask[[*language.encode(pool), language.eos]] = False
    mask[list(everyone)] = True
    return mask
