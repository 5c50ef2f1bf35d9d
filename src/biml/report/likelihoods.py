"""The tables of log-likelihoods of people's responses."""

import pandas as pd

from biml.report.columns import Column, among
from biml.report.grids import (
    MISSING,
    Grid,
    Head,
    Tables,
    Value,
    models_in_columns,
    number,
    table_of,
    value,
)
from biml.report.words import TASKS

Columns = tuple[Column, ...]

_NATS = "Nats; closer to 0 is better."


def overall(likelihoods: pd.DataFrame) -> pd.DataFrame:
    """The rows for everybody or the sum of the folds; of a model for one fold, that one."""
    whole = likelihoods["fold"].isin(["", "all"])
    of_model = [likelihoods["model"], likelihoods["task"]]
    return likelihoods[whole | ~whole.groupby(of_model).transform("any")]


def fold_told(fold: str) -> str:
    """What a number of one fold has behind it.

    >>> fold_told("3"), fold_told("all")
    (' (fold 3)', '')
    """
    return "" if fold in ("", "all") else f" (fold {fold})"


def likelihoods(tables: Tables, columns: Columns) -> list[Grid]:
    """Log-likelihood of people's responses, a table for each task."""
    frame = table_of(tables, "likelihoods")
    grids = []
    for task, title in TASKS.items():
        here = overall(frame[frame["task"] == task]) if len(frame) else frame
        if here.empty:
            continue
        rows, numbers = [], []
        for column in among(columns, set(here["model"])):
            for _, row in here[here["model"] == column.name].iterrows():
                seen = row["within_sample"]
                rows.append(
                    (
                        Value(column.label + fold_told(row["fold"])),
                        value(row["log_likelihood"]),
                        value(row["sd"]),
                        value(row["log_likelihood"] / row["symbols"], 3),
                        value(row["lapse"], 2),
                        value(row["responses"], 0),
                        value(row["symbols"], 0),
                        value(row["repeats"], 0),
                        Value(MISSING if pd.isna(seen) else "yes" if seen else "no"),
                    )
                )
                numbers.append(column.number)
        names = ("Log-likelihood", "SD", "A symbol", "Lapse rate", "Responses", "Symbols", "Passes")
        heads = (Head("", False), *map(Head, names), Head("Trained on them", False))
        note = f"{_NATS} SD is over passes with fresh orders and names."
        grids.append(Grid(title, note, heads, tuple(rows), tuple(numbers)))
    return grids


def likelihood_details(tables: Tables, columns: Columns) -> list[Grid]:
    """Folds, queries, participants, and differences between models."""
    grids = []
    folds = table_of(tables, "likelihoods")
    if not folds.empty:
        folds = folds[~folds["fold"].isin(["", "all"])]
        named = folds.assign(task=folds["task"].replace(TASKS))
        keys = {"fold": "Fold", "task": "Task"}
        if not named.empty:
            grids.append(models_in_columns("By fold", _NATS, named, keys, columns, _log_likelihood))
    frame = table_of(tables, "likelihoods_by_item")
    if not frame.empty:
        named = frame.assign(
            task=frame["task"].replace(TASKS),
            item=frame["item"].mask(frame["item"] == frame["query"], ""),
        )
        keys = {"query": "Query", "task": "Task"}
        if (named["item"] != "").any():
            keys["item"] = "Trial"
        grids.append(models_in_columns("By query", _NATS, named, keys, columns, _log_likelihood))
    people = table_of(tables, "likelihoods_by_participant")
    if not people.empty:
        named = people.assign(task=people["task"].replace(TASKS))
        keys = {"participant": "Participant", "task": "Task"}
        title = "By participant"
        grids.append(models_in_columns(title, _NATS, named, keys, columns, _log_likelihood))
    return grids + _comparisons(tables, columns)


def _comparisons(tables: Tables, columns: Columns) -> list[Grid]:
    frame = table_of(tables, "comparisons")
    if frame.empty:
        return []
    labels = {column.name: column.label for column in columns}
    rows = tuple(
        (
            Value(labels.get(row["model_a"], row["model_a"])),
            Value(labels.get(row["model_b"], row["model_b"])),
            Value(TASKS.get(row["task"], row["task"])),
            value(row["difference"]),
            value(row["low"]),
            value(row["high"]),
            Value(row["unit"]),
        )
        for _, row in frame.iterrows()
    )
    heads = [Head(name, False) for name in ("Model", "Other model", "Task")]
    heads += [Head(name) for name in ("Difference", "95% from", "to")]
    heads += [Head("Drawn again", False)]
    note = (
        "Log-likelihood of the model less that of the other, in nats, with a bootstrap interval "
        "that draws participants again, or responses within each query; of one there is none. A "
        "model that was trained on these answers (see above) has an advantage."
    )
    return [Grid("Differences between models", note, tuple(heads), rows)]


def _log_likelihood(row: pd.Series) -> Value:
    return value(row["log_likelihood"], 1, f"of {number(row['responses'], 0)}")
