"""Showing episodes to people: plain text, coloured circles in a terminal and in a notebook."""

import re
from collections.abc import Callable, Sequence
from html import escape

from biml.episodes.episode import Episode, Example

Show = Callable[[Sequence[str]], str]

_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")

_LOOKS = {
    "RED": ("e4002b", "R"),
    "YELLOW": ("ffc800", "Y"),
    "GREEN": ("1f9d3a", "G"),
    "BLUE": ("1f5fd6", "B"),
    "PURPLE": ("7a2fb8", "Pu"),
    "PINK": ("ff7ac0", "Pi"),
}
"""Colour, and letters for those who do not see it or print without it."""


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
        colour, letters = _look(symbol)
        if colour is None:
            shown.append(symbol)
        else:
            red, green, blue = bytes.fromhex(colour)
            shown.append(f"\x1b[38;2;{red};{green};{blue}m●\x1b[0m{letters or symbol}")
    return " ".join(shown)


def html(episode: Episode) -> str:
    """The episode as an HTML table, one example a row, for a notebook."""
    rows = []
    for title, examples in _sections(episode):
        rows.append(f'<tr><th colspan="2" style="text-align:left">{title}</th></tr>')
        rows += [
            f'<tr><td style="text-align:left">{escape(" ".join(example.words))}</td>'
            f'<td style="text-align:left">{html_symbols(example.symbols)}</td></tr>'
            for example in examples
        ]
    if episode.pool is not None:
        rows.append(f"<tr><th>allowed outputs</th><td>{html_symbols(episode.pool)}</td></tr>")
    parts = [f"<table>{''.join(rows)}</table>"]
    if episode.name:
        parts.insert(0, f"<p>{escape(episode.name)}</p>")
    if episode.grammar is not None:
        parts.append(f"<pre>{escape(str(episode.grammar))}</pre>")
    return "\n".join(parts)


def html_symbols(symbols: Sequence[str]) -> str:
    """Coloured circles with letters inside and the symbol's name as their label."""
    return " ".join(map(_circle, symbols))


def _circle(symbol: str) -> str:
    colour, letters = _look(symbol)
    name = escape(symbol)
    if colour is None:
        return f"<code>{name}</code>"
    ink = "#000" if sum(bytes.fromhex(colour)) > 380 else "#fff"
    return (
        f'<span role="img" aria-label="{name}" title="{name}" style="display:inline-block;'
        f"width:1.5em;height:1.5em;line-height:1.5em;border-radius:50%;text-align:center;"
        f'font-size:80%;background:#{colour};color:{ink}">{letters}</span>'
    )


def _look(symbol: str) -> tuple[str | None, str]:
    """The colour as six hexadecimal digits, and letters; no colour for a symbol without one."""
    if symbol in _LOOKS:
        return _LOOKS[symbol]
    # The open-ended task's files name colours as `color:#33cc33;`.
    found = _HEX.search(symbol)
    return ("".join(found.groups()).lower(), "") if found else (None, "")


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
