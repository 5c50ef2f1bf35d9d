"""What an episode's grammar tells beside its targets, to guide a network in training."""

from collections.abc import Sequence
from dataclasses import replace

from biml.episodes.episode import Episode, Example, Explanation, Origins
from biml.episodes.present import Further, TrainingEpisodes
from biml.grammar import Grammar


def explain(episode: Episode) -> Episode:
    """The episode with what its grammar tells, where it has one.

    >>> grammar = Grammar.parse("dax -> RED\\nwif -> BLUE\\nu1 fep u2 -> [u2] [u1] [u2]")
    >>> query = Example(("dax", "fep", "wif"), ("BLUE", "RED", "BLUE"))
    >>> noisy = Example(("dax", "fep", "wif"), ("BLUE", "PINK", "BLUE"))
    >>> explain(Episode((), (query, noisy), grammar=grammar)).explanation.queries
    ((2, 0, 2), None)
    """
    grammar = episode.grammar
    if grammar is None:
        return episode
    rules = {rule.words[0]: rule for rule in grammar.rules if len(rule.words) == 1}
    study, queries = _origins(grammar, episode.study), _origins(grammar, episode.queries)
    return replace(episode, explanation=Explanation(study, queries, rules))


def _origins(grammar: Grammar, examples: Sequence[Example]) -> tuple[Origins, ...]:
    symbols = {rule.lhs[0]: rule.rhs[0] for rule in grammar.primitives}
    places = grammar.interpreter.origins(example.words for example in examples)
    return tuple(
        found
        if found is not None and [symbols[example.words[i]] for i in found] == list(example.symbols)
        else None
        for example, found in zip(examples, places, strict=True)
    )


def explained(episodes: TrainingEpisodes) -> TrainingEpisodes:
    """Training episodes with what their grammars tell."""
    return Further(episodes, lambda episode, _: explain(episode), seed=0)
