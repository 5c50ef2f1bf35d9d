"""Episodes: few-shot tasks of study examples and queries, and how they are displayed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

from biml.episodes.palette import CSS, STYLES, Palette, colour_name, style_of
from biml.grammar import Grammar, Rule
from biml.vocabulary import UNDEFINED

PAIR_SEP, EXAMPLE_SEP = "->", "|"

SIMULATED_PREFIX = "simulated-"
"""Begins the name of a participant whose responses a model gave (`biml experiment simulate`)."""
"""Separators of study examples in one line, as in `p1 -> c1 | p2 -> c2`; no word or symbol."""


class Example(NamedTuple):
    """Input words and output symbols: a study example, or a query with its target or response."""

    input: tuple[str, ...]
    output: tuple[str, ...]
    in_study: bool = False  #: the query is also a study example (the copy task, paper Methods)
    item: str = ""  #: of a human response: the name of its query or trial
    participant: str = ""  #: of a human response: who gave it, where known

    @property
    def text(self) -> str:
        """
        >>> Example(("dax", "fep"), ("RED", "RED", "RED")).text
        'dax fep -> RED RED RED'
        """
        return f"{' '.join(self.input)} {PAIR_SEP} {' '.join(self.output)}"


@dataclass(frozen=True, slots=True)
class Remapping:
    """One-to-one renamings of an episode's words and symbols, original name to new name."""

    words: Mapping[str, str]
    symbols: Mapping[str, str]


SourcePositions = tuple[int, ...] | None
"""For each output symbol the position of the input word that it stands for, or -1; None if all are
unknown."""


@dataclass(frozen=True, slots=True)
class GrammarLabels:
    """What the grammar says about an episode, for auxiliary losses."""

    study: tuple[SourcePositions, ...]
    queries: tuple[SourcePositions, ...]  #: None for an output with biases or noise
    rules: Mapping[str, Rule]  #: of each word that is the only word of a rule


@dataclass(frozen=True, slots=True)
class Episode:
    """One few-shot task; printed as a listing, in a notebook as a table with coloured circles."""

    study: tuple[Example, ...]
    queries: tuple[Example, ...]
    grammar: Grammar | None = field(default=None, repr=False)
    pool: tuple[str, ...] | None = None  #: output symbols that a response may use (probe task)
    name: str = ""  #: its origin for messages, such as a file name or `stream episode 17`
    remapping: Remapping | None = field(default=None, repr=False)
    grammar_labels: GrammarLabels | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.listing()

    def listing(self, format_symbols: Callable[[Sequence[str]], str] = " ".join) -> str:
        """Return the examples, pool and grammar as lines, in a terminal with `terminal_symbols`."""
        lines = [self.name] if self.name else []
        for title, examples in self._sections():
            width = max(len(" ".join(example.input)) for example in examples)
            lines.append(f"{title}:")
            lines += [
                f"  {' '.join(e.input):<{width}} → {format_symbols(e.output)}" for e in examples
            ]
        if self.pool is not None:
            lines += ["allowed outputs:", f"  {format_symbols(self.pool)}"]
        if self.grammar is not None:
            lines += ["grammar:", *[f"  {rule}" for rule in self.grammar.rules]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        outputs = [*[e.output for e in (*self.study, *self.queries)], self.pool or ()]
        palette = Palette.for_symbols(symbol for output in outputs for symbol in output)
        left = 'style="text-align:left"'
        rows = []
        for title, section in self._sections():
            rows.append(f'<tr><th colspan="2" {left}>{title}</th></tr>')
            rows += [
                f"<tr><td {left}>{escape(' '.join(example.input))}</td>"
                f"<td {left}>{palette.html(example.output)}</td></tr>"
                for example in section
            ]
        if self.pool is not None:
            rows.append(f"<tr><th>allowed outputs</th><td>{palette.html(self.pool)}</td></tr>")
        parts = [f"<p>{escape(self.name)}</p>"] if self.name else []
        parts.append(f"<style>{CSS}{palette.css}</style><table>{''.join(rows)}</table>")
        if self.grammar is not None:
            parts.append(f"<pre>{escape(str(self.grammar))}</pre>")
        return "\n".join(parts)

    def _sections(self) -> list[tuple[str, Sequence[Example]]]:
        sections = {
            "study": self.study,
            "study examples as queries": [query for query in self.queries if query.in_study],
            "queries": [query for query in self.queries if not query.in_study],
        }
        return [(title, examples) for title, examples in sections.items() if examples]


def terminal_symbols(symbols: Sequence[str]) -> str:
    """Return symbols as coloured circles with letters, by ANSI codes; or the name alone.

    >>> terminal_symbols(["RED", "undefined_action"])
    '\\x1b[38;2;228;0;43m●\\x1b[0mR undefined_action'
    """
    formatted = []
    for symbol in symbols:
        style = style_of(symbol)
        if style is None or symbol == UNDEFINED:
            formatted.append(symbol)
        else:
            red, green, blue = bytes.fromhex(style.colour)
            letters = style.letters if symbol in STYLES else colour_name(symbol)
            formatted.append(f"\x1b[38;2;{red};{green};{blue}m●\x1b[0m{letters}")
    return " ".join(formatted)
