"""Which word of a query each symbol of its answer comes from, to guide attention in training."""

from dataclasses import replace

from biml.episodes.episode import Episode
from biml.episodes.present import Further, TrainingEpisodes


def trace_origins(episode: Episode) -> Episode:
    """The episode with the origins of its queries' targets, where its grammar explains them.

    A target that biases or noise have changed is explained by no rule, and has no origins.

    >>> from biml.episodes.episode import Example
    >>> from biml.grammar import Grammar
    >>> grammar = Grammar.parse("dax -> RED\\nwif -> BLUE\\nu1 fep u2 -> [u2] [u1] [u2]")
    >>> query = Example(("dax", "fep", "wif"), ("BLUE", "RED", "BLUE"))
    >>> noisy = Example(("dax", "fep", "wif"), ("BLUE", "PINK", "BLUE"))
    >>> trace_origins(Episode((), (query, noisy), grammar=grammar)).origins
    ((2, 0, 2), None)
    """
    if episode.grammar is None:
        return episode
    symbols = {rule.lhs[0]: rule.rhs[0] for rule in episode.grammar.primitives}
    places = episode.grammar.interpreter.origins(query.words for query in episode.queries)
    origins = tuple(
        found
        if found is not None and [symbols[query.words[i]] for i in found] == list(query.symbols)
        else None
        for query, found in zip(episode.queries, places, strict=True)
    )
    return replace(episode, origins=origins)


def traced(episodes: TrainingEpisodes) -> TrainingEpisodes:
    """Training episodes with their origins."""
    return Further(episodes, lambda episode, _: trace_origins(episode), seed=0)
