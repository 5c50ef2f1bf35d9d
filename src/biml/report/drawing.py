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

from biml.report.columns import ModelColumn

TEXT_COLOUR = "#1b1d22"
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
_LINE_STYLES = ("-", "--", "-.", ":")

_STYLE: Any = {
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
    "axes.edgecolor": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.titlecolor": TEXT_COLOUR,
    "text.color": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True)
class RenderedFigure:
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


def style_context() -> AbstractContextManager[None]:
    """How figures look, for as long as the context lasts."""
    return matplotlib.rc_context(_STYLE)


def subplots(
    count: int,
    width: float,
    height: float,
    *,
    columns: int = 4,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, each of a width and height in inches.

    Args:
        across: panels in a row.
        heights: of the rows, relative to each other.
    """
    columns = min(columns, count)
    down = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * down), layout="constrained")
    grid = figure.subplots(down, columns, squeeze=False, height_ratios=heights).ravel().tolist()
    for unused in grid[count:]:
        unused.set_axis_off()
    return figure, grid[:count]


def render(figure: Figure, name: str, title: str, caption: str) -> RenderedFigure:
    """The figure as PNG and SVG; the same bytes for the same tables."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(svg, format="svg", metadata=nothing)
    return RenderedFigure(name, title, caption, png.getvalue(), svg.getvalue())


def inline_svg(figure: RenderedFigure) -> str:
    """The SVG as part of a page: in the colour of its text, without background and size."""
    text = (
        figure.svg.decode()
        .replace(TEXT_COLOUR, "currentColor")
        .replace("fill: #ffffff", "fill: none")
    )
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    # Rules inside would hold for the whole page; the page's own style has them.
    text = re.sub(
        r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _svg_opening, text, count=1)
    # Names of groups come again in every figure; only those that something points at are kept.
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda id: id[0] if id[1] in used else "", text)
    for own in used:
        text = re.sub(rf'(url\(#|href="#| id="){re.escape(own)}', rf"\1{figure.name}-{own}", text)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r'="[^"]*"', lambda of: re.sub(r"(\d\.\d\d)\d+", r"\1", of[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _svg_opening(found: re.Match[str]) -> str:
    width = float(found[1].split()[2]) * 4 / 3
    return (
        f'<svg viewBox="{found[1]}" role="img" aria-hidden="true" '
        f'style="width:{width:.0f}px;min-width:{min(width, 560):.0f}px">'
    )


def wrap_label(label: str) -> str:
    """A label of people's or a model's in lines that fit beside a panel."""
    return "\n".join(wrap(label, 24, break_on_hyphens=False))


def row_height(rows: Sequence[ModelColumn], minimum: float) -> float:
    """Inches that a row takes beside a panel: at least so many, and enough for each label."""
    lines = max(wrap_label(column.label).count("\n") + 1 for column in rows)
    return max(minimum, 0.05 + 0.15 * lines)


def colour(column: ModelColumn) -> str:
    """Of people or a model; people are drawn in the colour of text."""
    return _COLOURS[(column.number - 1) % len(_COLOURS)] if column.number else TEXT_COLOUR


def marker(column: ModelColumn) -> str:
    """The mark of people or a model."""
    return _MARKS[(column.number - 1) % len(_MARKS)] if column.number else "o"


def line_style(column: ModelColumn) -> str:
    """The kind of line of people or a model."""
    return _LINE_STYLES[(column.number - 1) % len(_LINE_STYLES)] if column.number else "-"
