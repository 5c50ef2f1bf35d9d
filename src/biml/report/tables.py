"""The tables of numbers of each section of the page, from the tables of the results."""

from collections.abc import Callable

import pandas as pd

from biml.report.html_tables import (
    ACCURACY_LABELS,
    GROUP_LABELS,
    MISSING,
    PATTERN_LABELS,
    QUERY_KIND_LABELS,
    TASK_LABELS,
    Cell,
    Header,
    HtmlTable,
    ModelColumn,
    Tables,
    format_interval,
    format_number,
    format_p,
    get_table,
    label,
    number_cell,
    one_column_per_model,
    one_row_per_model,
    select,
)

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
                        number_cell(row["p_lapse"], 2),
                        number_cell(row["responses"], 0),
                        number_cell(row["symbols"], 0),
                        number_cell(row["repeats"], 0),
                        Cell(MISSING if pd.isna(seen) else "yes" if seen else "no"),
                    )
                )
                numbers.append(column.number)
        names = (
            "Log-likelihood",
            "SD",
            "A symbol",
            "Lapse rate",
            "Responses",
            "Symbols",
            "Repeats",
        )
        heads = (Header("", False), *map(Header, names), Header("Trained on them", False))
        note = f"{_NATS} SD is over repeats with random orders and remappings."
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
            Cell(row["bootstrap_unit"]),
        )
        for _, row in frame.iterrows()
    )
    heads = [Header(name, False) for name in ("Model", "Other model", "Task")]
    heads += [Header(name) for name in ("Difference", "95% from", "to")]
    heads += [Header("Resampled", False)]
    note = (
        "Log-likelihood of the model less that of the other, in nats, with a bootstrap interval "
        "that draws participants again, or responses within each query; of one there is none. A "
        "model that was trained on these answers (see above) has an advantage."
    )
    return [HtmlTable("Differences between models", note, tuple(heads), rows)]


def _log_likelihood_cell(row: pd.Series) -> Cell:
    return number_cell(row["log_likelihood"], 1, f"of {format_number(row['responses'], 0)}")


# === The tables of numbers of each section of the page, from the tables of the results.


def published(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Published figures beside ours."""
    frame = get_table(tables, "statistics")
    if frame.empty:
        return []
    largest = frame[["reproduced", "published"]].abs().max(axis=1)
    names = [frame["experiment"], frame["statistic"]]
    frame = frame.assign(largest=largest.groupby(names).transform("max"))

    def cell(row: pd.Series) -> Cell:
        # Correlations and p need more digits than percentages and nats.
        digits = 3 if row["largest"] <= 1 else 1
        stated = _published_text(row, digits)
        if not stated:
            return number_cell(row["reproduced"], digits)
        change = format_number(row["difference"], digits)
        sign = "" if change.startswith("−") or change == format_number(0, digits) else "+"
        apart = "" if change == MISSING else f" ({sign}{change})"
        runs = {"SD": row["published_sd"], "best run": row["published_best"]}
        of_runs = [
            f"{name} {format_number(of, digits)}" for name, of in runs.items() if pd.notna(of)
        ]
        lines = [f"paper {stated}{apart}", ", ".join(of_runs)]
        return number_cell(row["reproduced"], digits, "\n".join(filter(None, lines)))

    note = (
        "Ours; below it the paper's figure and how much ours is above it; above or below a range, "
        "where the paper has only a graph. SD and best run: of the paper's runs."
    )
    keys = {"statistic": "Statistic", "experiment": "Experiment"}
    return [one_column_per_model("Published figures and ours", note, frame, keys, columns, cell)]


def _published_text(row: pd.Series, digits: int) -> str:
    """The paper's number or range; nothing where it has none."""
    if pd.notna(row["published"]):
        return format_number(row["published"], digits)
    return format_interval(row["published_low"], row["published_high"], 0)


def accuracies(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Queries answered exactly, a column for each task and kind."""
    frame = get_table(tables, "accuracies")
    if frame.empty:
        return []
    kinds = list(dict.fromkeys(zip(frame["task"], frame["kind"], strict=True)))
    found = {(r.model, r.task, r.kind): r for r in frame.itertuples()}

    def cells(column: ModelColumn) -> list[Cell]:
        row = [found.get((column.name, *kind)) for kind in kinds]
        return [
            number_cell(r.mean, 1, f"SD {format_number(r.sd)}, n {format_number(r.n, 0)}")
            if r
            else Cell(MISSING, "")
            for r in row
        ]

    heads = [
        f"{ACCURACY_LABELS.get(t, label(t))}: {QUERY_KIND_LABELS.get(k, label(k))}"
        for t, k in kinds
    ]
    note = (
        "Percent of queries answered exactly, greedily; below it the standard deviation over that "
        "many episodes. Copied: study examples asked again. Novel rules: never met in training."
    )
    shown = select(columns, set(frame["model"]))
    return [one_row_per_model("Exact answers", note, shown, heads, cells)]


def few_shot(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Accuracy of drawn answers by group of queries, agreement with people, kinds of error."""
    groups, agreement = (
        get_table(tables, "accuracy_by_complexity"),
        get_table(tables, "item_correlation"),
    )
    grids = []
    if not groups.empty:
        percent = {(r.model, r.complexity): r.accuracy for r in groups.itertuples()}
        names = [name for name in GROUP_LABELS if name in set(groups["complexity"])]
        follows = {r.model: r for r in agreement.itertuples()}

        def cells(column: ModelColumn) -> list[Cell]:
            row = [number_cell(percent.get((column.name, name))) for name in names]
            if follows:
                r = follows.get(column.name)
                row.append(
                    number_cell(r.r, 3, format_interval(r.low, r.high, 2))
                    if r
                    else Cell(MISSING, "")
                )
                row.append(Cell(format_p(r.p), number_cell(r.p).key) if r else Cell(MISSING, ""))
            return row

        heads = [GROUP_LABELS[name] for name in names] + (["r with people", "p"] if follows else [])
        note = (
            "Percent of answers that are right, mean over queries. r: correlation of a model's "
            "accuracies with people's over queries, its 95% interval for as many answers drawn "
            "again, and its permutation p."
        )
        if follows and agreement["noise_ceiling"].notna().any():
            ceiling = format_number(agreement["noise_ceiling"].max(), 2)
            note += f" People’s own answers, drawn again, have r {ceiling}."
        shown = select(columns, set(groups["model"]))
        grids.append(one_row_per_model("Right answers", note, shown, heads, cells))
    note = "One-to-one: of all errors. Iconic: of errors on queries with a rule that reverses."
    return [*grids, *_pattern_tables(tables, columns, "few_shot", "Kinds of error", note)]


def by_query(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Accuracy on each few-shot query."""
    frame = get_table(tables, "item_accuracies")
    if frame.empty:
        return []
    kind = frame["complexity"].mask(
        frame["long_output"].fillna(False), frame["complexity"] + ", long output"
    )
    note = "Percent of answers that are right."
    keys = {"query": "Query", "kind": "Kind"}
    if frame.groupby("query")["item"].nunique().max() > 1:  # after different study examples
        keys["item"] = "Item"
    return [
        one_column_per_model(
            "Right answers by query",
            note,
            frame.assign(kind=kind),
            keys,
            columns,
            lambda row: number_cell(row["accuracy"], 1, f"of {format_number(row['n'], 0)}"),
        )
    ]


def open_ended(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """The patterns in answer sheets."""
    note = "Answer sheets that have the pattern."
    return _pattern_tables(tables, columns, "open_ended", "Patterns", note)


def probes(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Shares of answers, mutual exclusivity by condition, and its regression."""
    note = "Answers that are as the kind of probe has it; one-to-one: rather than exclusive."
    grids = _pattern_tables(tables, columns, "probes", "Answers that follow the bias", note)
    frame = get_table(tables, "mutual_exclusivity")
    if not frame.empty:
        found = {(r.model, r.pool_size, r.counter_examples): r for r in frame.itertuples()}
        pairs = frame[["pool_size", "counter_examples"]].drop_duplicates().dropna()
        kinds = sorted(pairs.itertuples(index=False, name=None))

        def cells(column: ModelColumn) -> list[Cell]:
            row = [found.get((column.name, *kind)) for kind in kinds]
            return [
                number_cell(r.percent, 1, format_interval(r.low, r.high))
                if r
                else Cell(MISSING, "")
                for r in row
            ]

        heads = [f"{size} symbols, {examples} against" for size, examples in kinds]
        note = (
            "Percent of answers consistent with mutual exclusivity and its 95% interval, by how "
            "many symbols may be used and how many study examples speak against it."
        )
        shown = select(columns, set(frame["model"]))
        grids.append(one_row_per_model("Mutual exclusivity", note, shown, heads, cells))
    return grids


def regression(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Logistic regression of mutual exclusivity."""
    frame = get_table(tables, "exclusivity_regression")
    if frame.empty:
        return []
    note = "Log-odds of an answer consistent with mutual exclusivity; below: 95% interval and p."

    def cell(row: pd.Series) -> Cell:
        ends = format_interval(row["low"], row["high"], 2)
        p = "" if pd.isna(row["p"]) else f"; p {format_p(row['p'])}"
        return number_cell(row["estimate"], 2, f"{ends}{p}")

    named = frame.assign(term=frame["term"].map(label))
    title = "Regression of mutual exclusivity"
    return [one_column_per_model(title, note, named, {"term": "Term"}, columns, cell)]


def training(tables: Tables, columns: ModelColumns) -> list[HtmlTable]:
    """Learning curves at the start, halfway and at the end."""
    frame = get_table(tables, "learning_curves")
    if frame.empty:
        return []
    places = {"start": 0.0, "halfway": 0.5, "end": 1.0}
    losses = {"train_loss": "Training", "val_loss": "Validation"}

    def cells(column: ModelColumn) -> list[Cell]:
        lines = frame[frame["model"] == column.name]
        return [_loss_cell(lines, loss, share) for loss in losses for share in places.values()]

    heads = [f"{loss}: {place}" for loss in losses.values() for place in places]
    note = "Loss in nats a symbol; below it the episodes shown by then."
    shown = select(columns, set(frame["model"]))
    return [one_row_per_model("Learning curves in numbers", note, shown, heads, cells)]


TABLE_FUNCTIONS: tuple[Callable[[Tables, ModelColumns], list[HtmlTable]], ...] = (
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


def _loss_cell(lines: pd.DataFrame, loss: str, share: float) -> Cell:
    """After a share of the episodes shown, as near as there is a line."""
    known = lines.dropna(subset=[loss, "episodes"])
    if known.empty:
        return Cell(MISSING, "")
    episodes = known["episodes"].to_numpy(float)
    line = known.iloc[int(abs(episodes - share * episodes.max()).argmin())]
    return number_cell(line[loss], 3, f"at {format_number(line['episodes'], 0)}")


def _pattern_tables(
    tables: Tables, columns: ModelColumns, task: str, title: str, note: str
) -> list[HtmlTable]:
    frame = get_table(tables, "response_patterns")
    frame = frame[frame["task"] == task] if len(frame) else frame
    if frame.empty:
        return []
    names = [name for name in PATTERN_LABELS if name in set(frame["pattern"])]
    names += [name for name in frame["pattern"].unique() if name not in PATTERN_LABELS]
    found = {(r.model, r.pattern): r for r in frame.itertuples()}

    def cells(column: ModelColumn) -> list[Cell]:
        row = [found.get((column.name, name)) for name in names]
        return [
            number_cell(r.percent, 1, f"{format_number(r.count, 0)} of {format_number(r.n, 0)}")
            if r
            else Cell(MISSING, "")
            for r in row
        ]

    heads = [f"{PATTERN_LABELS.get(name, label(name))} (%)" for name in names]
    shown = select(columns, set(frame["model"]))
    return [one_row_per_model(title, note, shown, heads, cells)]
