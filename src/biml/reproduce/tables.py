"""From the results of all units of work to the tables of a results folder."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from biml.analysis import few_shot, open_ended, probes
from biml.analysis.comparison import item_correlation, likelihood_differences
from biml.analysis.few_shot import GrammarOrGrammars, percent
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
from biml.episodes.episode_type import FEW_SHOT
from biml.errors import BimlError
from biml.evaluation.cards import training_segments
from biml.paths import DataFolders
from biml.report.results import Exclusion
from biml.report.schemas import PEOPLE
from biml.reproduce.cache import ResultCache, cache_key, data_digest
from biml.reproduce.context import JobResults, Tables
from biml.reproduce.experiments import Experiment
from biml.reproduce.measurements import MEASUREMENTS
from biml.reproduce.models import EvaluatedModel
from biml.reproduce.published import ORACLE, PAPER_MODEL_OF, compare_with_published

PROBE_PATTERNS = {
    probes.EXCLUSIVITY: "mutual_exclusivity",
    probes.CONCATENATION: "iconic",
    probes.TRADE_OFF: "one_to_one",
}


def likelihood_tables(tables_by_model: Mapping[str, Tables], seed: int, resamples: int) -> Tables:
    """Likelihoods of all models, and `comparisons` of those scored on the same responses.

    Args:
        measured: for each model what its likelihood gave, of one task.
    """
    tables = merge_tables(tables_by_model.values())
    tables.pop("scored", None)
    compared = []
    for models in comparable_groups(tables_by_model):
        if len(models) > 1:
            scored = concat(tables_by_model[model]["scored"] for model in models)
            found = likelihood_differences(scored, seed=seed, resamples=resamples)
            renamed = found.rename(columns={"model": "model_a", "other": "model_b"})
            compared.append(renamed.assign(task=scored["task"].iloc[0]))
    if compared:
        tables["comparisons"] = concat(compared)
    return tables


def comparable_groups(tables_by_model: Mapping[str, Tables]) -> list[list[str]]:
    """Models by the responses that they were scored on; the most models first."""
    found: dict[frozenset[tuple[object, ...]], list[str]] = {}
    for model, frames in tables_by_model.items():
        responses = frames["scored"][[*RESPONSE_KEYS, "response"]]
        found.setdefault(frozenset(responses.itertuples(index=False, name=None)), []).append(model)
    return sorted(found.values(), key=len, reverse=True)


def few_shot_tables(
    responses: pd.DataFrame, grammar: GrammarOrGrammars, seed: int, resamples: int
) -> Tables:
    """What people and models answered in the few-shot task."""
    items = few_shot.item_accuracy(responses, grammar)
    queries = responses.drop_duplicates("item").set_index("item")["query"]
    items = items.assign(
        query=items["item"].map(queries),
        six_long=items["outputs"] >= few_shot.LONG_OUTPUT,
        n=items["responses"],
    )
    groups = few_shot.accuracy_by_group(responses, grammar)
    names = ["all", "simple", "complex", "six_long"]
    tables = {
        "responses": responses,
        "item_accuracies": items,
        "groups": groups.melt("model", names, "group", "accuracy"),
        "patterns": _error_pattern_table(few_shot.error_rates(responses, grammar)),
    }
    if set(responses["model"]) != {PEOPLE}:
        tables["agreement"] = item_correlation(responses, grammar, seed=seed, resamples=resamples)
    return tables


def open_ended_tables(responses: pd.DataFrame) -> Tables:
    """What people and models answered in the open-ended task."""
    shares = open_ended.pattern_rates(responses)
    parts = [
        _pattern_table(shares, "open_ended", name, shares[name], shares["sheets"])
        for name in open_ended.PATTERNS
    ]
    return {"responses": responses, "patterns": concat(parts)}


def probe_tables(responses: pd.DataFrame) -> Tables:
    """What people and models answered in the probe trials."""
    shares = probes.consistency_rates(responses)
    patterns = shares.assign(
        task="probes",
        pattern=shares["kind"].map(PROBE_PATTERNS),
        count=shares["consistent"],
        n=shares["responses"],
    )
    cells = probes.mutual_exclusivity(responses)
    low, high = proportion_confint(cells["consistent"], cells["responses"], method="wilson")
    by_model = responses.groupby("model", sort=False)
    return {
        "responses": responses,
        "patterns": patterns,
        "mutual_exclusivity": cells.assign(low=100 * low, high=100 * high, n=cells["responses"]),
        "exclusivity_regression": concat(
            probes.mutual_exclusivity_regression(
                of_model, participant_effect=_has_repeated_participants(of_model)
            ).assign(model=model)
            for model, of_model in by_model
        ),
    }


def _has_repeated_participants(responses: pd.DataFrame) -> bool:
    """Whether it is known who answered, so that participants can be told apart from chance."""
    answerers = responses["participant"]
    return bool((answerers != "").all() and answerers.duplicated().any())


def concat(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One below another."""
    return pd.concat(list(tables), ignore_index=True)


def merge_tables(parts: Iterable[Tables]) -> Tables:
    """Tables of the same name one below another."""
    found: dict[str, list[pd.DataFrame]] = {}
    for frames in parts:
        for name, frame in frames.items():
            found.setdefault(name, []).append(frame)
    return {name: concat(frames) for name, frames in found.items()}


def _error_pattern_table(errors: pd.DataFrame) -> pd.DataFrame:
    return concat(
        [
            _pattern_table(
                errors, "few_shot", "one_to_one", errors["one_to_one"], errors["errors"]
            ),
            _pattern_table(
                errors, "few_shot", "iconic", errors["iconic"], errors["reversing_errors"]
            ),
        ]
    )


def _pattern_table(
    frame: pd.DataFrame, task: str, name: str, count: pd.Series, n: pd.Series
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": frame["model"],
            "task": task,
            "pattern": name,
            "count": count,
            "n": n,
            "percent": percent(count, n),
        }
    )


def order_models(frame: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Rows in the order of their models, people first."""
    places = {name: place for place, name in enumerate([PEOPLE, *models])}
    column = "model" if "model" in frame else "model_a"
    return frame.sort_values(column, key=lambda names: names.map(places), kind="stable")


# === From the results of all units of work to the tables of a results folder.


ANALYSIS_VERSION = 6
"""Raised whenever the analysis gives other tables than before."""

RESAMPLES, QUICK_RESAMPLES = 10_000, 1_000


@dataclass(frozen=True)
class ReproductionSpec:
    """What is to be reproduced.

    Attributes:
        subjects: the models, in the order of their columns.
        experiments: which.
        data: where human data are found.
        quick: the minute's version.
        seed: of all that is random.
        lapsing: networks lapse in samples too, at the rate that fits people best. The published
            samples do not; those of symbolic models always do, which never err else.
        every: the paper's models are asked as far as they are there, so that the figures of others
            are told as well.
    """

    models: tuple[EvaluatedModel, ...]
    experiments: tuple[Experiment, ...]
    data: DataFolders
    quick: bool = False
    seed: int = 0
    lapse_samples: bool = False
    include_absent: bool = False


def build_tables(spec: ReproductionSpec, results: JobResults, cache: ResultCache) -> Tables:
    """All tables of the results folder, with rows in the order of the models.

    Args:
        found: the results of all units of work.
        store: keeps what statistics give, which takes seconds.
    """
    parts = [_cached_analysis(experiment, spec, results, cache) for experiment in spec.experiments]
    curves = _learning_curves(spec.models)
    if not curves.empty:
        parts.append({"learning_curves": curves})
    names = [subject.name for subject in spec.models]
    tables = {name: order_models(frame, names) for name, frame in merge_tables(parts).items()}
    columns = {PEOPLE: PEOPLE} | {subject.name: _paper_model_of(subject) for subject in spec.models}
    shown = dict(tables)
    if "likelihoods" in shown and (shown["likelihoods"]["task"] == FEW_SHOT).any():
        shown["likelihoods"] = concat(
            [_empirical_ceiling(people_few_shot(spec.data)), shown["likelihoods"]]
        )
    ran = [experiment.name for experiment in spec.experiments]
    imported = is_custom_experiment(spec.data)
    validated = any(measure == "validation" for measure, _ in results)
    other = validated and not matches_published_spec(spec.data)
    return tables | {
        "figures": compare_with_published(shown, columns, ran, imported, other, spec.include_absent)
    }


def incomparable_models(spec: ReproductionSpec, results: JobResults) -> tuple[Exclusion, ...]:
    """The models that were scored on other responses than most, for each task."""
    skipped = []
    for experiment in spec.experiments:
        for name in experiment.measurements:
            if name.endswith("_likelihood"):
                measured = {m: result.tables for (of, m), result in results.items() if of == name}
                part = f"differences from the others, {MEASUREMENTS[name].task.replace('_', '-')}"
                why = "was scored on other responses than the others"
                apart = {model for models in comparable_groups(measured)[1:] for model in models}
                skipped += [
                    Exclusion(subject.name, experiment.name, why, part)
                    for subject in spec.models
                    if subject.name in apart
                ]
    return tuple(skipped)


def _cached_analysis(
    experiment: Experiment, spec: ReproductionSpec, results: JobResults, cache: ResultCache
) -> Tables:
    """The tables of an experiment, as far as the data have its tasks."""
    measures = [
        name
        for name in experiment.measurements
        if not (task := MEASUREMENTS[name].task) or not lacks_task(spec.data, task)
    ]
    places = [
        (measure, subject.name)
        for measure in measures
        for subject in spec.models
        if (measure, subject.name) in results
    ]
    measured: dict[str, dict[str, Tables]] = {measure: {} for measure in measures}
    for measure, model in places:
        measured[measure][model] = results[measure, model].tables
    resamples = QUICK_RESAMPLES if spec.quick else RESAMPLES
    inputs = [results[place].cache_key for place in places]
    people = data_digest(spec.data, "data_human")
    about = (experiment.name, ANALYSIS_VERSION, inputs, people, spec.seed, resamples)
    name = cache_key("analysis", *about)
    tables = cache.load(name)
    if tables is None:
        tables = _analyse(measured, spec, resamples)
        with suppress(BimlError):  # of which the units told already
            cache.save(name, tables)
    return tables


def _analyse(
    tables_by_measurement: Mapping[str, Mapping[str, Tables]],
    spec: ReproductionSpec,
    resamples: int,
) -> Tables:
    parts: list[Tables] = []
    for name, by_model in tables_by_measurement.items():
        if name.endswith("_likelihood"):
            parts.append(likelihood_tables(by_model, spec.seed, resamples))
        elif name in ("gold", "validation", "novel_rules"):
            parts.append(merge_tables(by_model.values()))
        else:  # of people in any case
            drawn = [frames["responses"] for frames in by_model.values()]
            parts.append(_behaviour_tables(name, drawn, spec, resamples))
    return merge_tables(parts)


def _behaviour_tables(
    name: str, model_responses: Sequence[pd.DataFrame], spec: ReproductionSpec, resamples: int
) -> Tables:
    """The measures of one task for people and models."""
    data = spec.data
    if name == "few_shot_samples":
        people = people_few_shot(data)
        grammars = few_shot_grammars(data)
        return few_shot_tables(concat([people, *model_responses]), grammars, spec.seed, resamples)
    if name == "open_ended_samples":
        return open_ended_tables(concat([people_open_ended(data), *model_responses]))
    return probe_tables(concat([people_probes(data), *model_responses]))


def _empirical_ceiling(people: pd.DataFrame) -> pd.DataFrame:
    """Log-likelihood of the few-shot responses by their own frequencies; no model can pass it."""
    counts = people.groupby("item")["response"].value_counts()
    shares = counts / counts.groupby(level="item").transform("sum")
    total = float((counts * np.log(shares)).sum())
    row = {"model": PEOPLE, "task": FEW_SHOT, "fold": "", "log_likelihood": total}
    return pd.DataFrame([row])


def _learning_curves(models: Sequence[EvaluatedModel]) -> pd.DataFrame:
    """The learning curves of those networks that remember them, all parts end to end."""
    rows: list[dict[str, object]] = []
    for subject in models:
        if subject.network is None:
            continue
        for number, part in enumerate(training_segments(subject.network.path), 1):
            about = {"model": subject.name, "part": number}
            rows += [
                {
                    **about,
                    "step": line.get("step"),
                    "episodes": part.episodes_before + int(line["episodes"] or 0),
                    "train_loss": line.get("train_loss"),
                    "val_loss": line.get("val_loss"),
                }
                for line in part.log
            ]
    return pd.DataFrame(rows)


def _paper_model_of(model: EvaluatedModel) -> str:
    """Which of the paper's models it is."""
    if model.symbolic:
        return ORACLE if model.name == "oracle" else ""
    return PAPER_MODEL_OF.get(model.trained_on, "")
