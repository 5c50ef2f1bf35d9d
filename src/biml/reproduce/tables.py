"""Analysis of the results of all jobs: the tables of a results folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biml import plugins
from biml.analysis import few_shot, open_ended, probes
from biml.analysis.comparison import item_correlation, likelihood_differences
from biml.analysis.few_shot import GrammarOrGrammars, percent
from biml.analysis.measures import bootstrap_errors, measure_values, measures_of
from biml.analysis.people import (
    few_shot_grammars,
    is_custom_experiment,
    lacks_task,
    people_few_shot,
    people_open_ended,
    people_probes,
)
from biml.analysis.scoring import RESPONSE_KEYS
from biml.episodes.datasets import matches_published_spec
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import BimlError
from biml.evaluation.accuracy import EPISODES
from biml.evaluation.cards import training_segments
from biml.evaluation.intervals import (
    PARTICIPANTS,
    Z_95,
    standard_error_of_sum,
    unit_of,
)
from biml.grammar import GOLD
from biml.paths import DataFolders
from biml.report.results import Exclusion
from biml.report.schemas import PEOPLE, TABLES
from biml.reproduce.benchmarks import error_rate_tables
from biml.reproduce.cache import ResultCache, cache_key, data_digest
from biml.reproduce.experiments import REGISTERED, Experiment, JobResults, Tables
from biml.reproduce.language import TABLE, merged_questions
from biml.reproduce.measurements import MEASUREMENTS, concat, merge_tables
from biml.reproduce.models import EvaluatedModel
from biml.reproduce.published import ORACLE, compare_with_published
from biml.reproduce.systematicity import suite_statistics

ANALYSIS_VERSION = 10
"""Raised whenever the cached analysis gives other tables than before."""

RESAMPLES, QUICK_RESAMPLES = 10_000, 1_000

PROBE_PATTERNS = {
    probes.EXCLUSIVITY: "mutual_exclusivity",
    probes.CONCATENATION: "iconic",
    probes.TRADE_OFF: "one_to_one",
}


@dataclass(frozen=True)
class ReproductionSpec:
    """What to reproduce: models in the order of their columns, experiments and options."""

    models: tuple[EvaluatedModel, ...]
    experiments: tuple[Experiment, ...]
    data: DataFolders
    quick: bool = False
    seed: int = 0
    lapse_samples: bool = False
    """Networks lapse in samples too, at the rate fitted to people. The published samples do not
    lapse; those of symbolic models, which never err otherwise, always do."""
    include_absent: bool = False
    """Also list published values of models that are not installed."""


def build_tables(spec: ReproductionSpec, results: JobResults, cache: ResultCache) -> Tables:
    """All tables of the results folder, with rows in the order of the models, people first.

    The analysis, whose bootstrap takes seconds, is cached.
    """
    parts = [_cached_analysis(experiment, spec, results, cache) for experiment in spec.experiments]
    parts += [measures for part in parts if (measures := _registered_measures(part, spec))]
    if questions := merged_questions(result.tables for result in results.values()):
        parts.append(questions)
    curves = _learning_curves(spec.models)
    if not curves.empty:
        parts.append({"learning_curves": curves})
    order = [PEOPLE, *(model.table_name for model in spec.models)]
    tables = {
        name: frame.sort_values(
            "model" if "model" in frame else "model_a",
            key=lambda names: names.map(order.index),
            kind="stable",
        )
        for name, frame in merge_tables(parts).items()
    }
    other_validation = any(name == "validation" for name, _ in results) and (
        not matches_published_spec(spec.data)
    )
    return tables | {"statistics": _statistics(tables, spec, other_validation)}


def _statistics(tables: Tables, spec: ReproductionSpec, other_validation: bool) -> pd.DataFrame:
    """Published and reproduced statistics, then the values of registered measures."""
    tables = dict(tables)
    likelihoods = tables.get("likelihoods")
    if likelihoods is not None and (likelihoods["task"] == FEW_SHOT).any():
        ceiling = _empirical_ceiling(people_few_shot(spec.data))
        tables["likelihoods"] = concat([ceiling, likelihoods])
    ran = [experiment.name for experiment in spec.experiments]
    models = {model.table_name: model for model in spec.models}
    is_custom = is_custom_experiment(spec.data)

    def uses(model: str, task: str) -> tuple[str, ...]:
        kind = EPISODE_TYPES.get(task)
        task = (kind and kind.evaluation_task) or task
        return models[model].uses(task, is_custom=is_custom) if model in models else ()

    statistics = compare_with_published(
        tables,
        {PEOPLE: PEOPLE} | {model.table_name: _paper_model_of(model) for model in spec.models},
        ran,
        is_custom,
        other_validation=other_validation,
        include_absent=spec.include_absent,
        uses=uses,
    )
    parts = [statistics]
    more = (suite_statistics, _type_statistics, _measure_statistics)
    for part in (part for statistics_of in more for part in statistics_of(tables)):
        if "low" not in part:
            # No spread says nothing of the uncertainty.
            margin = Z_95 * part["standard_error"].where(part["standard_error"] > 0)
            low, high = part["reproduced"] - margin, part["reproduced"] + margin
            part = part.assign(low=low, high=high)
        used = [", ".join(uses(*row)) for row in zip(part["model"], part["task"], strict=True)]
        by_statistic = pd.factorize(part["statistic"])[0].argsort(kind="stable")
        part = part.assign(uses=used).iloc[by_statistic]
        parts.append(part.reindex(columns=list(TABLES["statistics"].columns)))
    return concat([part for part in parts if len(part)]) if any(map(len, parts)) else statistics


def _measure_statistics(tables: Tables) -> Iterator[pd.DataFrame]:
    """Statistics of registered measures."""
    if "measures" in tables:
        rows = tables["measures"]
        groups = rows["group"].where(rows["group"] == "", ": " + rows["group"])
        yield rows.assign(
            experiment=rows["task"].str.replace("_", "-"),
            statistic=rows["label"] + groups,
            reproduced=rows["value"],
        )


def _type_statistics(tables: Tables) -> Iterator[pd.DataFrame]:
    """Statistics of registered episode types."""
    types = plugins.registered("episode type")
    for name, column in (("accuracies", "mean"), ("likelihoods", "log_likelihood")):
        if name not in tables:
            continue
        rows = tables[name][tables[name]["task"].isin(types)]
        if rows.empty:
            continue
        rows = rows.assign(
            experiment=REGISTERED,
            statistic=rows["task"] + ": log-likelihood",
            reproduced=rows[column],
        )
        if name == "accuracies":
            rows["statistic"] = rows["task"] + ": greedy, " + rows["kind"] + " queries (%)"
            rows["standard_error"] = rows["sd"] / rows["n"] ** 0.5
            rows["unit"] = EPISODES
        yield rows


def _paper_model_of(model: EvaluatedModel) -> str:
    """The paper's model that it reproduces, or an empty text."""
    if model.symbolic:
        return ORACLE if model.name == "oracle" else ""
    return model.episode_type.paper_model if model.episode_type else ""


def _empirical_ceiling(people: pd.DataFrame) -> pd.DataFrame:
    """Log-likelihood of few-shot responses by their own frequencies, which no model can exceed."""
    counts = people.groupby("item")["response"].value_counts()
    shares = counts / counts.groupby(level="item").transform("sum")
    total = float((counts * np.log(shares)).sum())
    keys = zip(people["item"], people["response"], strict=True)
    values = [float(np.log(shares[key])) for key in keys]
    names = people["participant"].tolist(), people["item"].tolist()
    error, unit = standard_error_of_sum(values, *names), unit_of(*names)
    row = {"model": PEOPLE, "task": FEW_SHOT, "fold": "", "log_likelihood": total}
    return pd.DataFrame([row | {"standard_error": error, "unit": unit}])


def _learning_curves(models: Sequence[EvaluatedModel]) -> pd.DataFrame:
    """The logs of networks that keep them, all segments end to end."""
    rows: list[dict[str, object]] = []
    for model in models:
        if model.network is None or model.benchmark:
            continue
        for number, segment in enumerate(training_segments(model.network.path), 1):
            rows += [
                {
                    "model": model.name,
                    "segment": number,
                    "step": line.get("step"),
                    "episodes": segment.episodes_before + int(line["episodes"] or 0),
                    "train_loss": line.get("train_loss"),
                    "val_loss": line.get("val_loss"),
                }
                for line in segment.log
            ]
    return pd.DataFrame(rows)


# --- analysis of one experiment


def _cached_analysis(
    experiment: Experiment, spec: ReproductionSpec, results: JobResults, cache: ResultCache
) -> Tables:
    """The tables of an experiment, as far as the data have its tasks."""
    measured: dict[str, dict[str, Tables]] = {
        name: {
            model.name: {
                table: frame
                for table, frame in results[name, model.name].tables.items()
                if table != TABLE
            }
            for model in spec.models
            if (name, model.name) in results
        }
        for name in experiment.measurements
        if not (task := MEASUREMENTS[name].task) or not lacks_task(spec.data, task)
    }
    resamples = QUICK_RESAMPLES if spec.quick else RESAMPLES
    inputs = [results[name, m].cache_key for name, by_model in measured.items() for m in by_model]
    people = data_digest(spec.data, "data_human")
    about = (experiment.name, ANALYSIS_VERSION, inputs, people, spec.seed, resamples)
    key = cache_key("analysis", *about)
    tables = cache.load(key)
    if tables is None:
        parts = [_analyse(name, by_model, spec, resamples) for name, by_model in measured.items()]
        tables = merge_tables(parts)
        if "error_counts" in tables:
            tables |= error_rate_tables(tables["error_counts"])
        with suppress(BimlError):  # reported by the jobs already
            cache.save(key, tables)
    return tables


def _analyse(
    measurement: str, by_model: Mapping[str, Tables], spec: ReproductionSpec, resamples: int
) -> Tables:
    """The tables of one measurement of people and models."""
    if measurement.endswith("_likelihood"):
        return likelihood_tables(by_model, spec.seed, resamples)
    if not measurement.endswith("_samples"):
        return merge_tables(by_model.values())
    samples = [tables["responses"] for tables in by_model.values()]
    task = MEASUREMENTS[measurement].task
    if task == FEW_SHOT:
        responses = concat([people_few_shot(spec.data), *samples])
        return few_shot_tables(responses, few_shot_grammars(spec.data), spec.seed, resamples)
    if task == OPEN_ENDED:
        return open_ended_tables(concat([people_open_ended(spec.data), *samples]))
    return probe_tables(concat([people_probes(spec.data), *samples]))


def _registered_measures(tables: Tables, spec: ReproductionSpec) -> Tables:
    """Values of plugins' measures; not cached, as their code may change."""
    if "responses" not in tables:
        return {}
    parts = []
    for task, responses in tables["responses"].groupby("task", sort=False):
        for measure in measures_of(str(task), builtin=False):
            grammars = few_shot_grammars(spec.data) if measure.uses_grammar else GOLD
            values = measure_values(measure, responses, grammars)
            errors = bootstrap_errors(measure, responses, grammars, spec.seed)
            values = values.merge(errors, "left", on=["model", "group"])
            parts.append(values.assign(label=measure.label))
    return {"measures": concat(parts)} if parts else {}


def likelihood_tables(tables_by_model: Mapping[str, Tables], seed: int, resamples: int) -> Tables:
    """Likelihoods of one task, and `comparisons` of models scored on the same responses."""
    tables = merge_tables(tables_by_model.values())
    tables.pop("scored", None)
    comparisons = []
    for models in comparable_groups(tables_by_model):
        if len(models) > 1:
            scored = concat(tables_by_model[model]["scored"] for model in models)
            differences = likelihood_differences(scored, seed=seed, resamples=resamples)
            names = {"model": "model_a", "other": "model_b", "unit": "bootstrap_unit"}
            task = scored["task"].iloc[0]
            comparisons.append(differences.rename(columns=names).assign(task=task))
    if comparisons:
        tables["comparisons"] = concat(comparisons)
    return tables


def comparable_groups(tables_by_model: Mapping[str, Tables]) -> list[list[str]]:
    """Models grouped by the responses that they were scored on, the largest group first."""
    groups: dict[frozenset[tuple[object, ...]], list[str]] = {}
    for model, tables in tables_by_model.items():
        responses = tables["scored"][[*RESPONSE_KEYS, "response"]]
        groups.setdefault(frozenset(responses.itertuples(index=False, name=None)), []).append(model)
    return sorted(groups.values(), key=len, reverse=True)


def incomparable_models(spec: ReproductionSpec, results: JobResults) -> tuple[Exclusion, ...]:
    """Models that were scored on other responses than most, and so are not compared with them."""
    exclusions: list[Exclusion] = []
    for experiment in spec.experiments:
        for name in experiment.measurements:
            if not name.endswith("_likelihood"):
                continue
            measured = {m: result.tables for (of, m), result in results.items() if of == name}
            others = {model for models in comparable_groups(measured)[1:] for model in models}
            part = f"differences, {MEASUREMENTS[name].task.replace('_', '-')}"
            reason = "was scored on other responses than the others"
            exclusions += [
                Exclusion(model.name, experiment.name, part, reason)
                for model in spec.models
                if model.name in others
            ]
    return tuple(exclusions)


def few_shot_tables(
    responses: pd.DataFrame, grammar: GrammarOrGrammars, seed: int, resamples: int
) -> Tables:
    """Accuracy, errors and item correlation of people and models in the few-shot task."""
    items = few_shot.item_accuracy(responses, grammar)
    queries = responses.drop_duplicates("item").set_index("item")["query"]
    errors = few_shot.error_rates(responses, grammar)
    tables = {
        "responses": responses,
        "item_accuracies": items.assign(
            query=items["item"].map(queries),
            long_output=items["outputs"] >= few_shot.LONG_OUTPUT,
            n=items["responses"],
        ),
        "accuracy_by_complexity": few_shot.accuracy_intervals(responses, grammar),
        "response_patterns": concat(
            [
                _pattern_table(errors, FEW_SHOT, "one_to_one", "errors"),
                _pattern_table(errors, FEW_SHOT, "iconic", "reversing_errors"),
            ]
        ),
    }
    if set(responses["model"]) != {PEOPLE}:
        tables["item_correlation"] = item_correlation(
            responses, grammar, seed=seed, resamples=resamples
        )
    return tables


def open_ended_tables(responses: pd.DataFrame) -> Tables:
    """Patterns in the response sets of people and models in the open-ended task."""
    rates = open_ended.pattern_rates(responses)
    is_sample = rates["model"] != PEOPLE
    unit = is_sample.map({True: "response sets", False: PARTICIPANTS})
    patterns = [
        _pattern_table(rates.assign(unit=unit), OPEN_ENDED, name, "response_sets")
        for name in open_ended.PATTERNS
    ]
    return {"responses": responses, "response_patterns": concat(patterns)}


def probe_tables(responses: pd.DataFrame) -> Tables:
    """Consistency with inductive biases of people and models in the probe trials."""
    rates = probes.consistency_rates(responses)
    cells = probes.mutual_exclusivity(responses)
    return {
        "responses": responses,
        "response_patterns": rates.assign(
            task=PROBES,
            pattern=rates["kind"].map(PROBE_PATTERNS),
            count=rates["consistent"],
            n=rates["responses"],
        ),
        "mutual_exclusivity": cells.assign(n=cells["responses"]),
        "exclusivity_regression": concat(
            probes.mutual_exclusivity_regression(
                rows,
                # Where participants are known and some responded more than once.
                participant_effect=bool((who != "").all() and who.duplicated().any()),
            ).assign(model=model)
            for model, rows in responses.groupby("model", sort=False)
            for who in [rows["participant"]]
        ),
    }


def _pattern_table(counts: pd.DataFrame, task: str, pattern: str, n: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": counts["model"],
            "task": task,
            "pattern": pattern,
            "count": counts[pattern],
            "n": counts[n],
            "percent": percent(counts[pattern], counts[n]),
            "low": counts[f"{pattern}_low"],
            "high": counts[f"{pattern}_high"],
            "unit": counts["unit"],
        }
    )
