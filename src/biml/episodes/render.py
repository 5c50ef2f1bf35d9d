"""Showing episodes to people: plain text, coloured circles in a terminal and in a notebook."""

from collections.abc import Callable, Sequence
from html import escape

from biml.episodes.circles import LOOKS, STYLE, Palette, look
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import UNDEFINED

Show = Callable[[Sequence[str]], str]


def listing(episode: Episode) -> str:
    """The episode as lines of text, with the names of symbols."""
    return _lines(episode, " ".join)


def terminal(episode: Episode) -> str:
    """The listing with a coloured circle for each symbol, by ANSI codes."""
    return _lines(episode, terminal_symbols)


def terminal_symbols(symbols: Sequence[str]) -> str:
    """Circles in the symbols' colours, each followed by its letters or name; or the name alone.

    >>> terminal_symbols(["RED", "undefined_action"])
    '\\x1b[38;2;228;0;43m●\\x1b[0mR undefined_action'
    """
    shown = []
    for symbol in symbols:
        known = look(symbol)
        if known is None or symbol == UNDEFINED:
            shown.append(symbol)
        else:
            red, green, blue = bytes.fromhex(known.colour)
            letters = known.letters if symbol in LOOKS else symbol
            shown.append(f"\x1b[38;2;{red};{green};{blue}m●\x1b[0m{letters}")
    return " ".join(shown)


def html(episode: Episode) -> str:
    """The episode as an HTML table, one example a row, for a notebook."""
    shown = [symbols for _, examples in _sections(episode) for _, symbols, _ in examples]
    palette = Palette.of(symbol for row in [*shown, episode.pool or ()] for symbol in row)
    rows = []
    for title, examples in _sections(episode):
        rows.append(f'<tr><th colspan="2" style="text-align:left">{title}</th></tr>')
        rows += [
            f'<tr><td style="text-align:left">{escape(" ".join(example.words))}</td>'
            f'<td style="text-align:left">{palette.html(example.symbols)}</td></tr>'
            for example in examples
        ]
    if episode.pool is not None:
        rows.append(f"<tr><th>allowed outputs</th><td>{palette.html(episode.pool)}</td></tr>")
    parts = [f"<style>{STYLE}{palette.style}</style><table>{''.join(rows)}</table>"]
    if episode.name:
        parts.insert(0, f"<p>{escape(episode.name)}</p>")
    if episode.grammar is not None:
        parts.append(f"<pre>{escape(str(episode.grammar))}</pre>")
    return "\n".join(parts)


def _lines(episode: Episode, show: Show) -> str:
    lines = [episode.name] if episode.name else []
    for title, examples in _sections(episode):
        width = max((len(" ".join(example.words)) for example in examples), default=0)
        lines.append(f"{title}:")
        lines += [f"  {' '.join(e.words):<{width}} → {show(e.symbols)}" for e in examples]
    if episode.pool is not None:
        lines += ["allowed outputs:", f"  {show(episode.pool)}"]
    if episode.grammar is not None:
        lines += ["grammar:", *[f"  {rule}" for rule in episode.grammar.rules]]
    return "\n".join(lines)


def _sections(episode: Episode) -> list[tuple[str, Sequence[Example]]]:
    copied = [query for query in episode.queries if query.copied]
    others = [query for query in episode.queries if not query.copied]
    sections = [
        ("study", episode.study),
        ("study examples as queries", copied),
        ("queries", others),
    ]
    return [(title, examples) for title, examples in sections if examples]
