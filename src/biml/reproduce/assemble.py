"""From the results of all units of work to the tables of a results folder."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biml.behaviour.people import (
    FEW_SHOT,
    few_shot_grammars,
    is_custom_experiment,
    lacks_task,
    people_few_shot,
    people_open_ended,
    people_probes,
)
from biml.episodes.locate import DataFolders
from biml.episodes.sources import matches_published_spec
from biml.errors import BimlError
from biml.lineage.curves import training_segments
from biml.reproduce.analysis import (
    Tables,
    comparable_groups,
    few_shot_tables,
    order_models,
    concat,
    likelihood_tables,
    merge_tables,
    open_ended_tables,
    probe_tables,
)
from biml.reproduce.experiments import Experiment
from biml.reproduce.measures import MEASUREMENTS
from biml.reproduce.published import PAPER_MODEL_OF, ORACLE, compare_with_published
from biml.reproduce.store import ResultCache, data_digest, cache_key
from biml.reproduce.subjects import EvaluatedModel
from biml.reproduce.work import JobResults
from biml.results.folder import Exclusion
from biml.results.tables import PEOPLE

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
