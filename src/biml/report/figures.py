"""The figures, each drawn from its tables (paper, Figs. 2 to 4, and supplement)."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biml.report.html_tables import PATTERN_LABELS, TASK_LABELS, ModelColumn, select
from biml.report.schemas import PEOPLE
from biml.report.tables import fold_suffix, overall_likelihoods

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


# === The figures, each drawn from its tables (paper, Figs. 2 to 4, and supplement).


Tables = dict[str, pd.DataFrame]

FigureFn = Callable[[Tables, tuple[ModelColumn, ...]], RenderedFigure | None]


def render_all(tables: Tables, columns: tuple[ModelColumn, ...]) -> dict[str, RenderedFigure]:
    """Every figure that has its tables, by name."""
    with style_context():
        drawn = [make(tables, columns) for make in FIGURES]
    return {figure.name: figure for figure in drawn if figure is not None}


def likelihoods(tables: Tables, columns: tuple[ModelColumn, ...]) -> RenderedFigure | None:
    """Log-likelihood of people's responses, a panel for each task."""
    table = tables.get("likelihoods")
    if table is None or table.empty:
        return None
    table = overall_likelihoods(table)
    table = table[np.isfinite(table["log_likelihood"])]
    tasks = [task for task in TASK_LABELS if task in set(table["task"])]
    if not tasks:
        return None
    asked = {task: select(columns, set(table[table["task"] == task]["model"])) for task in tasks}
    heights = [0.75 + len(rows) * row_height(rows, 0.3) for rows in asked.values()]
    figure, grid = subplots(len(tasks), 6.4, sum(heights) / len(tasks), columns=1, heights=heights)
    for panel, (task, rows) in zip(grid, asked.items(), strict=True):
        for place, column in enumerate(rows):
            of_model = (table["task"] == task) & (table["model"] == column.name)
            for _, value in table[of_model].iterrows():
                found = float(value["log_likelihood"])
                sd = float(value["sd"])
                seen = value["within_sample"]
                panel.errorbar(
                    found,
                    place,
                    xerr=sd if np.isfinite(sd) else 0,
                    fmt=marker(column),
                    color=colour(column),
                    # Hollow, for a model that has seen these answers has learned them.
                    fillstyle="none" if pd.notna(seen) and seen else "full",
                    markersize=6,
                    capsize=3,
                )
                text = f"{found:.0f}{fold_suffix(value['fold'])}".replace("-", "−")
                panel.annotate(
                    text, (found, place), (0, 7), textcoords="offset points", ha="center"
                )
        _label_rows(panel, rows)
        most = _people_ceiling(tables) if task == "few_shot" else None
        if most is not None:
            panel.axvline(most, color=TEXT_COLOUR, linewidth=0.9, linestyle="--")
        panel.set(title=TASK_LABELS[task], xlabel="log-likelihood (nats; further right is better)")
        panel.margins(x=0.1)
    return render(
        figure,
        "likelihoods",
        "Log-likelihood of people's responses",
        "Marks: mean over passes with fresh orders and names, at the lapse rate that fits best. "
        "Bars: standard deviation over those passes. "
        "Hollow: the model was trained on these answers. Open-ended: sum of the folds where there "
        "are five models; of a model for one fold, of its people alone. Dashed: how often people "
        "gave each answer, which no model of the queries can pass.",
    )


def _people_ceiling(tables: Tables) -> float | None:
    """Log-likelihood of people's few-shot responses by their own frequencies."""
    table = tables.get("statistics")
    if table is None:
        return None
    theirs = table[(table["experiment"] == "table1") & (table["model"] == PEOPLE)]
    return None if theirs.empty else float(theirs["reproduced"].iloc[0])


def item_accuracies(tables: Tables, columns: tuple[ModelColumn, ...]) -> RenderedFigure | None:
    """Accuracy on each few-shot query, people against each model."""
    table = tables.get("item_accuracies")
    if table is None or PEOPLE not in set(table["model"]):
        return None
    models = [c for c in select(columns, set(table["model"])) if c.name != PEOPLE]
    if not models:
        return None
    theirs = table[table["model"] == PEOPLE].set_index("item")["accuracy"]
    agreement = tables.get("item_correlation", pd.DataFrame({"model": [], "r": []}))
    r_of: dict[str, float] = dict(zip(agreement["model"], agreement["r"], strict=True))
    across = 4 if len(models) in (4, 7, 8) or len(models) > 9 else 3
    figure, grid = subplots(len(models), 2.45, 2.5, columns=across)
    for panel, model in zip(grid, models, strict=True):
        panel.plot([0, 100], [0, 100], color=TEXT_COLOUR, linewidth=0.8, linestyle=":")
        ours = table[table["model"] == model.name]
        for _, item in ours[ours["item"].isin(theirs.index)].iterrows():
            long = pd.notna(item["long_output"]) and bool(item["long_output"])
            of_group = {"simple": "o", "complex": "*" if long else "s"}
            panel.plot(
                float(item["accuracy"]),
                float(theirs[item["item"]]),
                marker=of_group.get(str(item["complexity"]), "D"),
                markersize=10 if long else 7,
                color=colour(model),
                markeredgecolor=TEXT_COLOUR,
                markeredgewidth=0.6,
                alpha=0.85,
                clip_on=False,
            )
        r = float(r_of.get(model.name, float("nan")))
        told = "r undefined" if np.isnan(r) else f"r = {r:.3f}".replace("-", "−")
        panel.set(
            title=f"{wrap_label(model.label)}\n{told}",
            xlim=(0, 104),
            ylim=(0, 104),
            xlabel="model: correct (%)",
            ylabel="people: correct (%)",
        )
        panel.set_box_aspect(1)
    others = "" if (table["complexity"] != "").all() else ", diamonds without function words"
    return render(
        figure,
        "item_accuracies",
        "Accuracy on each query, people against models",
        "A mark for each few-shot query: circles simple, squares complex, stars complex with six "
        f"symbols{others}. On the dotted line people and model are correct equally often.",
    )


def open_ended_patterns(tables: Tables, columns: tuple[ModelColumn, ...]) -> RenderedFigure | None:
    """How often the patterns are there in people's and models' answer sheets."""
    table = tables.get("response_patterns")
    if table is None or not (table["task"] == "open_ended").any():
        return None
    table = table[table["task"] == "open_ended"]
    names = [name for name in PATTERN_LABELS if name in set(table["pattern"])]
    rows = select(columns, set(table["model"]))
    figure, grid = subplots(len(names), 2.1, 1.0 + len(rows) * row_height(rows, 0.27))
    for panel, name in zip(grid, names, strict=True):
        here = table[table["pattern"] == name].set_index("model")["percent"]
        for place, column in enumerate(rows):
            if column.name in here and not pd.isna(here[column.name]):
                percent = float(here[column.name])
                panel.barh(place, percent, height=0.62, color=colour(column))
                # Right of the bars' ends, where the line of people cannot cross it.
                panel.text(103, place, f"{percent:.0f}", va="center", fontsize=8.5)
        if PEOPLE in here:
            panel.axvline(float(here[PEOPLE]), color=TEXT_COLOUR, linewidth=0.9, linestyle="--")
        _label_rows(panel, rows)
        if panel is not grid[0]:
            panel.set_yticklabels([])
        panel.grid(axis="y", visible=False)
        panel.set(title=PATTERN_LABELS[name], xlim=(0, 122), xticks=[0, 50, 100])
        panel.set_xlabel("answer sheets (%)")
    return render(
        figure,
        "open_ended_patterns",
        "Patterns in open-ended answers",
        "Percent of answer sheets that have each pattern. The dashed line is where people are.",
    )


def mutual_exclusivity(tables: Tables, columns: tuple[ModelColumn, ...]) -> RenderedFigure | None:
    """Consistency with mutual exclusivity by counter-examples, a panel for each pool size."""
    table = tables.get("mutual_exclusivity")
    if table is None or table.empty:
        return None
    sizes = sorted(set(table["pool_size"].dropna()))
    shown = select(columns, set(table["model"]))
    figure, grid = subplots(len(sizes), 3.5, 3.4)
    for panel, size in zip(grid, sizes, strict=True):
        handles: list[Any] = []
        for place, column in enumerate(shown):
            rows = table[(table["model"] == column.name) & (table["pool_size"] == size)]
            rows = rows.sort_values("counter_examples")
            aside = 0.07 * (place - (len(shown) - 1) / 2)
            y = rows["percent"].to_numpy(float)
            low, high = (rows[end].to_numpy(float) for end in ("low", "high"))
            bars = panel.errorbar(
                rows["counter_examples"].to_numpy(float) + aside,
                y,
                yerr=np.nan_to_num(np.clip([y - low, high - y], 0, None)),
                color=colour(column),
                marker=marker(column),
                linestyle=line_style(column),
                linewidth=2.2 if column.name == PEOPLE else 1.4,
                elinewidth=0.9,
                capsize=2,
                zorder=3 if column.name == PEOPLE else 2,
            )
            handles.append(bars)
        ticks = sorted(set(table["counter_examples"].dropna().astype(int)))
        panel.set(
            title=f"{size} symbols to choose from" if size else "any symbol",
            ylim=(-3, 103),
            xticks=ticks,
            xlabel="counter-examples (count)",
            ylabel="answers consistent (%)",
        )
    _add_legend(figure, handles, shown)
    return render(
        figure,
        "mutual_exclusivity",
        "Mutual exclusivity",
        "Percent of answers to a new word that use an output no study example has, by how many "
        "study examples speak against that and how many symbols may be used. Bars: 95% intervals.",
    )


def learning_curves(tables: Tables, columns: tuple[ModelColumn, ...]) -> RenderedFigure | None:
    """Training and validation loss over episodes."""
    table = tables.get("learning_curves")
    if table is None or table.empty:
        return None
    shown = select(columns, set(table["model"]))
    figure, grid = subplots(2, 3.5, 3.2)
    titles = {"train_loss": "training", "val_loss": "validation"}
    for panel, (loss, title) in zip(grid, titles.items(), strict=True):
        handles: list[Any] = []
        for column in shown:
            of_model = table[(table["model"] == column.name) & (table[loss] > 0)]
            for part, rows in of_model.groupby("segment", sort=False, dropna=False):
                panel.plot(
                    rows["episodes"].to_numpy(float),
                    rows[loss].to_numpy(float),
                    color=colour(column),
                    linestyle=line_style(column),
                    linewidth=1.4,
                    marker="." if len(rows) < 3 or part != 1 else "",
                    markevery=None if len(rows) < 3 else [0],
                    # A run that several models started from is drawn for the first of them.
                    zorder=3 - 0.01 * column.number,
                )
            handles += panel.plot([], [], color=colour(column), linestyle=line_style(column))
        panel.set(title=title, yscale="log", xlabel="episodes shown", ylabel="loss (nats a symbol)")
        panel.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x else "0")
        panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        panel.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
    _add_legend(figure, handles, shown)
    return render(
        figure,
        "learning_curves",
        "Learning curves",
        "Loss over the episodes shown in training, on a logarithmic scale. A model trained "
        "in several runs has a line for each, end to end, from its dot on; where the curves of the "
        "first ones are not known, the model begins further right. Models that started from one "
        "run share its line.",
    )


FIGURES: tuple[FigureFn, ...] = (
    likelihoods,
    item_accuracies,
    open_ended_patterns,
    mutual_exclusivity,
    learning_curves,
)

FIGURE_NAMES = tuple(make.__name__ for make in FIGURES)
"""Of the figures and their files."""


def _label_rows(panel: Axes, rows: tuple[ModelColumn, ...]) -> None:
    """A row for each, the first on top."""
    panel.set_yticks(range(len(rows)), [wrap_label(column.label) for column in rows])
    panel.set_ylim(len(rows) - 0.4, -0.7)
    panel.tick_params(axis="y", length=0)


def _add_legend(figure: Figure, handles: list[Any], shown: tuple[ModelColumn, ...]) -> None:
    """Below all panels; the labels are given here, as a plot's own may not begin with `_`."""
    labels = [column.label for column in shown]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
