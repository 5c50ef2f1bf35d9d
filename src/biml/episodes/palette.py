"""Symbols drawn as coloured circles with letters in HTML, for notebooks and pages alike."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from biml.vocabulary import UNDEFINED


@dataclass(frozen=True)
class SymbolStyle:
    """How a symbol looks.

    Attributes:
        colour: six hexadecimal digits.
        letters: one to three, for those who do not see the colour or print without it.
        name: for screen readers.
    """

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
    UNDEFINED: SymbolStyle("8a8f98", "?", "another colour"),
}
"""Symbols that look the same everywhere."""

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
"""Letters and names of colours that files give as numbers, those of the open-ended task first."""

# In the order of the paper's Fig. 2: its words dax, lug, wif and zup are 1, 2, 3 and DAX in the
# data. Yellow and the colours after it are for further symbols.
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
"""Rules for what `Palette.html` draws; the colours are those of `Palette.style`."""


def style_of(symbol: str) -> SymbolStyle | None:
    """How a symbol looks by its name alone; None if the name says no colour.

    >>> style_of("color:#33cc33;").name
    'green'
    """
    if symbol in STYLES:
        return STYLES[symbol]
    # The open-ended task's files name colours as `color:#33cc33;`.
    found = _HEX_COLOUR.fullmatch(symbol)
    if found is None:
        return None
    colour = found[1].lower()
    letters, name = _NAMED_COLOURS[
        min(_NAMED_COLOURS, key=lambda known: _squared_distance(known, colour))
    ]
    return SymbolStyle(colour, letters, name)


@dataclass(frozen=True)
class Palette:
    """How the symbols of a page look; all others are shown by name."""

    styles: Mapping[str, SymbolStyle]

    @classmethod
    def for_symbols(cls, symbols: Iterable[str], extra: Iterable[str] = ()) -> "Palette":
        """A look for each symbol whose name says a colour, with letters that differ.

        Args:
            own: further symbols, which get a colour whatever they are called, up to eight.

        >>> [s.letters for s in Palette.for_symbols(["RED"], extra=["1", "DAX"]).styles.values()]
        ['1', 'D', 'R']
        """
        spare = iter(_EXTRA_COLOURS)
        found = {}
        for symbol in dict.fromkeys(extra):
            if known := style_of(symbol):
                found[symbol] = known
            elif colour := next(spare, None):
                letters = symbol if len(symbol) < 3 else symbol[0]
                found[symbol] = SymbolStyle(colour, letters, symbol)
        found |= {s: known for s in symbols if s not in found and (known := style_of(s))}
        return cls(_with_unique_letters(found))

    @property
    def css(self) -> str:
        """The style rules of the colours."""
        colours = sorted({look.colour for look in self.styles.values()})
        return "\n".join(
            f".syms .x{c} {{ background: #{c}; color: {_text_colour(c)} }}" for c in colours
        )

    def html(self, symbols: Sequence[str]) -> str:
        """Circles in a row, read out as the symbols' names; text from elsewhere is escaped."""
        if not symbols:
            return '<span class="none">(nothing)</span>'
        looks = [self.styles.get(symbol) for symbol in symbols]
        names = [found.name if found else s for found, s in zip(looks, symbols, strict=True)]
        drawn = [
            f"<i class=x{found.colour}>{escape(found.letters)}</i>"
            if found
            else f"<i class=word>{escape(symbol)}</i>"
            for found, symbol in zip(looks, symbols, strict=True)
        ]
        label = escape(" ".join(names))
        return f'<span class="syms" role="img" aria-label="{label}">{"".join(drawn)}</span>'

    def legend(self) -> list[tuple[str, str]]:
        """Each symbol as a circle, in HTML, with its name."""
        return [(self.html([symbol]), found.name) for symbol, found in self.styles.items()]


def _with_unique_letters(styles: dict[str, SymbolStyle]) -> dict[str, SymbolStyle]:
    """The same with a number behind letters that an earlier symbol has."""
    taken: set[str] = set()
    apart = {}
    for symbol, found in styles.items():
        letters, number = found.letters, 2
        while letters in taken:
            letters, number = f"{found.letters}{number}", number + 1
        taken.add(letters)
        apart[symbol] = SymbolStyle(found.colour, letters, found.name)
    return apart


def _text_colour(colour: str) -> str:
    """Black or white, whichever has more contrast with the colour (WCAG's luminance)."""
    linear = [(v / 255) ** 2.2 for v in bytes.fromhex(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"


def _squared_distance(one: str, other: str) -> int:
    pairs = zip(bytes.fromhex(one), bytes.fromhex(other), strict=True)
    return sum((a - b) ** 2 for a, b in pairs)
