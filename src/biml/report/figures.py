"""The figures of a results folder (paper, Figs. 2 to 4, and supplement), in one style."""

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from biml.evaluation.intervals import Z_95
from biml.report.benchmarks import errors_by_length, errors_by_type
from biml.report.figure_style import (
    GREY,
    STYLE,
    TEXT_COLOUR,
    RenderedFigure,
    colour,
    label_rows,
    line_style,
    marker,
    render,
    row_height,
    row_label,
    subplots,
    wrap_label,
)
from biml.report.html_tables import (
    CAVEAT_NOTE,
    CEILING_NOTE,
    PATTERN_DESCRIPTIONS,
    PATTERN_LABELS,
    TASK_LABELS,
    ModelColumns,
    Tables,
    fold_note,
    format_interval,
    format_number,
    overall_likelihoods,
    rows_of,
    select,
)
from biml.report.schemas import PEOPLE

ZOOM = 1.3
"""The enlarged axis of likelihoods shows models within this factor of the best."""

HOLLOW = f"Hollow: the model was trained on or fitted to these responses. {CAVEAT_NOTE}"

FigureFn = Callable[[Tables, ModelColumns], RenderedFigure | None]


def _table(tables: Tables, name: str) -> pd.DataFrame | None:
    """A table that has rows, or None."""
    table = tables.get(name)
    return None if table is None or table.empty else table


def render_all(tables: Tables, columns: ModelColumns) -> dict[str, RenderedFigure]:
    """Every figure whose tables exist, by name."""
    with matplotlib.rc_context(STYLE):
        rendered = [make(tables, columns) for make in FIGURES]
    return {figure.name: figure for figure in rendered if figure is not None}


def likelihoods(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Log-likelihood of people's responses, a row of panels for each task."""
    if (table := _table(tables, "likelihoods")) is None:
        return None
    table = overall_likelihoods(table)
    table = table[np.isfinite(table["log_likelihood"])]
    by_task = {task: rows for task in TASK_LABELS if len(rows := table[table["task"] == task])}
    if not by_task:
        return None
    shown = {task: select(columns, set(rows["model"])) for task, rows in by_task.items()}
    folds = set(table[table["fold"] == "all"]["model"])
    held_out = {c.name for c in columns if c.kind == "network" and not c.within_sample} & folds
    heights = [0.9 + len(of) * row_height(of, 0.25) for of in shown.values()]
    figure = Figure(figsize=(8.6, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(by_task), 2, height_ratios=heights)
    for number, (task, rows) in enumerate(by_task.items()):
        models = shown[task]
        is_near = rows["log_likelihood"] >= ZOOM * rows["log_likelihood"].max()
        whole = figure.add_subplot(grid[number, :] if is_near.all() else grid[number, 0])
        whole.set_title(TASK_LABELS[task], loc="left")
        _plot_likelihoods(whole, rows, models)
        panels, top = [whole], -0.7
        if task == "few_shot" and (ceiling := _people_ceiling(tables)) is not None:
            top = -1.4
            whole.axvline(ceiling, color=TEXT_COLOUR, linewidth=0.9, linestyle="--")
            text = f"ceiling {ceiling:.0f} ".replace("-", "−")
            whole.text(ceiling, -0.95, text, ha="right", va="center", fontsize=8)
        if not is_near.all():
            near = figure.add_subplot(grid[number, 1])
            panels.append(near)
            near.set_title("enlarged", loc="left", weight="normal")
            _plot_likelihoods(near, rows[is_near], models)
            near.set_yticklabels([])
            far = set(rows[~is_near]["model"])
            for y, column in enumerate(models):
                if column.name in far:
                    at_left_edge: Any = {"xycoords": ("axes fraction", "data"), "va": "center"}
                    near.annotate(" ←", (0, y), color=colour(column), fontsize=11, **at_left_edge)
        for panel in panels:
            panel.set_ylim(len(models) - 0.4, top)
            panel.margins(x=0.08)
        _print_values(panels[-1], rows, models)
    return render(
        figure,
        "likelihoods",
        "Log-likelihood of people's responses",
        "Further right is better. Markers: mean over repeats with random orders and remappings, at "
        "the best lapse rate; bars: 95% interval for other people, and beside the value its "
        "standard error. Differences between models, of the same responses, have narrower "
        f"intervals (table). An arrow: further left than the enlarged axis. {HOLLOW} "
        + "Models of folds: the sum of the folds, each scored by the model that held it out. "
        * bool(held_out)
        + CEILING_NOTE * ("few_shot" in by_task and _people_ceiling(tables) is not None),
    )


def _plot_likelihoods(panel: Axes, rows: pd.DataFrame, shown: ModelColumns) -> None:
    task = str(rows["task"].iloc[0])
    for y, column in enumerate(shown):
        for row in rows_of(rows[rows["model"] == column.name]):
            panel.errorbar(
                row.log_likelihood,
                y,
                xerr=0 if pd.isna(row.standard_error) else Z_95 * row.standard_error,
                fmt=marker(column),
                color=colour(column),
                fillstyle="none" if task in column.within_sample else "full",
                markersize=6,
                capsize=3,
            )
    label_rows(
        panel, [row_label(column, column.mark(task, of_likelihood=True)) for column in shown]
    )
    panel.set_xlabel("log-likelihood (nats)")
    panel.xaxis.set_major_locator(MaxNLocator(5))  # more labels would touch


def _print_values(panel: Axes, rows: pd.DataFrame, shown: ModelColumns) -> None:
    """The values in a column right of the panel."""
    for y, column in enumerate(shown):
        values = [
            f"{row.log_likelihood:.0f}".replace("-", "−")
            + ("" if pd.isna(row.standard_error) else f" (SE {row.standard_error:.0f})")
            + (f" ({note})" if (note := fold_note(row.fold)) else "")
            for row in rows_of(rows[rows["model"] == column.name])
        ]
        panel.annotate(
            "; ".join(values),
            (1, y),
            xytext=(8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
        )


def _people_ceiling(tables: Tables) -> float | None:
    """Log-likelihood of people's few-shot responses by their own frequencies."""
    if (table := _table(tables, "statistics")) is None:
        return None
    people = table[(table["experiment"] == "table1") & (table["model"] == PEOPLE)]
    return None if people.empty else float(people["reproduced"].iloc[0])


_QUERY_SHAPES = {
    "simple": ("o", 7),
    "complex": ("s", 7),
    "long output": ("*", 10),
    "no function word": ("D", 7),
}
"""Marker and size of kinds of few-shot queries."""

_QUERY_KINDS = {
    "simple": "one function word",
    "complex": "several",
    "long output": "six symbols or more",
}


def item_accuracies(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Accuracy on each few-shot query, people against each model."""
    if (table := _table(tables, "item_accuracies")) is None:
        return None
    shown = select(columns, set(table["model"]))
    models = [column for column in shown if column.name != PEOPLE]
    if not models or len(models) == len(shown):
        return None
    people = table[table["model"] == PEOPLE].set_index("item")
    correlations = {row.model: row for row in rows_of(tables.get("item_correlation", table[:0]))}
    across = 4 if len(models) in (4, 7, 8) or len(models) > 9 else 3
    figure, grid = subplots(len(models), 2.3, 2.5, columns=across)
    kinds = table["complexity"].replace("", "no function word")
    kinds = kinds.mask(table["long_output"].fillna(False).astype(bool), "long output")
    table = table.assign(kind=kinds)
    shapes = {kind: shape for kind, shape in _QUERY_SHAPES.items() if (kinds == kind).any()}
    edge: Any = {"markeredgecolor": TEXT_COLOUR, "markeredgewidth": 0.6}
    for panel, model in zip(grid, models, strict=True):
        panel.plot([0, 100], [0, 100], color=TEXT_COLOUR, linewidth=0.8, linestyle=":")
        ours = table[table["model"] == model.name]
        for row in rows_of(ours[ours["item"].isin(people.index)]):
            shape, size = shapes.get(row.kind, ("D", 7))
            of_people = people.loc[row.item]
            line: Any = {"color": GREY, "linewidth": 0.7, "zorder": 1}
            panel.plot([row.low, row.high], [of_people["accuracy"]] * 2, **line)
            panel.plot([row.accuracy] * 2, [of_people["low"], of_people["high"]], **line)
            panel.plot(
                row.accuracy,
                of_people["accuracy"],
                marker=shape,
                markersize=size,
                color=colour(model),
                alpha=0.8,
                clip_on=False,
                **edge,
            )
        row = correlations.get(model.name)
        text = "r undefined"
        if row is not None and pd.notna(row.r):
            interval = format_interval(row.low, row.high, 2)
            text = f"r = {format_number(row.r, 2)}" + f"\n{interval}" * bool(interval)
        panel.set(title=row_label(model, model.mark("few_shot")), xlim=(0, 104), ylim=(0, 104))
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
    meanings = [f"{kind}: {_QUERY_KINDS[kind]}" for kind in shapes if kind in _QUERY_KINDS]
    return render(
        figure,
        "item_accuracies",
        "Accuracy on each query, people against models",
        "A marker for each few-shot query. On the dotted line people and model are equally "
        f"accurate. Grey lines, and below r: 95% intervals. {CAVEAT_NOTE}"
        + f" Kinds of queries: {'; '.join(meanings)}."
        * bool(meanings),
    )


def open_ended_patterns(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """How often each pattern occurs in people's and models' response sets."""
    if (table := _table(tables, "response_patterns")) is None:
        return None
    table = table[table["task"] == "open_ended"]
    if table.empty:
        return None
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
            if pd.notna(row.low):
                panel.plot([row.low, row.high], [y, y], color=GREY, linewidth=1.4)
            panel.text(106, y, f"{row.percent:.0f}", va="center")
        people: Any = here.get(PEOPLE)
        if people is not None:
            dashed: Any = {"color": TEXT_COLOUR, "linewidth": 0.9, "linestyle": "--"}
            panel.axvline(people.percent, zorder=0, **dashed)
        label_rows(panel, [row_label(column, column.mark("open_ended")) for column in rows])
        if panel is not grid[0]:
            panel.set_yticklabels([])
        panel.grid(axis="y", visible=False)
        panel.set(title=PATTERN_LABELS[name], xlim=(0, 126), xticks=[0, 50, 100])
        panel.set_xlabel("response sets (%)")
    meanings = "; ".join(f"{PATTERN_LABELS[n]}: {PATTERN_DESCRIPTIONS[n]}" for n in names)
    return render(
        figure,
        "open_ended_patterns",
        "Patterns in open-ended responses",
        "Percent of response sets with each pattern, and 95% intervals (grey). Dashed: people. "
        f"{HOLLOW} {meanings}.",
    )


def mutual_exclusivity(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Consistency with mutual exclusivity by counter-examples, a panel for each pool size."""
    if (table := _table(tables, "mutual_exclusivity")) is None:
        return None
    sizes = sorted(set(table["pool_size"].dropna()))
    shown = select(columns, set(table["model"]))
    figure, grid = subplots(len(sizes), 3.6, 3.3)
    handles: list[Any] = []
    for panel, size in zip(grid, sizes, strict=True):
        handles.clear()
        for number, column in enumerate(shown):
            rows = table[(table["model"] == column.name) & (table["pool_size"] == size)]
            rows = rows.sort_values("counter_examples")
            shift = 0.07 * (number - (len(shown) - 1) / 2)
            is_people = column.name == PEOPLE
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
                linewidth=2.2 if is_people else 1.4,
                elinewidth=0.9,
                capsize=2,
                zorder=3 if is_people else 2,
            )
            handles.append(bars)
        ticks = sorted(set(table["counter_examples"].dropna().astype(int)))
        title = f"{size} allowed symbols" if size else "any symbol allowed"
        panel.set(title=title, ylim=(-3, 103), xticks=ticks)
        panel.set_xlabel("counter-examples among study examples")
    grid[0].set_ylabel("consistent responses (%)")
    labels = [row_label(column, column.mark("probes")) for column in shown]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return render(
        figure,
        "mutual_exclusivity",
        "Mutual exclusivity",
        "Percent of responses to a new word with an output that no study example has, by the "
        "numbers of allowed symbols and of counter-examples (study examples that repeat an "
        f"output). Bars: 95% intervals. {HOLLOW}",
    )


def learning_curves(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Training and validation loss over episodes, a panel for each model."""
    if (table := _table(tables, "learning_curves")) is None:
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
        "panels. Models trained in several runs have one curve for each, end to end; a curve that "
        "starts further right lacks the first runs. Jumps: the episodes changed, as after a "
        "curriculum stage.",
    )


FIGURES: tuple[FigureFn, ...] = (
    likelihoods,
    item_accuracies,
    open_ended_patterns,
    mutual_exclusivity,
    errors_by_type,
    errors_by_length,
    learning_curves,
)

FIGURE_NAMES = tuple(make.__name__ for make in FIGURES)
