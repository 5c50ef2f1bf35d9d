"""The page's tables of numbers, each specified by a row of `TABLE_SPECS`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from biml.report.benchmarks import error_rate_table
from biml.report.html_tables import (
    CAVEAT_NOTE,
    CEILING_NOTE,
    CROSS_VALIDATED,
    CROSS_VALIDATED_NOTE,
    MISSING,
    PATTERN_LABELS,
    TASK_LABELS,
    Cell,
    Header,
    HtmlTable,
    ModelColumn,
    ModelColumns,
    Tables,
    TableSpec,
    fold_note,
    format_interval,
    format_number,
    format_p,
    label,
    make_table,
    marked,
    number_cell,
    overall_likelihoods,
    rows_of,
)
from biml.report.schemas import PEOPLE


def make_tables(tables: Tables, columns: ModelColumns) -> dict[str, list[HtmlTable]]:
    """The tables of each section of the page."""
    made = {
        section: [t for spec in specs if (t := make_table(spec, tables, columns)) is not None]
        for section, specs in TABLE_SPECS.items()
    }
    others = tables.get("likelihoods", pd.DataFrame({"task": []}))["task"].unique()
    specs = [_likelihoods(task, label(task)) for task in others if task not in TASK_LABELS]
    made["likelihoods"] += [t for spec in specs if (t := make_table(spec, tables, columns))]
    made["likelihood_details"] += _comparison_table(tables, columns)
    made["error_rates"] = error_rate_table(tables, columns)
    return made


def measure_tables(task: str, tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """The values of registered measures of a task."""
    table = make_table(replace(MEASURES_SPEC, task=task), tables, columns)
    return [] if table is None else [table]


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))


def _error_line(row: Any, digits: int = 1) -> str:
    """The standard error of a row, where known."""
    return _se(row.standard_error, digits)


def _se(value: Any, digits: int = 1) -> str:
    return f"SE {format_number(value, digits)}" if pd.notna(value) else ""


def _statistic_cell(row: Any) -> Cell:
    digits = row.digits
    if row.uncertain:
        return Cell("too few samples", "")
    if pd.notna(row.published):
        published = format_number(row.published, digits)
    else:
        published = format_interval(row.published_low, row.published_high, 0)
    error = format_interval(row.low, row.high, digits) or _error_line(row, digits)
    if pd.notna(row.cross_validated):
        margin = ""
        if pd.notna(row.cross_validated_error):
            margin = f" (SE {format_number(row.cross_validated_error, digits)})"
        value = f"cross-validated {format_number(row.cross_validated, digits)}{margin}"
        error = _lines(error, value)
    if not published:
        return number_cell(row.reproduced, digits, error)
    change = format_number(row.difference, digits)
    sign = "" if change.startswith("−") or change == format_number(0, digits) else "+"
    difference = "" if change == MISSING else f" ({sign}{change})"
    runs = {"SD": row.published_sd, "best run": row.published_best}
    spread = [f"{name} {format_number(of, digits)}" for name, of in runs.items() if pd.notna(of)]
    below = _lines(error, f"paper {published}{difference}", ", ".join(spread))
    return number_cell(row.reproduced, digits, below)


def _with_digits(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Correlations and p need more digits than percentages and nats; benchmarks are elsewhere."""
    frame = frame[frame["experiment"] != "benchmarks"]
    largest = frame[["reproduced", "published"]].abs().max(axis=1)
    largest = largest.groupby([frame["experiment"], frame["statistic"]]).transform("max")
    frame = frame.fillna({"uncertain": False, "uses": ""})
    return frame.assign(digits=largest.le(1).map({True: 3, False: 1}))


def _statistics_note(frame: pd.DataFrame) -> str:
    published, runs, halves = (
        bool(frame[columns.split()].notna().any(axis=None))
        for columns in ("published published_low", "published_sd published_best", "cross_validated")
    )
    ceiling = (frame["model"] == PEOPLE) & (frame["experiment"] == "table1")
    note = "Below a value: its 95% interval or standard error"
    note += ", the paper's value, the difference to it or to a range read off a graph" * published
    note += ", SD and best run of the paper's runs" * runs + "." + units_note(frame)
    return note + f" {CROSS_VALIDATED_NOTE}" * halves + f" {CEILING_NOTE}" * bool(ceiling.any())


def units_note(frame: pd.DataFrame) -> str:
    """A sentence that says what standard errors and intervals are over; empty where unknown."""
    units = frame["unit"][frame["unit"].notna() & (frame["unit"] != "")].unique()
    return f" SE and interval: over {' or '.join(units)}." if len(units) else ""


def _known_groups(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Accuracies by complexity, of kinds of queries that there are."""
    return frame[frame["complexity"].isin(frame.loc[frame["accuracy"].notna(), "complexity"])]


def _pattern_cell(row: Any) -> Cell:
    if pd.isna(row.n) or not row.n:
        return number_cell(row.percent)
    interval = format_interval(row.low, row.high, 0)
    return number_cell(row.percent, 1, _lines(f"{row.count:,} of {row.n:,}", interval))


def _patterns(task: str, title: str, note: str) -> TableSpec:
    def prepare(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
        order = {name: place for place, name in enumerate(PATTERN_LABELS)}
        return frame.sort_values("pattern", key=lambda names: names.map(order), kind="stable")

    return TableSpec(
        title,
        lambda frame: f"{note} Below: count and 95% interval.{units_note(frame)}",
        "response_patterns",
        _pattern_cell,
        column=lambda row: f"{PATTERN_LABELS.get(row.pattern, label(row.pattern))} (%)",
        task=task,
        prepare=prepare,
    )


def _query_rows(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    long = frame["long_output"].fillna(False).astype(bool)
    kind = frame["complexity"].mask(long, frame["complexity"] + ", long output")
    different_study = frame.groupby("query")["item"].nunique().max() > 1
    return frame.assign(kind=kind, item=frame["item"] if different_study else "")


def _likelihood_rows(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Task labels, and items only where they are not the queries; the mark needs the task name."""
    frame = frame.assign(task_label=frame["task"].map(lambda task: TASK_LABELS.get(task, task)))
    if "item" in frame:
        frame["item"] = frame["item"].mask(frame["item"] == frame["query"], "")
    return frame


def _fold_rows(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    return _likelihood_rows(frame[~frame["fold"].isin(["", "all"])], tables)


def _curve_rows(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Losses at the start, halfway and at the end, at the nearest line of each."""
    rows = []
    for loss, name in (("train_loss", "Training"), ("val_loss", "Validation")):
        for place, share in (("start", 0.0), ("halfway", 0.5), ("end", 1.0)):
            for model, lines in frame.dropna(subset=[loss, "episodes"]).groupby("model"):
                episodes = lines["episodes"].to_numpy(float)
                line = lines.iloc[int(abs(episodes - share * episodes.max()).argmin())]
                rows.append((model, f"{name}: {place}", line[loss], line["episodes"]))
    return pd.DataFrame(rows, columns=["model", "place", "loss", "episodes"])


def _log_likelihood_cell(row: Any) -> Cell:
    n = f"of {format_number(row.responses, 0)}"
    return number_cell(row.log_likelihood, 1, _lines(_error_line(row), n))


def _total_likelihood_cell(row: Any) -> Cell:
    repeated = pd.notna(row.repeats) and row.repeats > 1
    sd = f"SD {format_number(row.sd)} over {row.repeats} repeats" if repeated else ""
    return number_cell(row.log_likelihood, 1, _lines(_error_line(row), sd, fold_note(row.fold)))


def _likelihoods(task: str, title: str) -> TableSpec:
    return TableSpec(
        title,
        lambda frame: (
            "Nats; closer to 0 is better. SD: over repeats with random orders and remappings. The "
            "lapse rate is fitted to these responses; below it the 95% interval of a bootstrap."
            f"{units_note(frame)} {CROSS_VALIDATED_NOTE}"
            + " Over the allowed outputs of each trial (published: over all)."
            * (task == "probes")
        ),
        "likelihoods",
        cells={
            "Log-likelihood": _total_likelihood_cell,
            "Per symbol": lambda row: number_cell(
                row.log_likelihood / row.symbols, 3, _se(row.standard_error / row.symbols, 3)
            ),
            CROSS_VALIDATED: lambda row: number_cell(
                row.cross_validated, 1, _se(row.cross_validated_error)
            ),
            "Lapse rate": lambda row: number_cell(
                row.p_lapse, 2, format_interval(row.p_lapse_low, row.p_lapse_high, 2)
            ),
            "Responses": lambda row: number_cell(
                row.responses, 0, f"{format_number(row.symbols, 0)} symbols"
            ),
        },
        task=task,
        prepare=lambda frame, tables: overall_likelihoods(frame),
        of_likelihood=True,
    )


def _likelihood_details(title: str, table: str, rows: Mapping[str, str]) -> TableSpec:
    return TableSpec(
        title,
        "Nats; closer to 0 is better. SE: standard error of the sum"
        + (", over the responses of the participant." if "participant" in rows else "."),
        table,
        _log_likelihood_cell,
        rows={**rows, "task_label": "Task"},
        prepare=_fold_rows if table == "likelihoods" else _likelihood_rows,
        of_likelihood=True,
    )


def _comparison_table(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    frame = tables.get("comparisons", pd.DataFrame())
    if frame.empty:
        return []
    by_name = {column.name: column for column in columns}

    def name(row: Any, model: str) -> Cell:
        column: ModelColumn = by_name[model]
        return marked(Cell(column.label), column.mark(row.task, of_likelihood=True))

    rows = tuple(
        (
            name(row, row.model_a),
            name(row, row.model_b),
            Cell(TASK_LABELS.get(row.task, row.task)),
            number_cell(row.difference),
            number_cell(row.low),
            number_cell(row.high),
            Cell(row.bootstrap_unit),
        )
        for row in rows_of(frame)
    )
    heads = [Header(text, False) for text in ("Model", "Other model", "Task")]
    heads += [Header(text) for text in ("Difference", "95% from", "to")]
    heads += [Header("Bootstrap unit", False)]
    note = (
        "Log-likelihood of the model minus that of the other, in nats, with a bootstrap interval "
        "over participants, or over the responses within each query (none for a single one). "
        f"{CAVEAT_NOTE}"
    )
    return [HtmlTable("Differences between models", note, tuple(heads), rows)]


MEASURES_SPEC = TableSpec(
    "Registered measures",
    "Measures of behaviour added by plugins. SE: bootstrap over participants, response sets or "
    "responses within queries.",
    "measures",
    lambda row: number_cell(row.value, 2, _error_line(row, 2)),
    column=lambda row: f"{row.label}: {row.group}" if row.group else row.label,
)

TABLE_SPECS: dict[str, tuple[TableSpec, ...]] = {
    "published": (
        TableSpec(
            "Statistics",
            _statistics_note,
            "statistics",
            _statistic_cell,
            rows={"statistic": "Statistic", "experiment": "Experiment"},
            prepare=_with_digits,
        ),
    ),
    "accuracies": (
        TableSpec(
            "Exact matches",
            lambda frame: (
                "Percent of queries with an exact greedy response; below it its 95% interval and "
                "the SD over n episodes."
                + " Held-out rules: of a form that no training episode has."
                * ("novel_rules" in set(frame["task"]))
            ),
            "accuracies",
            lambda row: number_cell(
                row.mean,
                1,
                _lines(
                    format_interval(row.low, row.high),
                    f"SD {format_number(row.sd)}, n {format_number(row.n, 0)}",
                ),
            ),
            column=lambda row: f"{label(row.task)}: {label(row.kind)}".capitalize(),
        ),
    ),
    "few_shot": (
        TableSpec(
            "Correct responses",
            lambda frame: (
                "Percent of correct responses, mean over queries, and its 95% interval."
                + units_note(frame)
                + " Long output: six symbols or more." * ("long_output" in set(frame["complexity"]))
            ),
            "accuracy_by_complexity",
            lambda row: number_cell(row.accuracy, 1, format_interval(row.low, row.high)),
            column=lambda row: label(row.complexity).capitalize(),
            task="few_shot",
            prepare=_known_groups,
        ),
        TableSpec(
            "Item correlation with people",
            "Correlation of accuracies with people's over queries, its bootstrap interval and "
            "permutation p. Noise ceiling: median r of people's resampled responses.",
            "item_correlation",
            cells={
                "r": lambda row: number_cell(row.r, 3, format_interval(row.low, row.high, 2)),
                "p": lambda row: Cell(format_p(row.p), number_cell(row.p).key),
                "Noise ceiling": lambda row: number_cell(
                    row.noise_ceiling,
                    2,
                    format_interval(row.noise_ceiling_low, row.noise_ceiling_high, 2),
                ),
            },
            task="few_shot",
        ),
        _patterns(
            "few_shot",
            "Types of error",
            "One-to-one: of all errors. Iconic: of errors on queries with a reversing rule.",
        ),
    ),
    "by_query": (
        TableSpec(
            "Correct responses by query",
            "Percent of correct responses; below it their number and the 95% interval.",
            "item_accuracies",
            lambda row: number_cell(
                row.accuracy,
                1,
                _lines(f"of {format_number(row.n, 0)}", format_interval(row.low, row.high, 0)),
            ),
            rows={"query": "Query", "kind": "Kind", "item": "Item"},
            task="few_shot",
            prepare=_query_rows,
        ),
    ),
    "open_ended": (_patterns("open_ended", "Patterns", "Response sets that have the pattern."),),
    "probes": (
        _patterns(
            "probes",
            "Responses consistent with the bias",
            "Responses consistent with the kind of trial; one-to-one: over mutual exclusivity.",
        ),
        TableSpec(
            "Mutual exclusivity",
            "Percent of responses consistent with mutual exclusivity and its 95% interval, by the "
            "number of allowed symbols and of study examples that are counter-examples.",
            "mutual_exclusivity",
            lambda row: number_cell(row.percent, 1, format_interval(row.low, row.high)),
            column=lambda row: f"{row.pool_size} symbols, counter-examples: {row.counter_examples}",
            task="probes",
            prepare=lambda frame, tables: frame.dropna(
                subset=["pool_size", "counter_examples"]
            ).sort_values(["pool_size", "counter_examples"], kind="stable"),
        ),
    ),
    "regression": (
        TableSpec(
            "Regression of mutual exclusivity",
            "Log-odds of a response consistent with mutual exclusivity; below: 95% interval and p.",
            "exclusivity_regression",
            lambda row: number_cell(
                row.estimate,
                2,
                format_interval(row.low, row.high, 2)
                + ("" if pd.isna(row.p) else f"; p {format_p(row.p)}"),
            ),
            rows={"term": "Term"},
            task="probes",
            prepare=lambda frame, tables: frame.assign(term=frame["term"].map(label)),
        ),
    ),
    "likelihoods": tuple(_likelihoods(task, title) for task, title in TASK_LABELS.items()),
    "likelihood_details": (
        _likelihood_details("By fold", "likelihoods", {"fold": "Fold"}),
        _likelihood_details("By query", "likelihoods_by_item", {"query": "Query", "item": "Trial"}),
        _likelihood_details(
            "By participant", "likelihoods_by_participant", {"participant": "Participant"}
        ),
    ),
    "training": (
        TableSpec(
            "Learning curves in numbers",
            "Loss in nats per symbol; below it the number of training episodes.",
            "learning_curves",
            lambda row: number_cell(row.loss, 3, f"at {format_number(row.episodes, 0)}"),
            column=lambda row: row.place,
            prepare=_curve_rows,
        ),
    ),
}
"""By section of the page."""
