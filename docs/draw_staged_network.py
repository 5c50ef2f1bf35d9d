"""Draw the diagram of the staged network.

python docs/draw_staged_network.py      # writes docs/images/staged-network-{light,dark}.svg
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

# Text and lines, and the colours of study examples, lexicon, query and response.
THEMES = {
    "light": ("#1f2328", ("#2f6fb3", "#8250df", "#1a7f5a", "#bc4c00")),
    "dark": ("#e6edf3", ("#79b8ff", "#c297ff", "#56d4a0", "#ffa657")),
}
# Title, lines below it, x, width: from left to right.
BOXES = (
    ("encoder", "5 layers", 3, 21),
    ("lexicon", "one slot per word type", 36, 16),
    ("query encoder", "4 layers", 57, 17),
    ("decoder", "4 layers", 81, 17),
)
INPUTS = (
    ("study examples", "dax → RED   wif lug → BLUE BLUE  …", 0),
    ("query", "wif lug fep", 2),
    ("response so far", "BLUE …", 3),
)
BOTTOM, TOP = 20, 33


def main() -> None:
    for theme in THEMES:
        figure = draw(theme)
        path = Path(__file__).parent / "images" / f"staged-network-{theme}.svg"
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def draw(theme: str) -> plt.Figure:
    text, colours = THEMES[theme]
    style = {"text.color": text, "font.family": "sans-serif", "svg.fonttype": "path"}
    with mpl.rc_context({**style, "svg.hashsalt": "biml", "font.size": 10}):
        figure = plt.figure(figsize=(9.6, 3.9))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(5, 45))
        axes.axis("off")
        for (title, detail, x, width), colour in zip(BOXES, colours, strict=True):
            shape = FancyBboxPatch(
                (x, BOTTOM), width, TOP - BOTTOM, "round,pad=0,rounding_size=1.2"
            )
            shape.set(facecolor="none", edgecolor=colour, linewidth=1.8)
            axes.add_patch(shape)
            middle = x + width / 2
            axes.text(middle, 28, title, ha="center", va="center", weight="bold", color=colour)
            axes.text(middle, 24.5, detail, ha="center", va="center", fontsize=8.5)
        for title, example, number in INPUTS:
            _, _, x, width = BOXES[number]
            middle = x + width / 2
            axes.text(middle, 42, title, ha="center", weight="bold", fontsize=9.5)
            axes.text(middle, 39, example, ha="center", fontsize=8.5)
            arrow(axes, (middle, 38), (middle, TOP), text)
        note = "All inputs: token and position embeddings, then a short convolution."
        axes.text(3, 7.5, note, va="center", fontsize=8.5)
        arrow(axes, (24, 28.5), (36, 28.5), colours[1], "pool")
        arrow(axes, (36, 24), (24, 24), colours[1], "broadcast")
        arrow(axes, (52, 26.5), (57, 26.5), colours[1], "slots")
        arrow(axes, (74, 26.5), (81, 26.5), colours[2], "keys,\nvalues")
        memory(axes, colours[0])
        arrow(axes, (94, BOTTOM), (94, 12.5), colours[3])
        axes.text(94, 10.5, "next symbol", ha="center", va="center", weight="bold", fontsize=9.5)
        axes.text(94, 7.5, "BLUE", ha="center", va="center", fontsize=8.5)
    return figure


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, label: str = ""
) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
    if label:
        middle = (start[0] + end[0]) / 2
        axes.text(middle, start[1] + 0.8, label, ha="center", va="bottom", fontsize=8)


def memory(axes: Axes, colour: str) -> None:
    """The study examples' keys and values, on their way below the lexicon."""
    axes.plot((13.5, 13.5, 87), (BOTTOM, 13, 13), color=colour, lw=1.5, solid_joinstyle="round")
    axes.plot((87, 87), (13, 14), color=colour, lw=1.5)
    for x in (65.5, 87):
        arrow(axes, (x, 13), (x, BOTTOM), colour)
    label = "study memory: cross-attention in one layer each"
    axes.text(38, 11.2, label, ha="center", va="center", fontsize=8.5, color=colour)


if __name__ == "__main__":
    main()
