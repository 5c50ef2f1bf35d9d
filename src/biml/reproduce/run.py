"""Everything from names of models to a results folder."""

from pathlib import Path

import biml.report  # noqa: F401  (says at once what to install where something is missing)
from biml.errors import UsageError
from biml.files import folder_aside
from biml.reproduce.assemble import Wanted, assemble
from biml.reproduce.measures import MEASURES, SCORED, Asked
from biml.reproduce.scale import scale
from biml.reproduce.store import Store
from biml.reproduce.work import Unit, Watch, compute
from biml.results.folder import ModelInfo, Results, Skipped, check_place, holds, write_results
from biml.results.tables import TABLES
from biml.version import __version__


def reproduce(
    wanted: Wanted, out: Path, *, workers: int, watch: Watch, store: Store | None = None
) -> Results:
    """Do what is wanted, as far as it was not done before, and write the results folder.

    Args:
        out: takes the place of an earlier results folder there, when all is complete.
        workers: processes.
        watch: told how it goes.
        store: where units of work are kept; in the user's cache folder by default.
    Raises:
        UsageError: there is something else at `out`, or no model takes part.
        BimlError: there are no human data, or a model failed.
    """
    check_place(out)
    if store is None:
        store = Store.of_user({**TABLES, SCORED.name: SCORED})
    units, skipped = plan(wanted)
    if any("data_human" in MEASURES[u.measure].data for u in units):
        wanted.data.find("data_human")
    found = compute(units, store, workers, watch)
    watch.running([])
    tables = assemble(wanted, found, store)
    results = Results(
        version=__version__,
        quick=wanted.quick,
        seed=wanted.seed,
        models=tuple(ModelInfo(s.name, s.label, s.kind) for s in wanted.subjects),
        experiments=tuple(experiment.name for experiment in wanted.experiments),
        skipped=skipped,
        tables=tables,
    )
    if not holds(out, results):
        from biml.report.page import write as report

        with folder_aside(out, overwrite=True) as made:
            write_results(results, made)
            report(made)
    return results


def plan(wanted: Wanted) -> tuple[list[Unit], tuple[Skipped, ...]]:
    """What is to be computed, and which models take no part in which experiment.

    Raises:
        UsageError: no model takes part in anything.
    """
    amounts = scale(wanted.quick, wanted.seed)
    units: list[Unit] = []
    skipped: list[Skipped] = []
    for experiment in wanted.experiments:
        for subject in wanted.subjects:
            reasons = {name: MEASURES[name].refuses(subject) for name in experiment.measures}
            asked = Asked(subject, wanted.data, amounts)
            for name, why in reasons.items():
                if not why:
                    units.append(_unit(name, asked, wanted.lapsing))
            if all(reasons.values()):
                why = "; ".join(dict.fromkeys(reasons.values()))
                skipped.append(Skipped(subject.name, experiment.name, why))
    if not units:
        reasons_given = "; ".join(f"{s.model} {s.why}" for s in skipped)
        raise UsageError(f"no model takes part in what was asked for: {reasons_given}")
    planned = {unit.place for unit in units}
    needed = [
        _unit(unit.after, unit.asked, wanted.lapsing)
        for unit in units
        if unit.after and (unit.after, unit.asked.subject.name) not in planned
    ]
    return [*needed, *units], tuple(skipped)


def _unit(name: str, asked: Asked, lapsing: bool) -> Unit:
    lapses = asked.subject.symbolic or lapsing
    return Unit(name, asked, after=MEASURES[name].lapse_of if lapses else "")
