"""Measures of behaviour: the table of built-in ones, and how to register another.

A measure is a function from a table of responses (columns: `biml.analysis.responses`) to a number
or a table. `biml reproduce` computes each measure of a task for people and for every model; the
page and the results table `measures` show registered ones beside those built in.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from biml import plugins
from biml.analysis import comparison, few_shot, open_ended, probes
from biml.analysis.few_shot import GrammarOrGrammars
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.errors import BimlError, UsageError
from biml.grammar import GOLD

RESAMPLES = 50
"""Of the bootstrap of a measure, which gives its standard error to within a tenth."""

ComputeMeasure = Callable[..., float | pd.DataFrame]


@dataclass(frozen=True)
class BehaviourMeasure:
    """One measure of the behaviour of people and models in a task, built in or custom."""

    name: str
    task: str
    label: str
    summary: str
    compute: ComputeMeasure
    """Takes the responses of one model (or people) to the task."""
    across_models: bool = False
    """It takes those of people and all models instead; its table has the column `model`."""
    uses_grammar: bool = False
    """It also takes the grammar, or the grammar of each item."""
    builtin: bool = False
    """It has tables of its own in the results, so the table `measures` omits it."""


def _measure(name: str, task: str, compute: ComputeMeasure, **options: Any) -> BehaviourMeasure:
    """A row whose label is by default its name, and whose summary its function's first line."""
    summary = (compute.__doc__ or "").strip().partition("\n")[0]
    options = {k: v for k, v in options.items() if v}
    return BehaviourMeasure(
        **{"label": name.replace("_", " "), "summary": summary, **options},
        name=name,
        task=task,
        compute=compute,
    )


_builtin = partial(_measure, builtin=True)
_few_shot = partial(_builtin, task=FEW_SHOT, uses_grammar=True)
_BUILTIN = (
    _few_shot("item_accuracy", compute=few_shot.item_accuracy),
    _few_shot("accuracy_by_complexity", compute=few_shot.accuracy_by_complexity),
    _few_shot("error_rates", compute=few_shot.error_rates),
    _few_shot("item_correlation", compute=comparison.item_correlation, across_models=True),
    _builtin("response_patterns", OPEN_ENDED, open_ended.pattern_rates),
    _builtin("probe_consistency", PROBES, probes.consistency_rates),
    _builtin("mutual_exclusivity", PROBES, probes.mutual_exclusivity),
    _builtin("mutual_exclusivity_regression", PROBES, probes.mutual_exclusivity_regression),
)

MEASURES: dict[str, BehaviourMeasure] = {row.name: row for row in _BUILTIN}
"""By name; `register_measure` adds to it."""


def register_measure(
    name: str, *, task: str, label: str = "", summary: str = "", across_models: bool = False
) -> Callable[[ComputeMeasure], ComputeMeasure]:
    """Register the decorated function as a measure of behaviour.

    Without `across_models` the function takes the responses of one model and returns a number or a
    table; with it, the responses of people (model `people`) and all models, and it returns a table
    with the column `model`.

    >>> @register_measure("mean_length", task="few_shot", label="symbols per response")
    ... def mean_length(responses):
    ...     return responses["response"].str.split().str.len().mean()
    >>> from biml.analysis.responses import response_table
    >>> rows = [{"item": "a", "query": "dax", "response": "RED RED"}]
    >>> measure_values(MEASURES.pop("mean_length"), response_table(rows))["value"].tolist()
    [2.0]
    """

    def register(compute: ComputeMeasure) -> ComputeMeasure:
        row = _measure(
            name, task, compute, label=label, summary=summary, across_models=across_models
        )
        plugins.register(MEASURES, "measure", name, row)
        return compute

    return register


def measures_of(task: str, *, builtin: bool | None = None) -> list[BehaviourMeasure]:
    """The measures of a task; only built-in or only registered ones if `builtin` is given."""
    every = MEASURES.values()
    return [one for one in every if one.task == task and builtin in (None, one.builtin)]


def measure_table(
    measure: BehaviourMeasure, responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD
) -> pd.DataFrame:
    """The measure's table for people and models, with the column `model` first.

    A measure that returns a number has the columns `model` and `value`. A BimlError names a measure
    that fails.
    """
    extra = (grammar,) if measure.uses_grammar else ()
    if measure.across_models:
        table = _compute(measure, responses, *extra)
        if "model" not in table:
            raise UsageError(
                f"the measure {measure.name!r} takes the responses of all models, so it must "
                "return a table with the column 'model'"
            )
        return table
    tables = []
    for model, rows in responses.groupby("model", sort=False):
        table = _compute(measure, rows, *extra).drop(columns="model", errors="ignore")
        table.insert(0, "model", model)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def measure_values(
    measure: BehaviourMeasure, responses: pd.DataFrame, grammar: GrammarOrGrammars = GOLD
) -> pd.DataFrame:
    """The measure in long form: columns `measure`, `task`, `model`, `group` and `value`.

    Each numeric column of each row of its table is one value; `group` joins the row's texts and,
    unless the column is called `value`, the column's name.
    """
    table = measure_table(measure, responses, grammar)
    numeric = list(map(str, table.select_dtypes(["number", "bool"]).columns))
    texts = [str(name) for name in table if name not in (*numeric, "model")]
    rows = []
    for row in table.to_dict("records"):
        for name in numeric:
            parts = [str(row[text]) for text in texts] + ([] if name == "value" else [name])
            group = " ".join(filter(None, parts))
            rows.append((measure.name, measure.task, row["model"], group, row[name]))
    frame = pd.DataFrame(rows, columns=["measure", "task", "model", "group", "value"])
    return frame.astype({"value": "float64"})


def bootstrap_errors(
    measure: BehaviourMeasure,
    responses: pd.DataFrame,
    grammar: GrammarOrGrammars = GOLD,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Standard errors of `measure_values`: columns `model`, `group` and `standard_error`.

    Resampled are each model's participants if all are known, else response sets in the open-ended
    task and responses to each item in others. Resamples that the measure cannot take are left out.
    """
    rng = np.random.default_rng(seed)
    models = [rows for _, rows in responses.groupby("model", sort=False)]
    draws = []
    for _ in range(resamples):
        with suppress(BimlError):
            drawn = pd.concat([_resampled(rows, measure.task, rng) for rows in models])
            draws.append(measure_values(measure, drawn.reset_index(drop=True), grammar))
    every = pd.concat(draws) if draws else pd.DataFrame(columns=["model", "group", "value"])
    errors = every.groupby(["model", "group"], sort=False)["value"].std()
    return errors.rename("standard_error").reset_index()


def _resampled(rows: pd.DataFrame, task: str, rng: np.random.Generator) -> pd.DataFrame:
    """A bootstrap sample of one model's responses, whose units have names of their own."""
    unit = "sample" if task == OPEN_ENDED else ""
    if (rows["participant"].fillna("") != "").all():
        unit = "participant"
    groups = list(rows.groupby(unit or "item", sort=False).indices.values())
    if unit:
        drawn = [groups[n] for n in rng.integers(0, len(groups), len(groups))]
    else:
        drawn = [rng.choice(of_item, len(of_item)) for of_item in groups]
    found = rows.iloc[np.concatenate(drawn)]
    if not unit:
        return found.assign(sample=np.arange(len(found)))
    names = np.repeat(np.arange(len(drawn)), list(map(len, drawn)))
    return found.assign(**{unit: names.astype(str) if unit == "participant" else names})


def _compute(measure: BehaviourMeasure, *arguments: Any) -> pd.DataFrame:
    """Its table; a number becomes a table of one row with the column `value`."""
    try:
        result = measure.compute(*arguments)
        if isinstance(result, pd.DataFrame):
            return result
        return pd.DataFrame({"value": [float(result)]})
    except BimlError:
        raise
    except Exception as error:  # code of a plugin may raise anything
        raise BimlError(
            f"the measure {measure.name!r} failed on {measure.task} responses "
            f"({type(error).__name__}: {error}); it must return a number or a table made from the "
            "columns listed in biml.analysis.responses"
        ) from error
