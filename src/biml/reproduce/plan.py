"""What is to be computed, and who takes no part in what."""

from collections.abc import Mapping

from biml.behaviour.people import FOLDERS, has_folds, has_imported, lacks
from biml.episodes.episode import COLOURS, WORDS
from biml.episodes.locate import DataFolders
from biml.episodes.types import CANONICAL
from biml.errors import UsageError
from biml.reproduce.asked import Asked
from biml.reproduce.assemble import Wanted
from biml.reproduce.experiments import Experiment
from biml.reproduce.measures import MEASURES
from biml.reproduce.names import too_many
from biml.reproduce.scale import scale
from biml.reproduce.subjects import knows
from biml.reproduce.work import Unit
from biml.results.folder import Skipped
from biml.results.tables import PEOPLE


def plan(wanted: Wanted) -> tuple[list[Unit], tuple[Skipped, ...]]:
    """What is to be computed, and which models take no part in which experiment or part of it.

    A task that the data found have not is told of people, and not of each model.

    Raises:
        UsageError: no model takes part in anything.
    """
    amounts = scale(wanted.quick, wanted.seed)
    imported = has_imported(wanted.data)
    crowded = {task: too_many(wanted.data, task) for task in FOLDERS}
    units: list[Unit] = []
    skipped: list[Skipped] = []
    for experiment in wanted.experiments:
        absent = _absent(experiment, wanted.data)
        skipped += _skipped(PEOPLE, experiment, absent)
        for subject in wanted.subjects:
            asked = Asked(subject, wanted.data, amounts)
            reasons = {
                name: MEASURES[name].refuses(subject) or _unfit(name, asked, imported, crowded)
                for name in experiment.measures
                if name not in absent
            }
            units += [_unit(n, asked, wanted.lapsing) for n, why in reasons.items() if not why]
            skipped += _skipped(subject.name, experiment, {n: w for n, w in reasons.items() if w})
    if not units:
        told = [s.why if s.model == PEOPLE else f"{s.model} {s.why}" for s in skipped]
        reasons_given = "; ".join(dict.fromkeys(told))
        raise UsageError(f"no model takes part in what was asked for: {reasons_given}")
    planned = {unit.place for unit in units}
    needed = [
        _unit(unit.after, unit.asked, wanted.lapsing)
        for unit in units
        if unit.after and (unit.after, unit.asked.subject.name) not in planned
    ]
    return [*needed, *units], tuple(skipped)


def _absent(experiment: Experiment, data: DataFolders) -> dict[str, str]:
    """The measurements of tasks that the data have not, and why."""
    tasks = {name: MEASURES[name].task for name in experiment.measures}
    return {
        name: f"the data found have no {task.replace('_', '-')} task"
        for name, task in tasks.items()
        if task and lacks(data, task)
    }


def _unfit(name: str, asked: Asked, imported: bool, crowded: Mapping[str, str]) -> str:
    """Why a model that could take part cannot with these data; empty where it can.

    Args:
        crowded: what each task has more of than there are published names.
    """
    subject, task = asked.subject, MEASURES[name].task
    if subject.symbolic:
        return ""
    if imported and task and knows(subject, CANONICAL):
        return "knows only the words of the published task"
    if task and crowded[task]:
        return (
            f"knows {len(WORDS)} words and {len(COLOURS)} symbols, but the "
            f"{task.replace('_', '-')} task has {crowded[task]}"
        )
    if name == "open_ended_likelihood" and subject.network is None and not has_folds(asked.data):
        return "has models for folds only, which these data have not"
    return ""


def _skipped(model: str, experiment: Experiment, reasons: dict[str, str]) -> list[Skipped]:
    """All of an experiment in one, parts of it one by one."""
    if len(reasons) == len(experiment.measures):
        why = "; ".join(dict.fromkeys(reasons.values()))
        return [Skipped(model, experiment.name, why)]
    return [
        Skipped(model, experiment.name, why, part=MEASURES[name].summary)
        for name, why in reasons.items()
    ]


def _unit(name: str, asked: Asked, lapsing: bool) -> Unit:
    lapses = asked.subject.symbolic or lapsing
    return Unit(name, asked, after=MEASURES[name].lapse_of if lapses else "")
