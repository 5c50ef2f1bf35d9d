"""Output symbols as coloured circles on a terminal, as plain names elsewhere."""

import re
from collections.abc import Sequence

from rich.text import Text

COLOURS = {
    "RED": "#e6194b",
    "YELLOW": "#e8c400",
    "GREEN": "#2ca02c",
    "BLUE": "#2f6fde",
    "PURPLE": "#8e44c9",
    "PINK": "#ff7eb9",
}
"""How the published output symbols are drawn."""

_HEX = re.compile(r"color:(#[0-9a-fA-F]{6});")


def colour_of(symbol: str) -> str | None:
    """The colour that a symbol names, `#rrggbb`, or None.

    >>> colour_of("PINK"), colour_of("color:#33cc33;"), colour_of("DAX")
    ('#ff7eb9', '#33cc33', None)
    """
    found = _HEX.fullmatch(symbol)
    return found[1] if found else COLOURS.get(symbol)


def painted(symbols: Sequence[str], *, circles: bool) -> Text:
    """Symbols in a row, with coloured circles where that can be shown."""
    if not symbols:
        return Text("(nothing)", "dim")
    text = Text()
    for number, symbol in enumerate(symbols):
        text.append(" " if number else "")
        colour = colour_of(symbol)
        if circles and colour:
            text.append("●", colour)
            text.append("" if symbol.startswith("color:") else symbol[:2].lower(), "dim")
        else:
            text.append(symbol)
    return text
