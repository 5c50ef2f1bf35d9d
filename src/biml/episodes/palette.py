"""Output symbols as coloured circles with letters, in HTML for notebooks and pages."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import dist

from biml.vocabulary import UNDEFINED


@dataclass(frozen=True)
class SymbolStyle:
    """A colour of six hexadecimal digits, letters for readers without colour, and a spoken name."""

    colour: str
    letters: str
    name: str


STYLES = {
    "RED": SymbolStyle("e4002b", "R", "RED"),
    "YELLOW": SymbolStyle("ffc800", "Y", "YELLOW"),
    "GREEN": SymbolStyle("1f9d3a", "G", "GREEN"),
    "BLUE": SymbolStyle("1f5fd6", "B", "BLUE"),
    "PURPLE": SymbolStyle("7a2fb8", "Pu", "PURPLE"),
    "PINK": SymbolStyle("ff7ac0", "Pi", "PINK"),
    UNDEFINED: SymbolStyle("8a8f98", "?", "another symbol"),
}
"""Styles of symbols with a fixed style."""

_HEX_COLOUR = re.compile(r"(?:color:)?#([0-9a-fA-F]{6});?")

_NAMED_COLOURS = {
    "ff0000": ("R", "red"),
    "33cc33": ("G", "green"),
    "0000ff": ("B", "blue"),
    "b7b600": ("O", "olive"),
    "00b0b3": ("T", "teal"),
    "ce9fcf": ("L", "lilac"),
    "ffff00": ("Y", "yellow"),
    "ff8c00": ("Or", "orange"),
    "7a2fb8": ("Pu", "purple"),
    "ff7ac0": ("Pi", "pink"),
    "8b4513": ("Br", "brown"),
    "000000": ("K", "black"),
    "808080": ("Gr", "grey"),
    "ffffff": ("W", "white"),
}
"""Letters and names of colours that files give as numbers, first those of the open-ended task."""

# As in the paper's Fig. 2, whose words dax, lug, wif and zup are 1, 2, 3 and DAX in the data; from
# yellow on for further symbols.
_EXTRA_COLOURS = ("e4002b", "1f5fd6", "1f9d3a", "ffc800", "7a2fb8", "ff7ac0", "e8730c", "0f9aa8")

CSS = """
.syms { white-space: nowrap }
.syms i { display: inline-block; min-width: 1.7em; height: 1.7em; line-height: 1.7em;
  margin: 0 .16em .16em 0; border-radius: 1em; box-sizing: border-box; text-align: center;
  font: 700 .78em/1.7 system-ui, sans-serif; vertical-align: middle;
  box-shadow: inset 0 0 0 1px #0003 }
.syms .word { padding: 0 .5em; background: #e7e9ed; color: #1b1d21; font-weight: 500;
  max-width: 14em; overflow: hidden; text-overflow: ellipsis }
"""
"""Style rules of the markup of `Palette.html`, without the colours (`Palette.css`)."""


def style_of(symbol: str) -> SymbolStyle | None:
    """Return the style that a symbol's name implies, or None if it names no colour.

    >>> style_of("color:#33cc33;").name
    'green'
    """
    if symbol in STYLES:
        return STYLES[symbol]
    # The open-ended task's files name colours as `color:#33cc33;`.
    match = _HEX_COLOUR.fullmatch(symbol)
    if match is None:
        return None
    colour = match[1].lower()
    rgb = bytes.fromhex(colour)
    nearest = min(_NAMED_COLOURS, key=lambda known: dist(bytes.fromhex(known), rgb))
    return SymbolStyle(colour, *_NAMED_COLOURS[nearest])


def colour_name(symbol: str) -> str:
    """The name of a colour that a symbol gives as a known number; else the symbol.

    >>> colour_name("color:#33cc33;"), colour_name("color:#123456;"), colour_name("dax")
    ('green', 'color:#123456;', 'dax')
    """
    match = _HEX_COLOUR.fullmatch(symbol)
    known = _NAMED_COLOURS.get(match[1].lower()) if match else None
    return known[1] if known else symbol


@dataclass(frozen=True)
class Palette:
    """Styles of the symbols of a page; other symbols appear by name."""

    styles: Mapping[str, SymbolStyle]

    @classmethod
    def for_symbols(cls, symbols: Iterable[str], extra: Iterable[str] = ()) -> "Palette":
        """Choose a style with unique letters for each symbol whose name implies a colour.

        Args:
            extra: symbols that get a colour whatever their name, up to eight.

        >>> [s.letters for s in Palette.for_symbols(["RED"], extra=["1", "DAX"]).styles.values()]
        ['1', 'D', 'R']
        >>> [s.letters for s in Palette.for_symbols([], extra=["square", "star"]).styles.values()]
        ['sq', 'st']
        """
        colours = iter(_EXTRA_COLOURS)
        styles = {}
        named = list(dict.fromkeys(extra))
        for symbol in named:
            if style := style_of(symbol):
                styles[symbol] = style
            elif colour := next(colours, None):
                others = [other for other in named if other != symbol]
                letters = _shortest_prefix(symbol, others)
                styles[symbol] = SymbolStyle(colour, letters, symbol)
        styles |= {s: style for s in symbols if s not in styles and (style := style_of(s))}
        return cls(_with_unique_letters(styles))

    @property
    def css(self) -> str:
        """The style rules of the colours."""
        colours = sorted({style.colour for style in self.styles.values()})
        return "\n".join(
            f".syms .x{c} {{ background: #{c}; color: {text_colour(c)} }}" for c in colours
        )

    def html(self, symbols: Sequence[str]) -> str:
        """Return a row of circles, spoken as the symbols' names; names are escaped."""
        if not symbols:
            return '<span class="none">(nothing)</span>'
        names, circles = [], []
        for symbol in symbols:
            style = self.styles.get(symbol)
            names.append(style.name if style else symbol)
            colour, letters = (f"x{style.colour}", style.letters) if style else ("word", symbol)
            circles.append(f"<i class={colour}>{escape(letters)}</i>")
        label = escape(" ".join(names))
        return f'<span class="syms" role="img" aria-label="{label}">{"".join(circles)}</span>'

    def legend(self) -> list[tuple[str, str]]:
        """Return each symbol's circle, in HTML, with its name."""
        return [(self.html([symbol]), style.name) for symbol, style in self.styles.items()]


def _shortest_prefix(symbol: str, others: Sequence[str]) -> str:
    """One to three letters that no other symbol begins with; short names whole."""
    if len(symbol) < 3:
        return symbol
    lengths = (n for n in (1, 2, 3) if not any(other.startswith(symbol[:n]) for other in others))
    return symbol[: next(lengths, 1)]


def _with_unique_letters(styles: Mapping[str, SymbolStyle]) -> dict[str, SymbolStyle]:
    """Append a number to letters that an earlier symbol has."""
    taken: set[str] = set()
    unique = {}
    for symbol, style in styles.items():
        letters, number = style.letters, 2
        while letters in taken:
            letters, number = f"{style.letters}{number}", number + 1
        taken.add(letters)
        unique[symbol] = SymbolStyle(style.colour, letters, style.name)
    return unique


def text_colour(colour: str) -> str:
    """Black or white, whichever contrasts more with the colour (WCAG luminance)."""
    linear = [(v / 255) ** 2.2 for v in bytes.fromhex(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"
