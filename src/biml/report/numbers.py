"""The tables of numbers of each section of the page, from the tables of the results."""

from collections.abc import Callable

import pandas as pd

from biml.report.columns import Column, among
from biml.report.grids import (
    MISSING,
    Grid,
    Tables,
    Value,
    interval,
    models_in_columns,
    models_in_rows,
    number,
    p_value,
    table_of,
    value,
)
from biml.report.likelihoods import likelihood_details, likelihoods
from biml.report.words import ACCURACIES, GROUPS, KINDS, PATTERNS, spoken

Columns = tuple[Column, ...]


def published(tables: Tables, columns: Columns) -> list[Grid]:
    """Published figures beside ours."""
    frame = table_of(tables, "figures")
    if frame.empty:
        return []
    largest = frame[["ours", "published"]].abs().max(axis=1)
    names = [frame["experiment"], frame["figure"]]
    frame = frame.assign(largest=largest.groupby(names).transform("max"))

    def cell(row: pd.Series) -> Value:
        # Correlations and p need more digits than percentages and nats.
        digits = 3 if row["largest"] <= 1 else 1
        stated = _stated(row, digits)
        if not stated:
            return value(row["ours"], digits)
        change = number(row["difference"], digits)
        sign = "" if change.startswith("−") or change == number(0, digits) else "+"
        apart = "" if change == MISSING else f" ({sign}{change})"
        runs = {"SD": row["published_sd"], "best run": row["published_best"]}
        of_runs = [f"{name} {number(of, digits)}" for name, of in runs.items() if pd.notna(of)]
        lines = [f"paper {stated}{apart}", ", ".join(of_runs)]
        return value(row["ours"], digits, "\n".join(filter(None, lines)))

    note = (
        "Ours; below it the paper's figure and how much ours is above it; above or below a range, "
        "where the paper has only a graph. SD and best run: of the paper's runs."
    )
    keys = {"figure": "Figure", "experiment": "Experiment"}
    return [models_in_columns("Published figures and ours", note, frame, keys, columns, cell)]


def _stated(row: pd.Series, digits: int) -> str:
    """The paper's number or range; nothing where it has none."""
    if pd.notna(row["published"]):
        return number(row["published"], digits)
    return interval(row["published_low"], row["published_high"], 0)


def accuracies(tables: Tables, columns: Columns) -> list[Grid]:
    """Queries answered exactly, a column for each task and kind."""
    frame = table_of(tables, "accuracies")
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
    groups, agreement = table_of(tables, "groups"), table_of(tables, "agreement")
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
        if follows and agreement["noise_ceiling"].notna().any():
            ceiling = number(agreement["noise_ceiling"].max(), 2)
            note += f" People’s own answers, drawn again, have r {ceiling}."
        shown = among(columns, set(groups["model"]))
        grids.append(models_in_rows("Right answers", note, shown, heads, cells))
    note = "One-to-one: of all errors. Iconic: of errors on queries with a rule that reverses."
    return [*grids, *_patterns(tables, columns, "few_shot", "Kinds of error", note)]


def by_query(tables: Tables, columns: Columns) -> list[Grid]:
    """Accuracy on each few-shot query."""
    frame = table_of(tables, "item_accuracies")
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
    frame = table_of(tables, "mutual_exclusivity")
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
    frame = table_of(tables, "exclusivity_regression")
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


def training(tables: Tables, columns: Columns) -> list[Grid]:
    """Learning curves at the start, halfway and at the end."""
    frame = table_of(tables, "learning_curves")
    if frame.empty:
        return []
    places = {"start": 0.0, "halfway": 0.5, "end": 1.0}
    losses = {"train_loss": "Training", "val_loss": "Validation"}

    def cells(column: Column) -> list[Value]:
        lines = frame[frame["model"] == column.name]
        return [_loss(lines, loss, share) for loss in losses for share in places.values()]

    heads = [f"{loss}: {place}" for loss in losses.values() for place in places]
    note = "Loss in nats a symbol; below it the episodes shown by then."
    shown = among(columns, set(frame["model"]))
    return [models_in_rows("Learning curves in numbers", note, shown, heads, cells)]


GRIDS: tuple[Callable[[Tables, Columns], list[Grid]], ...] = (
    published,
    accuracies,
    few_shot,
    by_query,
    open_ended,
    probes,
    regression,
    likelihoods,
    likelihood_details,
    training,
)


def _loss(lines: pd.DataFrame, loss: str, share: float) -> Value:
    """After a share of the episodes shown, as near as there is a line."""
    known = lines.dropna(subset=[loss, "episodes"])
    if known.empty:
        return Value(MISSING, "")
    episodes = known["episodes"].to_numpy(float)
    line = known.iloc[int(abs(episodes - share * episodes.max()).argmin())]
    return value(line[loss], 3, f"at {number(line['episodes'], 0)}")


def _patterns(tables: Tables, columns: Columns, task: str, title: str, note: str) -> list[Grid]:
    frame = table_of(tables, "patterns")
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
