"""Which questions some episodes really ask, so that each is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.networks.base import Batch
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class DistinctQueries:
    """The distinct questions of a list of episodes.

    A question is a study set in one order, the words of a query and the pool its answer may use;
    the 217 human few-shot responses answer 10 of them.

    Attributes:
        episodes: one a study set and pool, with each of its queries once, and without targets.
        asked: for each query of each given episode the number of its question.
        number: the number of query q of `episodes[e]`, by (e, q).
    """

    episodes: list[Episode]
    query_index: list[list[int]]
    index_of: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.index_of)

    def rows_of(self, batch: Batch) -> list[int]:
        """The question that each row of a batch of `episodes` asks."""
        return [self.index_of[origin] for origin in batch.indices]

    def output_mask(
        self, batch: Batch, vocabulary: Vocabulary, *, always_excluded: Sequence[int]
    ) -> Tensor:
        """Which output entries the row's answer may not use, BoolTensor [rows, output vocabulary].

        Args:
            everyone: entries that no row may use.
        """
        pools = [self.episodes[episode].pool for episode, _ in batch.indices]
        return output_mask(pools, vocabulary, always_excluded=always_excluded).to(
            batch.target.device
        )


def output_mask(
    pools: Sequence[tuple[str, ...] | None],
    vocabulary: Vocabulary,
    *,
    always_excluded: Sequence[int],
) -> Tensor:
    """Which output entries answers may not use, given the pool of each row.

    Args:
        everyone: entries that no row may use.
    Returns:
        BoolTensor [rows, output vocabulary].
    """
    masks = {pool: _pool_mask(pool, vocabulary, always_excluded) for pool in dict.fromkeys(pools)}
    return torch.stack([masks[pool] for pool in pools])


def deduplicate(episodes: Sequence[Episode]) -> DistinctQueries:
    """The distinct questions of the episodes.

    >>> study = (Example(("dax",), ("RED",)),)
    >>> query = Example(("dax",), ("RED",))
    >>> deduplicate([Episode(study, (query, query)), Episode(study, (query,))]).query_index
    [[0, 0], [0]]
    """
    groups: dict[tuple[object, object], tuple[Episode, dict[tuple[str, ...], int]]] = {}
    questions = 0
    asked: list[list[int]] = []
    for episode in episodes:
        _, known = groups.setdefault((episode.study, episode.pool), (episode, {}))
        for query in episode.queries:
            if query.input not in known:
                known[query.input] = questions
                questions += 1
        asked.append([known[query.input] for query in episode.queries])
    merged: list[Episode] = []
    number: dict[tuple[int, int], int] = {}
    for episode, known in groups.values():
        for place, question in enumerate(known.values()):
            number[len(merged), place] = question
        queries = tuple(Example(words, ()) for words in known)
        merged.append(Episode(episode.study, queries, pool=episode.pool, name=episode.name))
    return DistinctQueries(merged, asked, number)


def _pool_mask(
    pool: tuple[str, ...] | None, vocabulary: Vocabulary, always_excluded: Sequence[int]
) -> Tensor:
    language = vocabulary.output
    mask = torch.zeros(len(language), dtype=torch.bool)
    if pool is not None:
        mask[:] = True
        mask[[*language.encode(pool), language.eos]] = False
    mask[list(always_excluded)] = True
    return mask
