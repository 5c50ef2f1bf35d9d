"""The style shared by all figures: colours, markers, panels, labels, rendering."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from biml.report.html_tables import ModelColumn

TEXT_COLOUR = "#1b1d22"
"""Of text and axes; the page replaces it by the colour of its own text."""

GREY = "#8a8f99"

# Okabe and Ito's colours and more, enough for the pretrained and symbolic models. Markers differ as
# well, for all kinds of colour vision.
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
_MARKERS = "s^DvPXh<>pd"
_LINE_STYLES = ("-", "--", "-.", ":")

STYLE: Any = {
    "text.parse_math": False,  # a dollar sign in a label is no formula
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
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@dataclass(frozen=True)
class RenderedFigure:
    """A figure: name of its files, title, caption, and the files' contents."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def colour(column: "ModelColumn") -> str:
    """The colour of a model; people have that of text."""
    return _COLOURS[(column.number - 1) % len(_COLOURS)] if column.number else TEXT_COLOUR


def marker(column: "ModelColumn") -> str:
    return _MARKERS[(column.number - 1) % len(_MARKERS)] if column.number else "o"


def line_style(column: "ModelColumn") -> str:
    return _LINE_STYLES[(column.number - 1) % len(_LINE_STYLES)] if column.number else "-"


def row_label(column: "ModelColumn", mark: str) -> str:
    return wrap_label(column.label) + mark


def wrap_label(label: str) -> str:
    """A label in lines that fit beside a panel."""
    return "\n".join(wrap(label, 24, break_on_hyphens=False))


def row_height(rows: "Sequence[ModelColumn]", minimum: float) -> float:
    """Height in inches of a row, enough for each label."""
    lines = max(wrap_label(column.label).count("\n") + 1 for column in rows)
    return max(minimum, 0.05 + 0.15 * lines)


def subplots(
    count: int, width: float, height: float, *, columns: int = 4
) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, each of a width and height in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in grid[count:]:
        unused.set_axis_off()
    return figure, grid[:count]


def label_rows(panel: Axes, labels: Sequence[str]) -> None:
    """A row for each label, the first on top."""
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.4, -0.7)
    panel.tick_params(axis="y", length=0)


def render(figure: Figure, name: str, title: str, caption: str) -> RenderedFigure:
    """The figure as PNG and SVG; the same tables give the same bytes."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(svg, format="svg", metadata=no_metadata)
    return RenderedFigure(name, title, caption, png.getvalue(), svg.getvalue())
