"""What an episode's grammar tells beside its targets, to guide a network in training."""

from collections.abc import Sequence
from dataclasses import replace

from biml.episodes.episode import Episode, Example, GrammarLabels, SourcePositions
from biml.episodes.present import Further, TrainingEpisodes
from biml.grammar import Grammar


def add_grammar_labels(episode: Episode) -> Episode:
    """The episode with what its grammar tells, where it has one.

    >>> grammar = Grammar.parse("dax -> RED\\nwif -> BLUE\\nu1 fep u2 -> [u2] [u1] [u2]")
    >>> query = Example(("dax", "fep", "wif"), ("BLUE", "RED", "BLUE"))
    >>> noisy = Example(("dax", "fep", "wif"), ("BLUE", "PINK", "BLUE"))
    >>> add_grammar_labels(Episode((), (query, noisy), grammar=grammar)).grammar_labels.queries
    ((2, 0, 2), None)
    """
    grammar = episode.grammar
    if grammar is None:
        return episode
    rules = {rule.words[0]: rule for rule in grammar.rules if len(rule.words) == 1}
    study, queries = (
        _source_positions(grammar, episode.study),
        _source_positions(grammar, episode.queries),
    )
    return replace(episode, grammar_labels=GrammarLabels(study, queries, rules))


def _source_positions(grammar: Grammar, examples: Sequence[Example]) -> tuple[SourcePositions, ...]:
    symbols = {rule.lhs[0]: rule.rhs[0] for rule in grammar.primitives}
    places = grammar.interpreter.source_positions(example.input for example in examples)
    return tuple(
        found
        if found is not None and [symbols[example.input[i]] for i in found] == list(example.output)
        else None
        for example, found in zip(examples, places, strict=True)
    )


def with_grammar_labels(episodes: TrainingEpisodes) -> TrainingEpisodes:
    """Training episodes with what their grammars tell."""
    return Further(episodes, lambda episode, _: add_grammar_labels(episode), seed=0)
