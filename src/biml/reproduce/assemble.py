"""From the results of all units of work to the tables of a results folder."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biml.behaviour.people import (
    FEW_SHOT,
    few_shot_grammars,
    has_imported,
    lacks,
    people_few_shot,
    people_open_ended,
    people_probes,
)
from biml.episodes.locate import DataFolders
from biml.episodes.sources import validation_as_published
from biml.errors import BimlError
from biml.lineage.curves import training_parts
from biml.reproduce.analysis import (
    Frames,
    alike,
    few_shot_tables,
    in_order,
    join,
    likelihood_tables,
    merge,
    open_ended_tables,
    probe_tables,
)
from biml.reproduce.experiments import Experiment
from biml.reproduce.measures import MEASURES
from biml.reproduce.published import COLUMNS, ORACLE, beside_published
from biml.reproduce.store import Store, data_digest, key
from biml.reproduce.subjects import Subject
from biml.reproduce.work import Found
from biml.results.folder import Skipped
from biml.results.tables import PEOPLE

ANALYSIS_VERSION = 6
"""Raised whenever the analysis gives other tables than before."""

RESAMPLES, QUICK_RESAMPLES = 10_000, 1_000


@dataclass(frozen=True)
class Wanted:
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

    subjects: tuple[Subject, ...]
    experiments: tuple[Experiment, ...]
    data: DataFolders
    quick: bool = False
    seed: int = 0
    lapsing: bool = False
    every: bool = False


def assemble(wanted: Wanted, found: Found, store: Store) -> Frames:
    """All tables of the results folder, with rows in the order of the models.

    Args:
        found: the results of all units of work.
        store: keeps what statistics give, which takes seconds.
    """
    parts = [_kept(experiment, wanted, found, store) for experiment in wanted.experiments]
    curves = _curves(wanted.subjects)
    if not curves.empty:
        parts.append({"learning_curves": curves})
    names = [subject.name for subject in wanted.subjects]
    tables = {name: in_order(frame, names) for name, frame in merge(parts).items()}
    columns = {PEOPLE: PEOPLE} | {subject.name: _column(subject) for subject in wanted.subjects}
    shown = dict(tables)
    if "likelihoods" in shown and (shown["likelihoods"]["task"] == FEW_SHOT).any():
        shown["likelihoods"] = join([_ceiling(people_few_shot(wanted.data)), shown["likelihoods"]])
    ran = [experiment.name for experiment in wanted.experiments]
    imported = has_imported(wanted.data)
    validated = any(measure == "validation" for measure, _ in found)
    other = validated and not validation_as_published(wanted.data)
    return tables | {
        "figures": beside_published(shown, columns, ran, imported, other, wanted.every)
    }


def not_compared(wanted: Wanted, found: Found) -> tuple[Skipped, ...]:
    """The models that were scored on other responses than most, for each task."""
    skipped = []
    for experiment in wanted.experiments:
        for name in experiment.measures:
            if name.endswith("_likelihood"):
                measured = {m: result.frames for (of, m), result in found.items() if of == name}
                part = f"differences from the others, {MEASURES[name].task.replace('_', '-')}"
                why = "was scored on other responses than the others"
                apart = {model for models in alike(measured)[1:] for model in models}
                skipped += [
                    Skipped(subject.name, experiment.name, why, part)
                    for subject in wanted.subjects
                    if subject.name in apart
                ]
    return tuple(skipped)


def _kept(experiment: Experiment, wanted: Wanted, found: Found, store: Store) -> Frames:
    """The tables of an experiment, as far as the data have its tasks."""
    measures = [
        name
        for name in experiment.measures
        if not (task := MEASURES[name].task) or not lacks(wanted.data, task)
    ]
    places = [
        (measure, subject.name)
        for measure in measures
        for subject in wanted.subjects
        if (measure, subject.name) in found
    ]
    measured: dict[str, dict[str, Frames]] = {measure: {} for measure in measures}
    for measure, model in places:
        measured[measure][model] = found[measure, model].frames
    resamples = QUICK_RESAMPLES if wanted.quick else RESAMPLES
    inputs = [found[place].key for place in places]
    people = data_digest(wanted.data, "data_human")
    about = (experiment.name, ANALYSIS_VERSION, inputs, people, wanted.seed, resamples)
    name = key("analysis", *about)
    tables = store.load(name)
    if tables is None:
        tables = _analysed(measured, wanted, resamples)
        with suppress(BimlError):  # of which the units told already
            store.save(name, tables)
    return tables


def _analysed(
    measured: Mapping[str, Mapping[str, Frames]], wanted: Wanted, resamples: int
) -> Frames:
    parts: list[Frames] = []
    for name, by_model in measured.items():
        if name.endswith("_likelihood"):
            parts.append(likelihood_tables(by_model, wanted.seed, resamples))
        elif name in ("gold", "validation", "novel_rules"):
            parts.append(merge(by_model.values()))
        else:  # of people in any case
            drawn = [frames["responses"] for frames in by_model.values()]
            parts.append(_behaviour(name, drawn, wanted, resamples))
    return merge(parts)


def _behaviour(name: str, drawn: Sequence[pd.DataFrame], wanted: Wanted, resamples: int) -> Frames:
    """The measures of one task for people and models."""
    data = wanted.data
    if name == "few_shot_samples":
        people = people_few_shot(data)
        grammars = few_shot_grammars(data)
        return few_shot_tables(join([people, *drawn]), grammars, wanted.seed, resamples)
    if name == "open_ended_samples":
        return open_ended_tables(join([people_open_ended(data), *drawn]))
    return probe_tables(join([people_probes(data), *drawn]))


def _ceiling(people: pd.DataFrame) -> pd.DataFrame:
    """Log-likelihood of the few-shot responses by their own frequencies; no model can pass it."""
    counts = people.groupby("item")["response"].value_counts()
    shares = counts / counts.groupby(level="item").transform("sum")
    total = float((counts * np.log(shares)).sum())
    row = {"model": PEOPLE, "task": FEW_SHOT, "fold": "", "log_likelihood": total}
    return pd.DataFrame([row])


def _curves(subjects: Sequence[Subject]) -> pd.DataFrame:
    """The learning curves of those networks that remember them, all parts end to end."""
    rows: list[dict[str, object]] = []
    for subject in subjects:
        if subject.network is None:
            continue
        for number, part in enumerate(training_parts(subject.network.path), 1):
            about = {"model": subject.name, "part": number}
            rows += [
                {
                    **about,
                    "step": line.get("step"),
                    "episodes": part.before + int(line["episodes"] or 0),
                    "train_loss": line.get("train_loss"),
                    "val_loss": line.get("val_loss"),
                }
                for line in part.lines
            ]
    return pd.DataFrame(rows)


def _column(subject: Subject) -> str:
    """Which of the paper's models it is."""
    if subject.symbolic:
        return ORACLE if subject.name == "oracle" else ""
    return COLUMNS.get(subject.trained_on, "")
