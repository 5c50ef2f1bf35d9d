"""The tables of numbers of each section of the page, from the tables of the results."""

import pandas as pd

from biml.report.columns import Column, among
from biml.report.grids import (
    MISSING,
    Grid,
    Head,
    Value,
    interval,
    models_in_columns,
    models_in_rows,
    number,
    p_value,
    value,
)
from biml.report.words import ACCURACIES, GROUPS, KINDS, PATTERNS, TASKS, spoken

Tables = dict[str, pd.DataFrame]
Columns = tuple[Column, ...]

_NATS = "Nats; closer to 0 is better."


def published(tables: Tables, columns: Columns) -> list[Grid]:
    """Published figures beside ours."""
    frame = _of(tables, "figures")
    if frame.empty:
        return []
    largest = frame[["ours", "published"]].abs().max(axis=1)
    names = [frame["experiment"], frame["figure"]]
    frame = frame.assign(largest=largest.groupby(names).transform("max"))

    def cell(row: pd.Series) -> Value:
        # Correlations and p need more digits than percentages and nats.
        digits = 3 if row["largest"] <= 1 else 1
        if pd.isna(row["published"]):
            return value(row["ours"], digits)
        change = number(row["difference"], digits)
        sign = "" if change.startswith("−") or change in (MISSING, number(0, digits)) else "+"
        below = f"paper {number(row['published'], digits)} ({sign}{change})"
        return value(row["ours"], digits, below)

    note = "Ours; below it the paper's figure and how much ours is above it."
    keys = {"experiment": "Experiment", "figure": "Figure"}
    return [models_in_columns("Published figures and ours", note, frame, keys, columns, cell)]


def accuracies(tables: Tables, columns: Columns) -> list[Grid]:
    """Queries answered exactly, a column for each task and kind."""
    frame = _of(tables, "accuracies")
    if frame.empty:
        return []
    kinds = list(dict.fromkeys(zip(frame["task"], frame["kind"], strict=True)))
    found = {(r.model, r.task, r.kind): r for r in frame.itertuples()}

    def cells(column: Column) -> list[Value]:
        row = [found.get((column.name, *kind)) for kind in kinds]
        return [
            value(r.mean, 1, f"SD {number(r.sd)}, n {number(r.n, 0)}") if r else Value(MISSING, "")
            for r in row
        ]

    heads = [f"{ACCURACIES.get(t, spoken(t))}: {KINDS.get(k, spoken(k))}" for t, k in kinds]
    note = (
        "Percent of queries answered exactly, greedily; below it the standard deviation over that "
        "many episodes. Copied: study examples asked again. Novel rules: never met in training."
    )
    shown = among(columns, set(frame["model"]))
    return [models_in_rows("Exact answers", note, shown, heads, cells)]


def few_shot(tables: Tables, columns: Columns) -> list[Grid]:
    """Accuracy of drawn answers by group of queries, agreement with people, kinds of error."""
    groups, agreement = _of(tables, "groups"), _of(tables, "agreement")
    grids = []
    if not groups.empty:
        percent = {(r.model, r.group): r.accuracy for r in groups.itertuples()}
        names = [name for name in GROUPS if name in set(groups["group"])]
        follows = {r.model: r for r in agreement.itertuples()}

        def cells(column: Column) -> list[Value]:
            row = [value(percent.get((column.name, name))) for name in names]
            if follows:
                r = follows.get(column.name)
                row.append(value(r.r, 3, interval(r.low, r.high, 2)) if r else Value(MISSING, ""))
                row.append(Value(p_value(r.p), value(r.p).key) if r else Value(MISSING, ""))
            return row

        heads = [GROUPS[name] for name in names] + (["r with people", "p"] if follows else [])
        note = (
            "Percent of answers that are right, mean over queries. r: correlation of a model's "
            "accuracies with people's over queries, its 95% interval for as many answers drawn "
            "again, and its permutation p."
        )
        shown = among(columns, set(groups["model"]))
        grids.append(models_in_rows("Right answers", note, shown, heads, cells))
    note = "One-to-one: of all errors. Iconic: of errors on queries with a rule that reverses."
    return [*grids, *_patterns(tables, columns, "few_shot", "Kinds of error", note)]


def by_query(tables: Tables, columns: Columns) -> list[Grid]:
    """Accuracy on each few-shot query."""
    frame = _of(tables, "item_accuracies")
    if frame.empty:
        return []
    kind = frame["group"].mask(frame["six_long"].fillna(False), frame["group"] + ", six symbols")
    note = "Percent of answers that are right."
    keys = {"query": "Query", "kind": "Kind"}
    if frame.groupby("query")["item"].nunique().max() > 1:  # after different study examples
        keys["item"] = "Item"
    return [
        models_in_columns(
            "Right answers by query",
            note,
            frame.assign(kind=kind),
            keys,
            columns,
            lambda row: value(row["accuracy"], 1, f"of {number(row['n'], 0)}"),
        )
    ]


def open_ended(tables: Tables, columns: Columns) -> list[Grid]:
    """The patterns in answer sheets."""
    note = "Answer sheets that have the pattern."
    return _patterns(tables, columns, "open_ended", "Patterns", note)


def probes(tables: Tables, columns: Columns) -> list[Grid]:
    """Shares of answers, mutual exclusivity by condition, and its regression."""
    note = "Answers that are as the kind of probe has it; one-to-one: rather than exclusive."
    grids = _patterns(tables, columns, "probes", "Answers that follow the bias", note)
    frame = _of(tables, "mutual_exclusivity")
    if not frame.empty:
        found = {(r.model, r.pool_size, r.counter_examples): r for r in frame.itertuples()}
        pairs = frame[["pool_size", "counter_examples"]].drop_duplicates().dropna()
        kinds = sorted(pairs.itertuples(index=False, name=None))

        def cells(column: Column) -> list[Value]:
            row = [found.get((column.name, *kind)) for kind in kinds]
            return [
                value(r.percent, 1, interval(r.low, r.high)) if r else Value(MISSING, "")
                for r in row
            ]

        heads = [f"{size} symbols, {examples} against" for size, examples in kinds]
        note = (
            "Percent of answers consistent with mutual exclusivity and its 95% interval, by how "
            "many symbols may be used and how many study examples speak against it."
        )
        shown = among(columns, set(frame["model"]))
        grids.append(models_in_rows("Mutual exclusivity", note, shown, heads, cells))
    return grids


def regression(tables: Tables, columns: Columns) -> list[Grid]:
    """Logistic regression of mutual exclusivity."""
    frame = _of(tables, "exclusivity_regression")
    if frame.empty:
        return []
    note = "Log-odds of an answer consistent with mutual exclusivity; below: 95% interval and p."

    def cell(row: pd.Series) -> Value:
        ends = interval(row["low"], row["high"], 2)
        p = "" if pd.isna(row["p"]) else f"; p {p_value(row['p'])}"
        return value(row["estimate"], 2, f"{ends}{p}")

    named = frame.assign(term=frame["term"].map(spoken))
    title = "Regression of mutual exclusivity"
    return [models_in_columns(title, note, named, {"term": "Term"}, columns, cell)]


def likelihoods(tables: Tables, columns: Columns) -> list[Grid]:
    """Log-likelihood of people's responses, a table for each task."""
    frame = _of(tables, "likelihoods")
    grids = []
    for task, title in TASKS.items():
        here = (
            frame[(frame["task"] == task) & frame["fold"].isin(["", "all"])]
            if len(frame)
            else frame
        )
        if here.empty:
            continue
        rows, numbers = [], []
        for column in among(columns, set(here["model"])):
            for _, row in here[here["model"] == column.name].iterrows():
                seen = row["within_sample"]
                rows.append(
                    (
                        Value(column.label),
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
    folds = _of(tables, "likelihoods")
    if not folds.empty:
        folds = folds[~folds["fold"].isin(["", "all"])]
        named = folds.assign(task=folds["task"].replace(TASKS))
        keys = {"task": "Task", "fold": "Fold"}
        if not named.empty:
            grids.append(models_in_columns("By fold", _NATS, named, keys, columns, _log_likelihood))
    frame = _of(tables, "likelihoods_by_item")
    if not frame.empty:
        named = frame.assign(
            task=frame["task"].replace(TASKS),
            item=frame["item"].mask(frame["item"] == frame["query"], ""),
        )
        keys = {"task": "Task", "query": "Query"}
        if (named["item"] != "").any():
            keys["item"] = "Trial"
        grids.append(models_in_columns("By query", _NATS, named, keys, columns, _log_likelihood))
    people = _of(tables, "likelihoods_by_participant")
    if not people.empty:
        named = people.assign(task=people["task"].replace(TASKS))
        keys = {"task": "Task", "participant": "Participant"}
        title = "By participant"
        grids.append(models_in_columns(title, _NATS, named, keys, columns, _log_likelihood))
    return grids + _comparisons(tables, columns)


def _comparisons(tables: Tables, columns: Columns) -> list[Grid]:
    frame = _of(tables, "comparisons")
    if frame.empty:
        return []
    labels = {column.name: column.label for column in columns}
    rows = tuple(
        (
            Value(TASKS.get(row["task"], row["task"])),
            Value(labels.get(row["model_a"], row["model_a"])),
            Value(labels.get(row["model_b"], row["model_b"])),
            value(row["difference"]),
            value(row["low"]),
            value(row["high"]),
            Value(row["unit"]),
        )
        for _, row in frame.iterrows()
    )
    heads = [Head(name, False) for name in ("Task", "Model", "Other model")]
    heads += [Head(name) for name in ("Difference", "95% from", "to")]
    heads += [Head("Drawn again", False)]
    note = (
        "Log-likelihood of the model less that of the other, in nats, with a bootstrap interval "
        "that draws participants again, or responses within each query. A model that was trained "
        "on these answers (see above) has an advantage."
    )
    return [Grid("Differences between models", note, tuple(heads), rows)]


def _patterns(tables: Tables, columns: Columns, task: str, title: str, note: str) -> list[Grid]:
    frame = _of(tables, "patterns")
    frame = frame[frame["task"] == task] if len(frame) else frame
    if frame.empty:
        return []
    names = [name for name in PATTERNS if name in set(frame["pattern"])]
    names += [name for name in frame["pattern"].unique() if name not in PATTERNS]
    found = {(r.model, r.pattern): r for r in frame.itertuples()}

    def cells(column: Column) -> list[Value]:
        row = [found.get((column.name, name)) for name in names]
        return [
            value(r.percent, 1, f"{number(r.count, 0)} of {number(r.n, 0)}")
            if r
            else Value(MISSING, "")
            for r in row
        ]

    heads = [f"{PATTERNS.get(name, spoken(name))} (%)" for name in names]
    shown = among(columns, set(frame["model"]))
    return [models_in_rows(title, note, shown, heads, cells)]


def _log_likelihood(row: pd.Series) -> Value:
    return value(row["log_likelihood"], 1, f"of {number(row['responses'], 0)}")


def _of(tables: Tables, name: str) -> pd.DataFrame:
    """A table, or an empty one where it is not there."""
    return tables.get(name, pd.DataFrame())
