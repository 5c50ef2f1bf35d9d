"""Everything from names of models to a results folder."""

from pathlib import Path

from biml.behaviour.people import FEW_SHOT, few_shot_grammars, lacks
from biml.errors import FormatError
from biml.files import folder_aside
from biml.report import FILES, is_whole, write
from biml.reproduce.assemble import Wanted, assemble, not_compared
from biml.reproduce.likelihoods import SCORED
from biml.reproduce.measures import MEASURES
from biml.reproduce.plan import plan
from biml.reproduce.store import Store
from biml.reproduce.work import Watch, compute
from biml.results.folder import ModelInfo, Results, check_place, holds, write_results
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
    check_place(out, FILES)
    if store is None:
        store = Store.of_user({**TABLES, SCORED.name: SCORED})
    units, skipped = plan(wanted)
    if any("data_human" in MEASURES[u.measure].data for u in units):
        wanted.data.find("data_human")
    asked = {name for experiment in wanted.experiments for name in experiment.measures}
    if "few_shot_samples" in asked and not lacks(wanted.data, FEW_SHOT):
        few_shot_grammars(wanted.data)  # says what is wrong before anything is computed
    found = compute(units, store, workers, watch)
    watch.running([])
    tables = assemble(wanted, found, store)
    store.prune()
    results = Results(
        version=__version__,
        quick=wanted.quick,
        seed=wanted.seed,
        models=tuple(ModelInfo(s.name, s.label, s.kind) for s in wanted.subjects),
        experiments=tuple(experiment.name for experiment in wanted.experiments),
        skipped=skipped + not_compared(wanted, found),
        tables=tables,
    )
    if not (holds(out, results) and is_whole(out)):
        with folder_aside(out, overwrite=True) as made:
            write_results(results, made)
            _write_page(made)
    return results


def _write_page(folder: Path) -> None:
    """The page of a folder that is not at its place yet, so that messages name its tables only."""
    try:
        write(folder)
    except FormatError as error:
        table = Path(error.source).name
        raise FormatError(error.problem, source=table, line=error.line) from None
