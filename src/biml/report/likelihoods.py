"""The tables of log-likelihoods of people's responses."""

import pandas as pd

from biml.report.columns import ModelColumn, select
from biml.report.grids import (
    MISSING,
    HtmlTable,
    Header,
    Tables,
    Cell,
    one_column_per_model,
    format_number,
    get_table,
    number_cell,
)
from biml.report.words import TASK_LABELS

ModelColumns = tuple[ModelColumn, ...]

_NATS = "Nats; closer to 0 is better."


def overall_likelihoods(likelihoods: pd.DataFrame) -> pd.DataFrame:
    """The rows for everybody or the sum of the folds; of a model for one fold, that one."""
    whole = likelihoods["fold"].isin(["", "all"])
    of_model = [likelihoods["model"], likelihoods["task"]]
    return likelihoods[whole | ~whole.groupby(of_model).transform("any")]


def fold_suffix(fold: str) -> str:
    """What a number of one fold has behind it.

    >>> fold_suffix("3"), fold_suffix("all")
    (' (fold 3)', '')
    """
    return "" if fold in ("", "all") else f" (fold {fold})"


def likelihoods(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Log-likelihood of people's responses, a table for each task."""
    frame = get_table(tables, "likelihoods")
    grids = []
    for task, title in TASK_LABELS.items():
        here = overall_likelihoods(frame[frame["task"] == task]) if len(frame) else frame
        if here.empty:
            continue
        rows, numbers = [], []
        for column in select(columns, set(here["model"])):
            for _, row in here[here["model"] == column.name].iterrows():
                seen = row["within_sample"]
                rows.append(
                    (
                        Cell(column.label + fold_suffix(row["fold"])),
                        number_cell(row["log_likelihood"]),
                        number_cell(row["sd"]),
                        number_cell(row["log_likelihood"] / row["symbols"], 3),
                        number_cell(row["lapse"], 2),
                        number_cell(row["responses"], 0),
                        number_cell(row["symbols"], 0),
                        number_cell(row["repeats"], 0),
                        Cell(MISSING if pd.isna(seen) else "yes" if seen else "no"),
                    )
                )
                numbers.append(column.number)
        names = ("Log-likelihood", "SD", "A symbol", "Lapse rate", "Responses", "Symbols", "Passes")
        heads = (Header("", False), *map(Header, names), Header("Trained on them", False))
        note = f"{_NATS} SD is over passes with fresh orders and names."
        grids.append(HtmlTable(title, note, heads, tuple(rows), tuple(numbers)))
    return grids


def likelihood_details(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Folds, queries, participants, and differences between models."""
    grids = []
    folds = get_table(tables, "likelihoods")
    if not folds.empty:
        folds = folds[~folds["fold"].isin(["", "all"])]
        named = folds.assign(task=folds["task"].replace(TASK_LABELS))
        keys = {"fold": "Fold", "task": "Task"}
        if not named.empty:
            grids.append(
                one_column_per_model("By fold", _NATS, named, keys, columns, _log_likelihood_cell)
            )
    frame = get_table(tables, "likelihoods_by_item")
    if not frame.empty:
        named = frame.assign(
            task=frame["task"].replace(TASK_LABELS),
            item=frame["item"].mask(frame["item"] == frame["query"], ""),
        )
        keys = {"query": "Query", "task": "Task"}
        if (named["item"] != "").any():
            keys["item"] = "Trial"
        grids.append(
            one_column_per_model("By query", _NATS, named, keys, columns, _log_likelihood_cell)
        )
    people = get_table(tables, "likelihoods_by_participant")
    if not people.empty:
        named = people.assign(task=people["task"].replace(TASK_LABELS))
        keys = {"participant": "Participant", "task": "Task"}
        title = "By participant"
        grids.append(one_column_per_model(title, _NATS, named, keys, columns, _log_likelihood_cell))
    return grids + _comparison_table(tables, columns)


def _comparison_table(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    frame = get_table(tables, "comparisons")
    if frame.empty:
        return []
    labels = {column.name: column.label for column in columns}
    rows = tuple(
        (
            Cell(labels.get(row["model_a"], row["model_a"])),
            Cell(labels.get(row["model_b"], row["model_b"])),
            Cell(TASK_LABELS.get(row["task"], row["task"])),
            number_cell(row["difference"]),
            number_cell(row["low"]),
            number_cell(row["high"]),
            Cell(row["unit"]),
        )
        for _, row in frame.iterrows()
    )
    heads = [Header(name, False) for name in ("Model", "Other model", "Task")]
    heads += [Header(name) for name in ("Difference", "95% from", "to")]
    heads += [Header("Drawn again", False)]
    note = (
        "Log-likelihood of the model less that of the other, in nats, with a bootstrap interval "
        "that draws participants again, or responses within each query; of one there is none. A "
        "model that was trained on these answers (see above) has an advantage."
    )
    return [HtmlTable("Differences between models", note, tuple(heads), rows)]


def _log_likelihood_cell(row: pd.Series) -> Cell:
    return number_cell(row["log_likelihood"], 1, f"of {format_number(row['responses'], 0)}")
