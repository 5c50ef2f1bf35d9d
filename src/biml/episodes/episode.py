"""An episode: one few-shot task, made of study and query examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from biml.grammar import Grammar, Rule
from biml.grammar.meta import COLOURS, WORDS

__all__ = [
    "COLOURS",
    "WORDS",
    "Episode",
    "Example",
    "GrammarLabels",
    "SourcePositions",
    "Remapping",
]

PAIR_SEP, EXAMPLE_SEP = "->", "|"
"""What stands within and between study examples where one line of text holds them all, as in
`p1 -> c1 | p2 -> c2`, so that neither can be a word or symbol there."""


class Example(NamedTuple):
    """Input words and the output symbols they stand for.

    `copied` marks a query that is also a study example (the copy task, paper Methods).
    """

    input: tuple[str, ...]
    output: tuple[str, ...]
    in_study: bool = False


@dataclass(frozen=True, slots=True)
class Remapping:
    """A one-to-one renaming of an episode's input words and output symbols, kept to undo it."""

    words: Mapping[str, str]
    symbols: Mapping[str, str]


SourcePositions = tuple[int, ...] | None
"""For each output symbol the number of the input word that it stands for; None: not known."""


@dataclass(frozen=True, slots=True)
class GrammarLabels:
    """What a grammar tells of the examples of an episode.

    An output that biases or noise have changed is explained by no rule, and has no origins.

    Attributes:
        study: origins of the output of each study example.
        queries: origins of each query's target.
        rules: the rule of each word that is the only word of one.
    """

    study: tuple[SourcePositions, ...]
    queries: tuple[SourcePositions, ...]
    rules: Mapping[str, Rule]


@dataclass(frozen=True, slots=True)
class Episode:
    """One few-shot task.

    Attributes:
        study: the study (support) examples, in the order in which they are shown.
        queries: the query examples with their targets.
        grammar: the interpretation grammar that made it, where known.
        pool: the output symbols an answer may use (probe task), where limited.
        name: where it comes from, for messages: a file name or `stream episode 17`.
        explanation: what the grammar tells beside the targets, for training; None where not asked.
        remapping: how canonical names were renamed to make this episode, where they were.
    """

    study: tuple[Example, ...]
    queries: tuple[Example, ...]
    grammar: Grammar | None = field(default=None, repr=False)
    pool: tuple[str, ...] | None = None
    name: str = ""
    remapping: Remapping | None = field(default=None, repr=False)
    grammar_labels: GrammarLabels | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """A listing of its examples and grammar, one a line."""
        from biml.episodes.render import listing

        return listing(self)

    def _repr_html_(self) -> str:
        """The same with coloured circles, in a notebook."""
        from biml.episodes.render import html

        return html(self)
