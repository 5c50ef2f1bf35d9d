"""What is to be computed, and who takes no part in what."""

from collections.abc import Mapping

from biml.behaviour.people import TASK_FOLDERS, has_cv_folds, is_custom_experiment, lacks_task
from biml.episodes.episode import COLOURS, WORDS
from biml.episodes.locate import DataFolders
from biml.episodes.types import CANONICAL_VOCAB
from biml.errors import UsageError
from biml.reproduce.asked import MeasurementContext
from biml.reproduce.assemble import ReproductionSpec
from biml.reproduce.experiments import Experiment
from biml.reproduce.measures import MEASUREMENTS
from biml.reproduce.names import vocabulary_overflow
from biml.reproduce.scale import workload
from biml.reproduce.subjects import has_vocabulary
from biml.reproduce.work import Job
from biml.results.folder import Exclusion
from biml.results.tables import PEOPLE


def plan_jobs(spec: ReproductionSpec) -> tuple[list[Job], tuple[Exclusion, ...]]:
    """What is to be computed, and which models take no part in which experiment or part of it.

    A task that the data found have not is told of people, and not of each model.

    Raises:
        UsageError: no model takes part in anything.
    """
    amounts = workload(spec.quick, spec.seed)
    imported = is_custom_experiment(spec.data)
    crowded = {task: vocabulary_overflow(spec.data, task) for task in TASK_FOLDERS}
    units: list[Job] = []
    skipped: list[Exclusion] = []
    for experiment in spec.experiments:
        absent = _missing_tasks(experiment, spec.data)
        skipped += _exclusions(PEOPLE, experiment, absent)
        for subject in spec.models:
            asked = MeasurementContext(subject, spec.data, amounts)
            reasons = {
                name: MEASUREMENTS[name].ineligible_reason(subject)
                or _data_exclusion(name, asked, imported, crowded)
                for name in experiment.measurements
                if name not in absent
            }
            units += [_job(n, asked, spec.lapse_samples) for n, why in reasons.items() if not why]
            skipped += _exclusions(
                subject.name, experiment, {n: w for n, w in reasons.items() if w}
            )
    if not units:
        told = [s.why if s.model == PEOPLE else f"{s.model} {s.why}" for s in skipped]
        reasons_given = "; ".join(dict.fromkeys(told))
        raise UsageError(f"no model takes part in what was asked for: {reasons_given}")
    planned = {unit.key for unit in units}
    needed = [
        _job(unit.depends_on, unit.context, spec.lapse_samples)
        for unit in units
        if unit.depends_on and (unit.depends_on, unit.context.model.name) not in planned
    ]
    return [*needed, *units], tuple(skipped)


def _missing_tasks(experiment: Experiment, data: DataFolders) -> dict[str, str]:
    """The measurements of tasks that the data have not, and why."""
    tasks = {name: MEASUREMENTS[name].task for name in experiment.measurements}
    return {
        name: f"the data found have no {task.replace('_', '-')} task"
        for name, task in tasks.items()
        if task and lacks_task(data, task)
    }


def _data_exclusion(
    name: str, context: MeasurementContext, is_custom: bool, overflow_by_task: Mapping[str, str]
) -> str:
    """Why a model that could take part cannot with these data; empty where it can.

    Args:
        crowded: what each task has more of than there are published names.
    """
    subject, task = context.model, MEASUREMENTS[name].task
    if subject.symbolic:
        return ""
    if is_custom and task and has_vocabulary(subject, CANONICAL_VOCAB):
        return "knows only the words of the published task"
    if task and overflow_by_task[task]:
        return (
            f"knows {len(WORDS)} words and {len(COLOURS)} symbols, but the "
            f"{task.replace('_', '-')} task has {overflow_by_task[task]}"
        )
    if (
        name == "open_ended_likelihood"
        and subject.network is None
        and not has_cv_folds(context.data)
    ):
        return "has models for folds only, which these data have not"
    return ""


def _exclusions(model: str, experiment: Experiment, reasons: dict[str, str]) -> list[Exclusion]:
    """All of an experiment in one, parts of it one by one."""
    if len(reasons) == len(experiment.measurements):
        why = "; ".join(dict.fromkeys(reasons.values()))
        return [Exclusion(model, experiment.name, why)]
    return [
        Exclusion(model, experiment.name, why, part=MEASUREMENTS[name].summary)
        for name, why in reasons.items()
    ]


def _job(name: str, context: MeasurementContext, lapse_samples: bool) -> Job:
    lapses = context.model.symbolic or lapse_samples
    return Job(name, context, depends_on=MEASUREMENTS[name].lapse_from if lapses else "")
