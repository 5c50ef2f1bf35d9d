"""An episode: one few-shot task, made of study and query examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

from biml.episodes.palette import CSS, STYLES, Palette, style_of
from biml.grammar import Grammar, Rule
from biml.vocabulary import UNDEFINED

PAIR_SEP, EXAMPLE_SEP = "->", "|"
"""What stands within and between study examples where one line of text holds them all, as in
`p1 -> c1 | p2 -> c2`, so that neither can be a word or symbol there."""


class Example(NamedTuple):
    """Input words and output symbols: a study example, or a query with its target or response.

    Attributes:
        in_study: the query is also a study example (the copy task, paper Methods).
        item: of a human response, the name of its query or trial; else empty.
        participant: of a human response, who gave it; empty where unknown.
    """

    input: tuple[str, ...]
    output: tuple[str, ...]
    in_study: bool = False
    item: str = ""
    participant: str = ""


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
        pass  # DROPPED

        return listing(self)

    def _repr_html_(self) -> str:
        """The same with coloured circles, in a notebook."""
        pass  # DROPPED

        return html(self)


# === Showing episodes to people: plain text, coloured circles in a terminal and in a notebook.


SymbolFormatter = Callable[[Sequence[str]], str]


def listing(episode: Episode) -> str:
    """The episode as lines of text, with the names of symbols."""
    return _text_listing(episode, " ".join)


def terminal(episode: Episode) -> str:
    """The listing with a coloured circle for each symbol, by ANSI codes."""
    return _text_listing(episode, terminal_symbols)


def terminal_symbols(symbols: Sequence[str]) -> str:
    """Circles in the symbols' colours, each followed by its letters or name; or the name alone.

    >>> terminal_symbols(["RED", "undefined_action"])
    '\\x1b[38;2;228;0;43m●\\x1b[0mR undefined_action'
    """
    shown = []
    for symbol in symbols:
        known = style_of(symbol)
        if known is None or symbol == UNDEFINED:
            shown.append(symbol)
        else:
            red, green, blue = bytes.fromhex(known.colour)
            letters = known.letters if symbol in STYLES else symbol
            shown.append(f"\x1b[38;2;{red};{green};{blue}m●\x1b[0m{letters}")
    return " ".join(shown)


def html(episode: Episode) -> str:
    """The episode as an HTML table, one example a row, for a notebook."""
    shown = [symbols for _, examples in _example_sections(episode) for _, symbols, *_ in examples]
    palette = Palette.for_symbols(symbol for row in [*shown, episode.pool or ()] for symbol in row)
    rows = []
    for title, examples in _example_sections(episode):
        rows.append(f'<tr><th colspan="2" style="text-align:left">{title}</th></tr>')
        rows += [
            f'<tr><td style="text-align:left">{escape(" ".join(example.input))}</td>'
            f'<td style="text-align:left">{palette.html(example.output)}</td></tr>'
            for example in examples
        ]
    if episode.pool is not None:
        rows.append(f"<tr><th>allowed outputs</th><td>{palette.html(episode.pool)}</td></tr>")
    parts = [f"<style>{CSS}{palette.css}</style><table>{''.join(rows)}</table>"]
    if episode.name:
        parts.insert(0, f"<p>{escape(episode.name)}</p>")
    if episode.grammar is not None:
        parts.append(f"<pre>{escape(str(episode.grammar))}</pre>")
    return "\n".join(parts)


def _text_listing(episode: Episode, format_symbols: SymbolFormatter) -> str:
    lines = [episode.name] if episode.name else []
    for title, examples in _example_sections(episode):
        width = max((len(" ".join(example.input)) for example in examples), default=0)
        lines.append(f"{title}:")
        lines += [f"  {' '.join(e.input):<{width}} → {format_symbols(e.output)}" for e in examples]
    if episode.pool is not None:
        lines += ["allowed outputs:", f"  {format_symbols(episode.pool)}"]
    if episode.grammar is not None:
        lines += ["grammar:", *[f"  {rule}" for rule in episode.grammar.rules]]
    return "\n".join(lines)


def _example_sections(episode: Episode) -> list[tuple[str, Sequence[Example]]]:
    copied = [query for query in episode.queries if query.in_study]
    others = [query for query in episode.queries if not query.in_study]
    sections = [
        ("study", episode.study),
        ("study examples as queries", copied),
        ("queries", others),
    ]
    return [(title, examples) for title, examples in sections if examples]
