"""Making figures: how they look, and how they get into files and into the page."""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biml.report.columns import Column

INK = "#1b1d22"
"""Of text and axes; the page puts the colour of its own text in its place."""

_GREY = "#8a8f99"

# Okabe and Ito's colours and some more, enough for the models that come with biml and the symbolic
# ones. Marks differ as well, for all kinds of colour vision.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8f7a00",
    "#6a51a3",
    "#7f7f7f",
    "#7a3b1e",
    "#a3ad2e",
)
_MARKS = ("s", "^", "D", "v", "P", "X", "h", "<", ">", "p", "d")
_LINES = ("-", "--", "-.", ":")

_SETTINGS: Any = {
    # A dollar sign in a label is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "biml",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True)
class Drawn:
    """A figure.

    Attributes:
        name: of its files.
        title: above it.
        caption: what is shown, in units, and what the bars are.
        png, svg: the files' contents.
    """

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def settings() -> AbstractContextManager[None]:
    """How figures look, for as long as the context lasts."""
    return matplotlib.rc_context(_SETTINGS)


def panels(
    count: int,
    width: float,
    height: float,
    *,
    across: int = 4,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, each of a width and height in inches.

    Args:
        across: panels in a row.
        heights: of the rows, relative to each other.
    """
    across = min(across, count)
    down = -(-count // across)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, height_ratios=heights).ravel().tolist()
    for unused in grid[count:]:
        unused.set_axis_off()
    return figure, grid[:count]


def saved(figure: Figure, name: str, title: str, caption: str) -> Drawn:
    """The figure as PNG and SVG; the same bytes for the same tables."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(svg, format="svg", metadata=nothing)
    return Drawn(name, title, caption, png.getvalue(), svg.getvalue())


def inline(drawn: Drawn) -> str:
    """The SVG as part of a page: in the colour of its text, without background and size."""
    text = drawn.svg.decode().replace(INK, "currentColor").replace("fill: #ffffff", "fill: none")
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    # Rules inside would hold for the whole page; the page's own style has them.
    text = re.sub(
        r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening, text, count=1)
    # Names of groups come again in every figure; only those that something points at are kept.
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda id: id[0] if id[1] in used else "", text)
    for own in used:
        text = re.sub(rf'(url\(#|href="#| id="){re.escape(own)}', rf"\1{drawn.name}-{own}", text)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r'="[^"]*"', lambda of: re.sub(r"(\d\.\d\d)\d+", r"\1", of[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _opening(found: re.Match[str]) -> str:
    width = float(found[1].split()[2]) * 4 / 3
    return (
        f'<svg viewBox="{found[1]}" role="img" aria-hidden="true" '
        f'style="width:{width:.0f}px;min-width:{min(width, 560):.0f}px">'
    )


def wrapped(label: str) -> str:
    """A label of people's or a model's in lines that fit beside a panel."""
    return "\n".join(wrap(label, 24, break_on_hyphens=False))


def row_height(rows: Sequence[Column], least: float) -> float:
    """Inches that a row takes beside a panel: at least so many, and enough for each label."""
    lines = max(wrapped(column.label).count("\n") + 1 for column in rows)
    return max(least, 0.05 + 0.15 * lines)


def colour(column: Column) -> str:
    """Of people or a model; people are drawn in the colour of text."""
    return _COLOURS[(column.number - 1) % len(_COLOURS)] if column.number else INK


def mark(column: Column) -> str:
    """The mark of people or a model."""
    return _MARKS[(column.number - 1) % len(_MARKS)] if column.number else "o"


def line(column: Column) -> str:
    """The kind of line of people or a model."""
    return _LINES[(column.number - 1) % len(_LINES)] if column.number else "-"
