"""The figures of a results folder (paper, Figs. 2 to 4, and supplement), in one style."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from statsmodels.stats.proportion import proportion_confint

from biml.report.html_tables import (
    FITTED_MARK,
    PATTERN_LABELS,
    TASK_LABELS,
    ModelColumn,
    ModelColumns,
    Tables,
    rows_of,
    select,
)
from biml.report.schemas import PEOPLE
from biml.report.tables import fold_note, overall_likelihoods

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

_STYLE: Any = {
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

ZOOM = 1.3
"""The zoomed axis of likelihoods shows models within this factor of the best."""


@dataclass(frozen=True)
class RenderedFigure:
    """A figure: name of its files, title, caption, and the files' contents."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


FigureFn = Callable[[Tables, ModelColumns], RenderedFigure | None]


def render_all(tables: Tables, columns: ModelColumns) -> dict[str, RenderedFigure]:
    """Every figure whose tables exist, by name."""
    with matplotlib.rc_context(_STYLE):
        rendered = [make(tables, columns) for make in FIGURES]
    return {figure.name: figure for figure in rendered if figure is not None}


def likelihoods(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Log-likelihood of people's responses, a row of panels for each task."""
    table = tables.get("likelihoods")
    if table is None or table.empty:
        return None
    table = overall_likelihoods(table)
    table = table[np.isfinite(table["log_likelihood"])]
    by_task = {task: table[table["task"] == task] for task in TASK_LABELS}
    by_task = {task: rows for task, rows in by_task.items() if len(rows)}
    if not by_task:
        return None
    shown = {task: select(columns, set(rows["model"])) for task, rows in by_task.items()}
    heights = [0.9 + len(of) * row_height(of, 0.25) for of in shown.values()]
    figure = Figure(figsize=(8.6, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(by_task), 2, height_ratios=heights)
    for number, (task, rows) in enumerate(by_task.items()):
        limit = ZOOM * rows["log_likelihood"].max()
        is_near = rows["log_likelihood"] >= limit
        whole = figure.add_subplot(grid[number, :] if is_near.all() else grid[number, 0])
        whole.set_title(TASK_LABELS[task], loc="left")
        _plot_likelihoods(whole, rows, shown[task])
        top = -0.7
        if task == "few_shot" and (ceiling := _people_ceiling(tables)) is not None:
            top = -1.4
            whole.axvline(ceiling, color=TEXT_COLOUR, linewidth=0.9, linestyle="--")
            text = f"ceiling {ceiling:.0f} ".replace("-", "−")
            whole.text(ceiling, -0.95, text, ha="right", va="center", fontsize=8)
        panels = [whole]
        if not is_near.all():
            panels.append(figure.add_subplot(grid[number, 1]))
            panels[1].set_title("enlarged", loc="left", weight="normal")
            _plot_likelihoods(panels[1], rows[is_near], shown[task])
            panels[1].set_yticklabels([])
            for y, column in enumerate(shown[task]):
                if column.name in set(rows[~is_near]["model"]):
                    panels[1].annotate(
                        "◂",
                        (0, y),
                        xycoords=("axes fraction", "data"),
                        color=colour(column),
                        va="center",
                        fontsize=11,
                    )
        for panel in panels:
            panel.set_ylim(len(shown[task]) - 0.4, top)
            panel.margins(x=0.08)
        _print_values(panels[-1], rows, shown[task])
    return render(
        figure,
        "likelihoods",
        "Log-likelihood of people's responses",
        "Further right is better. Markers: mean over repeats with random orders and remappings, at "
        "the best lapse rate; bars: standard deviation over repeats. An arrow: further left than "
        f"the enlarged axis. Hollow and {FITTED_MARK}: the model was trained on these responses. "
        "Open-ended: sum of the folds, each scored by the model that held it out. Ceiling: the "
        "frequencies of people's own responses, which no model of the queries can exceed.",
    )


def _plot_likelihoods(panel: Axes, rows: pd.DataFrame, shown: ModelColumns) -> None:
    task = str(rows["task"].iloc[0])
    for y, column in enumerate(shown):
        for row in rows_of(rows[rows["model"] == column.name]):
            panel.errorbar(
                row.log_likelihood,
                y,
                xerr=0 if pd.isna(row.sd) else row.sd,
                fmt=marker(column),
                color=colour(column),
                fillstyle="none" if task in column.within_sample else "full",
                markersize=6,
                capsize=3,
            )
    _label_rows(panel, [row_label(column, column.within_sample, task) for column in shown])
    panel.set_xlabel("log-likelihood (nats)")


def _print_values(panel: Axes, rows: pd.DataFrame, shown: ModelColumns) -> None:
    """The values in a column right of the panel."""
    for y, column in enumerate(shown):
        values = [
            f"{row.log_likelihood:.0f}".replace("-", "−")
            + ("" if pd.isna(row.sd) or row.sd < 0.5 else f" ± {row.sd:.0f}")
            + (f" ({note})" if (note := fold_note(row.fold)) else "")
            for row in rows_of(rows[rows["model"] == column.name])
        ]
        panel.annotate(
            "; ".join(values), (1.03, y), xycoords=("axes fraction", "data"), va="center"
        )


def _people_ceiling(tables: Tables) -> float | None:
    """Log-likelihood of people's few-shot responses by their own frequencies."""
    table = tables.get("statistics")
    if table is None:
        return None
    people = table[(table["experiment"] == "table1") & (table["model"] == PEOPLE)]
    return None if people.empty else float(people["reproduced"].iloc[0])


def item_accuracies(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Accuracy on each few-shot query, people against each model."""
    table = tables.get("item_accuracies")
    if table is None or PEOPLE not in set(table["model"]):
        return None
    models = [c for c in select(columns, set(table["model"])) if c.name != PEOPLE]
    if not models:
        return None
    people = table[table["model"] == PEOPLE].set_index("item")["accuracy"]
    correlation = tables.get("item_correlation", pd.DataFrame({"model": [], "r": []}))
    r_of: dict[str, float] = dict(zip(correlation["model"], correlation["r"], strict=True))
    across = 4 if len(models) in (4, 7, 8) or len(models) > 9 else 3
    figure, grid = subplots(len(models), 2.3, 2.5, columns=across)
    shapes = {"simple": ("o", 7), "complex": ("s", 7), "long output": ("*", 10)}
    if (table["complexity"] == "").any():
        shapes["no function word"] = ("D", 7)
    edge: Any = {"markeredgecolor": TEXT_COLOUR, "markeredgewidth": 0.6}
    for panel, model in zip(grid, models, strict=True):
        panel.plot([0, 100], [0, 100], color=TEXT_COLOUR, linewidth=0.8, linestyle=":")
        ours = table[table["model"] == model.name]
        for row in rows_of(ours[ours["item"].isin(people.index)]):
            is_long = pd.notna(row.long_output) and bool(row.long_output)
            kind = "long output" if is_long else row.complexity or "no function word"
            shape, size = shapes.get(kind, ("D", 7))
            panel.plot(
                row.accuracy,
                people[row.item],
                marker=shape,
                markersize=size,
                color=colour(model),
                alpha=0.8,
                clip_on=False,
                **edge,
            )
        r = float(r_of.get(model.name, float("nan")))
        text = "r undefined" if np.isnan(r) else f"r = {r:.2f}".replace("-", "−")
        panel.set(title=wrap_label(model.label), xlim=(0, 104), ylim=(0, 104))
        panel.text(102, 4, text, ha="right", va="bottom")
        panel.set(xticks=[0, 50, 100], yticks=[0, 50, 100])
        panel.set_box_aspect(1)
    for panel in grid[::across]:
        panel.set_ylabel("people: correct (%)")
    for panel in grid[-across:]:
        panel.set_xlabel("model: correct (%)")
    handles = [
        Line2D([], [], linestyle="", marker=shape, markersize=size, color=GREY, label=kind, **edge)
        for kind, (shape, size) in shapes.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return render(
        figure,
        "item_accuracies",
        "Accuracy on each query, people against models",
        "A marker for each few-shot query; long output: a complex one with six symbols or more. On "
        "the dotted line people and model are correct equally often.",
    )


def open_ended_patterns(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """How often each pattern occurs in people's and models' response sets."""
    table = tables.get("response_patterns")
    if table is None or not (table["task"] == "open_ended").any():
        return None
    table = table[table["task"] == "open_ended"]
    names = [name for name in PATTERN_LABELS if name in set(table["pattern"])]
    rows = select(columns, set(table["model"]))
    figure, grid = subplots(len(names), 2.1, 1.0 + len(rows) * row_height(rows, 0.27))
    for panel, name in zip(grid, names, strict=True):
        here = {row.model: row for row in rows_of(table[table["pattern"] == name])}
        for y, column in enumerate(rows):
            row = here.get(column.name)
            if row is None or pd.isna(row.percent):
                continue
            hue, fitted = colour(column), "open_ended" in column.fitted_to
            panel.barh(y, row.percent, 0.62, color="none" if fitted else hue, edgecolor=hue)
            if pd.notna(row.n) and row.n > 0:
                low, high = proportion_confint(int(row.count), int(row.n), method="wilson")
                panel.plot([100 * low, 100 * high], [y, y], color=GREY, linewidth=1.4)
            panel.text(106, y, f"{row.percent:.0f}", va="center")
        people: Any = here.get(PEOPLE)
        if people is not None:
            panel.axvline(
                people.percent, color=TEXT_COLOUR, linewidth=0.9, linestyle="--", zorder=0
            )
        _label_rows(panel, [row_label(column, column.fitted_to, "open_ended") for column in rows])
        if panel is not grid[0]:
            panel.set_yticklabels([])
        panel.grid(axis="y", visible=False)
        panel.set(title=PATTERN_LABELS[name], xlim=(0, 126), xticks=[0, 50, 100])
        panel.set_xlabel("response sets (%)")
    return render(
        figure,
        "open_ended_patterns",
        "Patterns in open-ended responses",
        "Percent of response sets with each pattern, and 95% intervals (grey). Dashed: people. "
        f"Hollow and {FITTED_MARK}: the model was trained on these people's responses.",
    )


def mutual_exclusivity(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Consistency with mutual exclusivity by counter-examples, a panel for each pool size."""
    table = tables.get("mutual_exclusivity")
    if table is None or table.empty:
        return None
    sizes = sorted(set(table["pool_size"].dropna()))
    shown = select(columns, set(table["model"]))
    figure, grid = subplots(len(sizes), 3.6, 3.3)
    handles: list[Any] = []
    for panel, size in zip(grid, sizes, strict=True):
        handles.clear()
        for place, column in enumerate(shown):
            rows = table[(table["model"] == column.name) & (table["pool_size"] == size)]
            rows = rows.sort_values("counter_examples")
            shift = 0.07 * (place - (len(shown) - 1) / 2)
            y = rows["percent"].to_numpy(float)
            low, high = (rows[end].to_numpy(float) for end in ("low", "high"))
            bars = panel.errorbar(
                rows["counter_examples"].to_numpy(float) + shift,
                y,
                yerr=np.nan_to_num(np.clip([y - low, high - y], 0, None)),
                color=colour(column),
                marker=marker(column),
                fillstyle="none" if "probes" in column.fitted_to else "full",
                linestyle=line_style(column),
                linewidth=2.2 if column.name == PEOPLE else 1.4,
                elinewidth=0.9,
                capsize=2,
                zorder=3 if column.name == PEOPLE else 2,
            )
            handles.append(bars)
        ticks = sorted(set(table["counter_examples"].dropna().astype(int)))
        title = f"{size} allowed symbols" if size else "any symbol allowed"
        panel.set(title=title, ylim=(-3, 103), xticks=ticks)
        panel.set_xlabel("counter-examples among study examples")
    grid[0].set_ylabel("consistent responses (%)")
    labels = [row_label(column, column.fitted_to, "probes") for column in shown]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return render(
        figure,
        "mutual_exclusivity",
        "Mutual exclusivity",
        "Percent of responses to a new word with an output that no study example has, by the "
        "number of study examples against this and of allowed symbols. Bars: 95% intervals. "
        f"Hollow and {FITTED_MARK}: the model was trained on these responses.",
    )


def learning_curves(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Training and validation loss over episodes, a panel for each model."""
    table = tables.get("learning_curves")
    if table is None or table.empty:
        return None
    shown = select(columns, set(table["model"]))
    across = min(4, len(shown))
    figure, grid = subplots(len(shown), 2.3, 2.2, columns=across)
    losses = table[["train_loss", "val_loss"]].to_numpy(float)
    losses = losses[losses > 0]
    for panel, column in zip(grid, shown, strict=True):
        styles = {"train_loss": (GREY, 1.0), "val_loss": (colour(column), 1.8)}
        of_model = table[table["model"] == column.name]
        for loss, (hue, width) in styles.items():
            rows = of_model[of_model[loss] > 0]
            for segment, line in rows.groupby("segment", sort=False, dropna=False):
                panel.plot(
                    line["episodes"].to_numpy(float),
                    line[loss].to_numpy(float),
                    color=hue,
                    linewidth=width,
                    marker="." if len(line) < 3 or segment != 1 else "",
                    markevery=None if len(line) < 3 else [0],
                )
        panel.set(title=wrap_label(column.label), yscale="log")
        if len(losses):
            panel.set_ylim(losses.min() / 1.3, losses.max() * 1.3)
        panel.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
        panel.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x else "0")
        panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        panel.yaxis.set_minor_formatter("")
    for panel in grid[::across]:
        panel.set_ylabel("loss (nats per symbol)")
    for panel in grid[-across:]:
        panel.set_xlabel("training episodes")
    handles = [
        Line2D([], [], color=GREY, linewidth=1, label="training"),
        Line2D([], [], color=TEXT_COLOUR, linewidth=1.8, label="validation (model's colour)"),
        Line2D([], [], color=TEXT_COLOUR, linestyle="", marker=".", label="start of a later run"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return render(
        figure,
        "learning_curves",
        "Learning curves",
        "Loss over training episodes on a logarithmic scale; the scale of episodes differs between "
        "panels. Models trained in several runs have one curve for each, end to end; where the "
        "curves of the first runs are unknown, the panel begins further right.",
    )


FIGURES: tuple[FigureFn, ...] = (
    likelihoods,
    item_accuracies,
    open_ended_patterns,
    mutual_exclusivity,
    learning_curves,
)

FIGURE_NAMES = tuple(make.__name__ for make in FIGURES)


# --- shared style


def colour(column: ModelColumn) -> str:
    """The colour of a model; people have that of text."""
    return _COLOURS[(column.number - 1) % len(_COLOURS)] if column.number else TEXT_COLOUR


def marker(column: ModelColumn) -> str:
    return _MARKERS[(column.number - 1) % len(_MARKERS)] if column.number else "o"


def line_style(column: ModelColumn) -> str:
    return _LINE_STYLES[(column.number - 1) % len(_LINE_STYLES)] if column.number else "-"


def row_label(column: ModelColumn, fitted: frozenset[str], task: str) -> str:
    return wrap_label(column.label) + (FITTED_MARK if task in fitted else "")


def wrap_label(label: str) -> str:
    """A label in lines that fit beside a panel."""
    return "\n".join(wrap(label, 24, break_on_hyphens=False))


def row_height(rows: Sequence[ModelColumn], minimum: float) -> float:
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


def _label_rows(panel: Axes, labels: Sequence[str]) -> None:
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


def inline_svg(figure: RenderedFigure) -> str:
    """The SVG as part of a page: in the colour of its text, without background and size."""
    text = figure.svg.decode().replace(TEXT_COLOUR, "currentColor")
    text = text.replace("fill: #ffffff", "fill: none")
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    # Style rules would hold for the whole page, which has its own for figures.
    text = re.sub(
        r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _svg_opening, text, count=1)
    # Ids recur in every figure: keep those that are referenced, with the figure's name.
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda id: id[0] if id[1] in used else "", text)
    for own in used:
        text = re.sub(rf'(url\(#|href="#| id="){re.escape(own)}', rf"\1{figure.name}-{own}", text)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r'="[^"]*"', lambda of: re.sub(r"(\d\.\d\d)\d+", r"\1", of[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _svg_opening(match: re.Match[str]) -> str:
    width = float(match[1].split()[2]) * 4 / 3
    return (
        f'<svg viewBox="{match[1]}" role="img" aria-hidden="true" '
        f'style="width:{width:.0f}px;min-width:{min(width, 560):.0f}px">'
    )
