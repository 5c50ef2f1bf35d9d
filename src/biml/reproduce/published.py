"""Statistics stated in the paper and its supplement (`published.csv`) beside reproduced ones.

A row of the file is a statistic with the value stated for one of the paper's models: a mean over
runs with its SD and best run where stated, or a range read off a graph. `table`, `column` and the
columns after them say which cell of a results folder reproduces it.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby

import pandas as pd

from biml.report.schemas import TABLES
from biml.report.tables import accuracy_errors

ORACLE = "symbolic (oracle)"

TASKS_WITHOUT_PEOPLE = ("novel_rules",)
"""Tasks that do not depend on human data; the validation set does (its grammars are held out)."""

_FILTERS = ("task", "kind", "pattern", "complexity")
_VALUES = {
    "published": "value",
    "published_low": "low",
    "published_high": "high",
    "published_sd": "sd",
    "published_best": "best",
}

PublishedRow = dict[str, str]


@cache
def published_statistics() -> tuple[tuple[PublishedRow, ...], ...]:
    """The rows of each statistic, in the order of the file."""
    text = files(__package__).joinpath("published.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    by_statistic = groupby(rows, key=lambda row: (row["experiment"], row["statistic"]))
    return tuple(tuple(group) for _, group in by_statistic)


def compare_with_published(
    tables: Mapping[str, pd.DataFrame],
    paper_models: Mapping[str, str],
    experiments: Iterable[str],
    is_custom: bool = False,
    other_validation: bool = False,
    include_absent: bool = False,
) -> pd.DataFrame:
    """The table `statistics` of the experiments.

    Args:
        paper_models: for people and each model, the paper's model that it reproduces, or "".
        is_custom: the people are of another experiment, so that only statistics that do not
            depend on them are comparable.
        other_validation: the validation episodes are sampled differently from the published ones.
        include_absent: also list published values of models that were not run.
    """
    ran = set(experiments)
    rows: list[dict[str, object]] = []
    for statistic in published_statistics():
        first = statistic[0]
        if first["experiment"] not in ran:
            continue
        task = first["task"]
        is_benchmark = first["table"] == "error_rates"
        needs_people = not is_benchmark and task not in TASKS_WITHOUT_PEOPLE
        incomparable = (is_custom and needs_people) or (other_validation and task == "validation")
        stated = () if incomparable else statistic
        rows += _rows(stated, first, tables, paper_models, include_absent and not is_benchmark)
    return pd.DataFrame(rows, columns=list(TABLES["statistics"].columns))


def _rows(
    published: Sequence[PublishedRow],
    where: PublishedRow,
    tables: Mapping[str, pd.DataFrame],
    paper_models: Mapping[str, str],
    include_absent: bool,
) -> list[dict[str, object]]:
    stated = {row["model"]: row for row in published if row["model"]}
    models = dict(paper_models)
    if include_absent:
        models |= {name: name for name in stated if name not in paper_models.values()}
    rows: list[dict[str, object]] = []
    for model, paper_model in models.items():
        reproduced, error = _reproduced(where, tables, model)
        row = stated.get(paper_model, {})
        if reproduced is None and not (include_absent and row):
            continue
        values = {
            name: float(text) if (text := row.get(column)) else None
            for name, column in _VALUES.items()
        }
        names = {"experiment": where["experiment"], "statistic": where["statistic"]}
        difference = None if reproduced is None else _difference(reproduced, values)
        results = {"model": model, "reproduced": reproduced, "difference": difference}
        rows.append({**names, **results, **values, "standard_error": error})
    return rows


def _difference(reproduced: float, values: Mapping[str, float | None]) -> float | None:
    """Reproduced minus published value, or beyond the nearer end of the published range."""
    if (value := values["published"]) is not None:
        return reproduced - value
    low, high = values["published_low"], values["published_high"]
    if low is None or high is None:
        return None
    nearest = min(max(reproduced, low), high)
    return 0.0 if reproduced == nearest else reproduced - nearest  # infinity may be in the range


_ERRORS: dict[str, Callable[[pd.Series], float]] = {
    "mean": lambda row: row["sd"] / row["n"] ** 0.5,
    "percent": lambda row: (row["percent"] * (100 - row["percent"]) / row["n"]) ** 0.5,
    "r": lambda row: (row["high"] - row["low"]) / 3.92,
    "error_rate": lambda row: (row["high"] - row["low"]) / 3.92,
    "log_likelihood": lambda row: row["standard_error"],
}
"""Standard errors of the columns with estimates, from other columns of their rows."""


def _reproduced(
    where: PublishedRow, tables: Mapping[str, pd.DataFrame], model: str
) -> tuple[float | None, float | None]:
    """The reproduced value and its standard error."""
    if (table := tables.get(where["table"])) is None:
        return None, None
    rows = table[table["model"] == model]
    for name in _FILTERS:
        if where[name]:
            rows = rows[rows[name] == where[name]]
    if where["within_sample"]:
        rows = rows[rows["fold"].isin(["", "all"])]
        # Missing where unknown, as with custom experiments.
        fitted = rows["within_sample"].astype("boolean").fillna(False)
        rows = rows[fitted == (where["within_sample"] == "yes")]
    column = where["column"]
    if rows.empty or pd.isna(rows[column].iloc[0]):
        return None, None
    error: float | None = None
    if column == "accuracy" and "item_accuracies" in tables:
        error = accuracy_errors(tables["item_accuracies"]).get((model, where["complexity"]))
    elif column in _ERRORS:
        error = _ERRORS[column](rows.iloc[0])
    return float(rows[column].iloc[0]), error
