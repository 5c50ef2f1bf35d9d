"""Everything from names of models to a results folder."""

from pathlib import Path

from biml.behaviour.people import FEW_SHOT, few_shot_grammars, lacks_task
from biml.errors import FormatError
from biml.files import atomic_directory
from biml.report import FIGURE_FILES, is_complete, write_report
from biml.reproduce.assemble import ReproductionSpec, build_tables, incomparable_models
from biml.reproduce.likelihoods import SCORED_TABLE
from biml.reproduce.measures import MEASUREMENTS
from biml.reproduce.plan import plan_jobs
from biml.reproduce.store import ResultCache
from biml.reproduce.work import ProgressListener, run_jobs
from biml.results.folder import (
    ModelInfo,
    Results,
    check_output_folder,
    is_up_to_date,
    write_results,
)
from biml.results.tables import TABLES
from biml.version import __version__


def reproduce(
    spec: ReproductionSpec,
    out: Path,
    *,
    workers: int,
    listener: ProgressListener,
    cache: ResultCache | None = None,
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
    check_output_folder(out, FIGURE_FILES)
    if cache is None:
        cache = ResultCache.in_user_folder({**TABLES, SCORED_TABLE.name: SCORED_TABLE})
    units, skipped = plan_jobs(spec)
    if any("data_human" in MEASUREMENTS[u.measurement].data for u in units):
        spec.data.require("data_human")
    asked = {name for experiment in spec.experiments for name in experiment.measurements}
    if "few_shot_samples" in asked and not lacks_task(spec.data, FEW_SHOT):
        few_shot_grammars(spec.data)  # says what is wrong before anything is computed
    found = run_jobs(units, cache, workers, listener)
    listener.on_running([])
    tables = build_tables(spec, found, cache)
    cache.prune()
    results = Results(
        version=__version__,
        quick=spec.quick,
        seed=spec.seed,
        models=tuple(ModelInfo(s.name, s.label, s.kind) for s in spec.models),
        experiments=tuple(experiment.name for experiment in spec.experiments),
        skipped=skipped + incomparable_models(spec, found),
        tables=tables,
    )
    if not (is_up_to_date(out, results) and is_complete(out)):
        with atomic_directory(out, overwrite=True) as made:
            write_results(results, made)
            _write_page(made)
    return results


def _write_page(folder: Path) -> None:
    """The page of a folder that is not at its place yet, so that messages name its tables only."""
    try:
        write_report(folder)
    except FormatError as error:
        table = Path(error.source).name
        raise FormatError(error.problem, source=table, line=error.line) from None
