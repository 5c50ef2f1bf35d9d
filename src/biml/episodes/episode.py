"""An episode: one few-shot task, made of study and query examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from biml.grammar import Grammar
from biml.grammar.meta import COLOURS, WORDS

__all__ = ["COLOURS", "WORDS", "Episode", "Example", "Remapping"]


class Example(NamedTuple):
    """Input words and the output symbols they stand for.

    `copied` marks a query that is also a study example (the copy task, paper Methods).
    """

    words: tuple[str, ...]
    symbols: tuple[str, ...]
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Remapping:
    """A one-to-one renaming of an episode's input words and output symbols, kept to undo it."""

    words: Mapping[str, str]
    symbols: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Episode:
    """One few-shot task.

    Attributes:
        study: the study (support) examples, in the order in which they are shown.
        queries: the query examples with their targets.
        grammar: the interpretation grammar that made it, where known.
        pool: the output symbols an answer may use (probe task), where limited.
        name: where it comes from, for messages: a file name or `stream episode 17`.
        origins: for each query, the number of the input word that each target symbol stands for, or
            None where a query's is not known; None altogether where nobody asked.
        remapping: how canonical names were renamed to make this episode, where they were.
    """

    study: tuple[Example, ...]
    queries: tuple[Example, ...]
    grammar: Grammar | None = field(default=None, repr=False)
    pool: tuple[str, ...] | None = None
    name: str = ""
    remapping: Remapping | None = field(default=None, repr=False)
    origins: tuple[tuple[int, ...] | None, ...] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """A listing of its examples and grammar, one a line."""
        from biml.episodes.render import listing

        return listing(self)

    def _repr_html_(self) -> str:
        """The same with coloured circles, in a notebook."""
        from biml.episodes.render import html

        return html(self)
