"""Error rates on SCAN and COGS: the table of tests and models, and two figures."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from statsmodels.stats.proportion import proportion_confint

from biml.report.figure_style import (
    GREY,
    RenderedFigure,
    colour,
    label_rows,
    line_style,
    marker,
    render,
    subplots,
)
from biml.report.html_tables import (
    CAVEAT_NOTE,
    EMPTY,
    Cell,
    Header,
    HtmlTable,
    ModelColumn,
    ModelColumns,
    Tables,
    format_interval,
    format_number,
    format_range,
    label,
    marked,
    number_cell,
    rows_of,
    select,
)

TESTS = {
    ("scan_simple", "all"): "SCAN simple",
    ("scan_addprim_jump", "all"): "SCAN add-primitive jump",
    ("scan_addprim_left", "all"): "SCAN add-primitive turn left",
    ("scan_around_right", "all"): "SCAN around right",
    ("scan_opposite_right", "all"): "SCAN opposite right",
    ("scan_length", "all"): "SCAN length",
    ("cogs_iid", "all"): "COGS i.i.d.",
    ("cogs_gen_lex", "all"): "COGS lexical (mean of 18 types)",
    ("cogs_gen_struct", "cp_recursion"): "COGS CP recursion",
    ("cogs_gen_struct", "pp_recursion"): "COGS PP recursion",
    ("cogs_gen_struct", "obj_pp_to_subj_pp"): "COGS object to subject PP",
}
"""Tests by task and kind, with the names that published statistics give them."""

LENGTH_PANELS = {
    "scan_length": ("SCAN length", 22),
    "cogs_iid": ("COGS i.i.d.", 153),
    "cogs_gen_lex": ("COGS lexical", 153),
    "cogs_gen_struct": ("COGS structural", 153),
}
"""Tasks whose errors are drawn by output length, with the longest training output."""

MAX_BINS, ITEMS_PER_BIN = 12, 30
"""Bins of output lengths: at most so many, of about so many test items at least."""


def error_rate_table(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """A row for each test and model: error rate, interval, and the published figure."""
    frame = tables.get("error_rates", pd.DataFrame({"model": []}))
    by_key = {(row.task, row.kind, row.model): row for row in rows_of(frame)}
    found = [
        (name, column, by_key[task, kind, column.name])
        for (task, kind), name in TESTS.items()
        for column in columns
        if (task, kind, column.name) in by_key
    ]
    statistics = tables.get("statistics", pd.DataFrame())
    published = {(row.statistic, row.model): row for row in rows_of(statistics)}
    heads = ("Test", "Model", "Networks", "Test items", "Errors (%)", "Published")
    has_mark = any(_mark(column, row) for _, column, row in found)
    table = HtmlTable(
        "Error rates on SCAN and COGS",
        "Percent of the test items whose greedy response differs from the target; below it a 95% "
        "interval. Networks of one architecture and episode type that differ in their seeds are "
        "one model: mean and SD over them, with the interval of Student’s t; of one network "
        "Wilson’s. Differences are 0 inside a published range. Basic seq2seq models have no study "
        "examples; for them, published are the errors relative to those of MLC."
        + (f" {CAVEAT_NOTE}" if has_mark else ""),
        tuple(Header(head, number > 1) for number, head in enumerate(heads)),
        tuple(_cells(name, column, row, published) for name, column, row in found),
        tuple(column.number for _, column, _ in found),
    )
    return [table] if found else []


def _mark(column: ModelColumn, row: Any) -> str:
    """The mark of a model that was chosen by this test, whose type may have a suffix."""
    suffix = "".join(row.trained_on.partition("+")[1:])
    return column.mark(row.trained_on) or column.mark(f"{row.task}{suffix}")


def _cells(name: str, column: ModelColumn, row: Any, published: Any) -> tuple[Cell, ...]:
    spread = "" if pd.isna(row.sd) else f"SD {format_number(row.sd, 2)}\n"
    paper = EMPTY
    if (of := published.get((f"{name}: errors over MLC's", column.name))) is not None:
        stated = f"{format_range(of.published_low, of.published_high)} × MLC’s"
        interval = format_interval(of.low, of.high, 0)
        here = f"here {format_number(of.reproduced, 0)} ×"
        paper = Cell(stated, "", here + f"\n95%: {interval}" * bool(interval))
    of = published.get((f"{name}: errors (%)", column.name))
    if of is not None and pd.notna(of.difference):
        stated = format_range(of.published_low, of.published_high)
        difference = f"difference {format_number(of.difference, 2)}"
        paper = Cell(stated or format_number(of.published, 2), "", difference)
    return (
        Cell(name),
        Cell(column.label, None, f"trained on {row.trained_on}"),
        number_cell(row.networks, 0),
        number_cell(row.n, 0, _share(row.n, row.total)),
        marked(
            number_cell(row.error_rate, 2, f"{spread}{format_interval(row.low, row.high, 2)}"),
            _mark(column, row),
        ),
        paper,
    )


def _share(n: float, total: float) -> str:
    """
    >>> _share(200, 3920), _share(3920, 3920)
    ('of 3,920', '')
    """
    return f"of {format_number(total, 0)}" if n < total else ""


def _test_items(n: float, total: float) -> str:
    return " ".join(filter(None, (format_number(n, 0), _share(n, total), "test items")))


def errors_by_type(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Error rates on the generalisation types of COGS, the structural ones last."""
    table = tables.get("error_rates", pd.DataFrame({"task": [], "kind": []}, dtype=str))
    table = table[table["task"].str.startswith("cogs_gen") & (table["kind"] != "all")]
    if table.empty:
        return None
    kinds = list(table.sort_values(["task", "kind"])["kind"].unique())
    shown = select(columns, set(table["model"]))
    figure, (panel,) = subplots(1, 8.6, 0.9 + 0.25 * len(kinds))
    for number, column in enumerate(shown):
        rows = table[table["model"] == column.name]
        y = rows["kind"].map(kinds.index).to_numpy(float)
        mean, low, high = (rows[name].to_numpy(float) for name in ("error_rate", "low", "high"))
        panel.errorbar(
            mean,
            y + 0.6 * ((number + 0.5) / len(shown) - 0.5),
            xerr=np.clip([mean - low, high - mean], 0, None),
            fmt=marker(column),
            color=colour(column),
            markersize=4.5,
            elinewidth=0.9,
            label=column.label,
        )
        for row, value in zip(y, mean, strict=True):
            panel.annotate(
                f"{value:.1f}",
                (1, row),
                xytext=(36 * (number + 1), 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=colour(column),
                ha="right",
                va="center",
            )
    label_rows(panel, [label(kind) for kind in kinds])
    n_lexical = table[table["task"] == "cogs_gen_lex"]["kind"].nunique()
    panel.axhline(n_lexical - 0.5, color=GREY, linewidth=0.9)
    most = _test_items(table["n"].max(), table["total"].max())
    panel.set_title(f"Up to {most} of each type", loc="left")
    panel.set(xlabel="errors (%)", xlim=(-2, max(10, panel.get_xlim()[1])))
    figure.legend(loc="outside lower center", ncols=3)
    return render(
        figure,
        "errors_by_type",
        "Errors by generalisation type of COGS",
        "Percent of test items answered wrongly, mean over seeds, with 95% intervals; on the right "
        "the values in the order of the legend. Below the line: structural types.",
    )


def errors_by_length(tables: Tables, columns: ModelColumns) -> RenderedFigure | None:
    """Error rates by the length of the target, on SCAN length and COGS."""
    table = tables.get("error_counts", pd.DataFrame({"task": []}))
    by_task = {t: rows for t in LENGTH_PANELS if len(rows := table[table["task"] == t])}
    if not by_task:
        return None
    figure, grid = subplots(len(by_task), 4.2, 2.6, columns=2)
    drawn: dict[str, Any] = {}
    for panel, (task, rows) in zip(grid, by_task.items(), strict=True):
        title, longest = LENGTH_PANELS[task]
        one = rows[rows["network"] == rows["network"].iloc[0]]
        panel.set_title(f"{title}: {_test_items(one['n'].sum(), one['total'].sum())}")
        rows = rows.assign(bin=rows["output_length"].map(_bins(one)))
        for column in select(columns, set(rows["model"])):
            drawn[column.label] = _plot_lengths(panel, rows[rows["model"] == column.name], column)
        panel.axvline(longest + 0.5, color=GREY, linewidth=0.9, linestyle=":")
        panel.set(ylim=(-3, 103), xlabel="symbols of the target", ylabel="errors (%)")
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=3)
    return render(
        figure,
        "errors_by_length",
        "Errors by output length",
        "Percent of test items answered wrongly, over all networks of a model, by the length of "
        f"the target in up to {MAX_BINS} bins of about as many items each; bars: Wilson’s 95% "
        "intervals. Right of the dotted line outputs are longer than all in training.",
    )


def _bins(of_network: pd.DataFrame) -> dict[int, int]:
    """A bin for each output length, so that all have about as many test items."""
    n = of_network.groupby("output_length")["n"].sum().astype(float)
    n_bins = max(1, min(MAX_BINS, int(n.sum() / ITEMS_PER_BIN)))
    middle = (n.cumsum() - n / 2) / max(1.0, n.sum())
    return dict(zip(n.index, (n_bins * middle).astype(int), strict=True))


def _plot_lengths(panel: Axes, rows: pd.DataFrame, column: ModelColumn) -> Any:
    rows = rows.assign(symbols=rows["output_length"] * rows["n"])
    sums = rows.groupby("bin")[["symbols", "n", "count"]].sum().astype(float)
    sums = sums[sums["n"] > 0]
    rate = sums["count"] / sums["n"]
    low, high = proportion_confint(sums["count"], sums["n"], method="wilson")
    return panel.errorbar(
        sums["symbols"] / sums["n"],
        100 * rate,
        yerr=100 * np.clip([rate - low, high - rate], 0, None),
        color=colour(column),
        marker=marker(column),
        markersize=4.5,
        linestyle=line_style(column),
        linewidth=1.4,
        elinewidth=0.9,
    )
