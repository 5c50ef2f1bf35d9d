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
from typing import Any

import pandas as pd

from biml.episodes.data_use import FITTED, TRAINED, USES
from biml.episodes.episode_type import FEW_SHOT
from biml.evaluation.accuracy import EPISODES
from biml.evaluation.intervals import Z_95
from biml.report.schemas import PEOPLE, TABLES

ORACLE = "symbolic (oracle)"

TASKS_WITHOUT_PEOPLE = ("novel_rules",)
"""Tasks that do not depend on human data; the validation set does (its grammars are held out)."""

MAX_WIDTH_OF_R, MAX_WIDTH_OF_PERCENT = 1.0, 50.0
"""The widest 95% interval of a statistic that still tells something: half of its range."""

_TASKS = {"few-shot": FEW_SHOT}
"""The task of an experiment whose statistics name none."""

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
    uses: Callable[[str, str], Sequence[str]] = lambda model, task: (),
) -> pd.DataFrame:
    """The table `statistics` of the experiments.

    Args:
        paper_models: for people and each model, the paper's model that it reproduces, or "".
        is_custom: the people are of another experiment, so that only statistics that do not
            depend on them are comparable.
        other_validation: the validation episodes are sampled differently from the published ones.
        include_absent: also list published values of models that were not run.
        uses: how the data of a task went into a model (`data_use.USES`).
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
        task = task or _TASKS.get(first["experiment"], "")
        with_absent = include_absent and not is_benchmark
        for row in _rows(stated, first, tables, paper_models, with_absent):
            used = uses(str(row["model"]), task)
            if row["model"] == PEOPLE and first["column"] == "log_likelihood":
                used = (FITTED,)  # the frequencies of the responses themselves
            rows.append(row | {"uses": ", ".join(use for use in used if use not in row["spared"])})
    return pd.DataFrame(rows, columns=list(TABLES["statistics"].columns))


def _rows(
    published: Sequence[PublishedRow],
    where: PublishedRow,
    tables: Mapping[str, pd.DataFrame],
    paper_models: Mapping[str, str],
    include_absent: bool,
) -> list[dict[str, Any]]:
    stated = {row["model"]: row for row in published if row["model"]}
    models = dict(paper_models)
    if include_absent:
        models |= {name: name for name in stated if name not in paper_models.values()}
    rows: list[dict[str, Any]] = []
    for model, paper_model in models.items():
        found = _reproduced(where, tables, model)
        row = stated.get(paper_model, {})
        if found is None and not (include_absent and row):
            continue
        values = {
            name: float(text) if (text := row.get(column)) else None
            for name, column in _VALUES.items()
        }
        names = {"experiment": where["experiment"], "statistic": where["statistic"]}
        estimate: dict[str, Any] = {"spared": USES}
        if found is not None:
            estimate = _estimate(where["column"], found)
        difference = None
        # The difference of two p-values says nothing.
        if found is not None and where["column"] != "p":
            difference = _difference(estimate["reproduced"], values)
        rows.append({**names, "model": model, **values, **estimate, "difference": difference})
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


def _reproduced(
    where: PublishedRow, tables: Mapping[str, pd.DataFrame], model: str
) -> pd.Series | None:
    """The row of results with the reproduced value; None where it is missing."""
    if (table := tables.get(where["table"])) is None:
        return None
    rows = table[table["model"] == model]
    for name in _FILTERS:
        if where[name]:
            rows = rows[rows[name] == where[name]]
    if where["within_sample"]:
        rows = rows[rows["fold"].isin(["", "all"])]
        # Missing where unknown, as with custom experiments.
        fitted = rows["within_sample"].astype("boolean").fillna(False)
        rows = rows[fitted == (where["within_sample"] == "yes")]
    found = rows.empty or pd.isna(rows[where["column"]].iloc[0])
    return None if found else rows.iloc[0]


def _estimate(column: str, row: pd.Series) -> dict[str, Any]:
    """The value in a column of a row of results, with its standard error and 95% interval.

    A p-value has none.
    """
    value, error = float(row[column]), row.get("standard_error")
    prefix = f"{column}_" if column in ("ratio", "p_lapse") else ""
    low: Any = row.get(f"{prefix}low")
    high: Any = row.get(f"{prefix}high")
    unit = row.get("unit")
    if column in ("p", "p_lapse"):
        error = None
    if column == "p":
        low = high = None
    if column == "mean":
        error, unit = row["sd"] / row["n"] ** 0.5, EPISODES
    elif column == "percent":
        error = (value * (100 - value) / row["n"]) ** 0.5
    elif column in ("r", "error_rate"):
        error = (high - low) / (2 * Z_95)
    elif column == "log_likelihood" and error:  # no spread says nothing of the uncertainty
        low, high = value - Z_95 * error, value + Z_95 * error
    if column == "error_rate":
        unit = "seeds" if row["sd"] > 0 else "test items"
    estimate: dict[str, Any] = {
        "reproduced": value,
        "standard_error": error,
        "low": low,
        "high": high,
        "unit": "" if low is None or pd.isna(unit) else unit,
    }
    if column == "log_likelihood":
        for name in ("cross_validated", "cross_validated_error"):
            estimate[name] = row.get(name)
    if column in ("r", "p"):
        estimate["uncertain"] = not row["high"] - row["low"] <= MAX_WIDTH_OF_R
    elif column == "percent" and pd.notna(low):
        estimate["uncertain"] = high - low > MAX_WIDTH_OF_PERCENT
    # The models of folds were not trained on the participants that they are scored on.
    within_sample = row.get("within_sample")
    held_out = pd.notna(within_sample) and not within_sample
    return estimate | {"spared": (TRAINED, FITTED) if held_out else ()}
