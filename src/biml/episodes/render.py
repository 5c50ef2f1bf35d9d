"""Showing episodes to people: plain text, coloured circles in a terminal and in a notebook."""

from collections.abc import Callable, Sequence
from html import escape

from biml.episodes.circles import STYLES, CSS, Palette, style_of
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import UNDEFINED

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
    shown = [symbols for _, examples in _example_sections(episode) for _, symbols, _ in examples]
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
