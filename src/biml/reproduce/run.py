"""Everything from names of models to a results folder."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from biml import plugins
from biml.analysis.people import (
    TASK_FOLDERS,
    few_shot_grammars,
    has_cv_folds,
    is_custom_experiment,
    lacks_task,
)
from biml.episodes.episode_type import CANONICAL_VOCAB, FEW_SHOT
from biml.errors import BimlError, FormatError, UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.io import atomic_directory
from biml.paths import DataFolders
from biml.report.page import FIGURE_FILES, is_complete, write_report
from biml.report.results import (
    Exclusion,
    ModelInfo,
    Results,
    check_output_folder,
    is_up_to_date,
    write_results,
)
from biml.report.schemas import PEOPLE, TABLES
from biml.reproduce.cache import ResultCache, cache_key, data_digest
from biml.reproduce.context import (
    JobResult,
    JobResults,
    MeasurementContext,
    Tables,
    vocabulary_overflow,
    workload,
)
from biml.reproduce.experiments import Experiment
from biml.reproduce.measurements import MEASUREMENTS, SCORED_TABLE
from biml.reproduce.models import has_vocabulary
from biml.reproduce.tables import ReproductionSpec, build_tables, incomparable_models
from biml.version import __version__


@dataclass(frozen=True)
class Job:
    """One measurement of one model.

    Attributes:
        measure: its name in the table of measurements.
        asked: what it is given.
        after: the measurement of the same model whose lapse rate it needs first; else empty.
    """

    measurement: str
    context: MeasurementContext
    depends_on: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Measurement and model, by name."""
        return self.measurement, self.context.model.name

    @property
    def cost(self) -> float:
        return 0.1 if self.context.model.symbolic else MEASUREMENTS[self.measurement].cost

    def cache_key(self, digests: dict[str, str]) -> str:
        """A name for everything that its result depends on.

        Args:
            digests: those of data folders, by their names.
        """
        row, asked = MEASUREMENTS[self.measurement], self.context
        amounts = [(name, getattr(asked.workload, name)) for name in row.workload_fields]
        data = [(name, digests[name]) for name in row.data]
        about = (asked.model.name, asked.model.trained_on, asked.model.identity)
        return cache_key(row.name, row.version, about, amounts, data, asked.p_lapse)

    def run(self) -> Tables:
        """Compute it.

        Raises:
            BimlError: it cannot be; the message names the model.
        """
        try:
            return MEASUREMENTS[self.measurement].run(self.context)
        except BimlError as error:
            # A `FormatError` does not come whole out of another process.
            kind = UsageError if isinstance(error, UsageError) else BimlError
            raise kind(f"{self.context.model.name}: {error}") from None


class ProgressListener(Protocol):
    """Is told how the work goes."""

    def on_start(self, jobs: Sequence[Job]) -> None:
        """These are to be computed; others were kept."""

    def on_running(self, jobs: Sequence[Job]) -> None:
        """These are being computed now."""

    def on_done(self, job: Job) -> None:
        """This one is complete and kept."""

    def on_message(self, text: str) -> None:
        """Something worth knowing."""


def run_jobs(
    jobs: Sequence[Job],
    cache: ResultCache,
    workers: int,
    listener: ProgressListener,
) -> JobResults:
    """The results of all units, those that were kept among them.

    Each result is kept as soon as it is there, so that an interruption loses no more than what is
    being computed.

    Args:
        units: with their order not mattering.
        store: where results are kept.
        workers: processes.
        watch: told how it goes.
    Raises:
        BimlError: a unit failed.
    """
    names = {name for unit in jobs for name in MEASUREMENTS[unit.measurement].data}
    first = jobs[0].context.data if jobs else None
    digests = {name: data_digest(first, name) for name in names} if first else {}
    found: JobResults = {}
    waiting = list(jobs)

    def take_kept() -> None:
        """Move everything that is known from `waiting` to `found`, also what that lets be known."""
        while True:
            before = len(waiting)
            for unit in [ready for u in waiting if (ready := _runnable(u, found))]:
                name = unit.cache_key(digests)
                kept = cache.load(name)
                if kept is not None:
                    found[unit.key] = JobResult(name, kept)
            waiting[:] = [unit for unit in waiting if unit.key not in found]
            if len(waiting) == before:
                return

    take_kept()
    listener.on_start(waiting)
    if not waiting:
        return found
    keeping = True
    with _job_pool(min(workers, len(waiting))) as start:
        running: dict[Future[Tables], Job] = {}
        while waiting or running:
            ready = [unit for u in waiting if (unit := _runnable(u, found))]
            # The longest first, so that no core idles at the end.
            ready.sort(key=lambda unit: -unit.cost)
            starting = ready[: workers - len(running)]
            listener.on_running([*running.values(), *starting])
            running |= {start(unit.run): unit for unit in starting}
            begun = {unit.key for unit in running.values()}
            waiting[:] = [unit for unit in waiting if unit.key not in begun]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                result = JobResult(unit.cache_key(digests), future.result())
                found[unit.key] = result
                try:
                    if keeping:
                        cache.save(result.cache_key, result.tables)
                except BimlError as error:
                    keeping = False
                    listener.on_message(f"results are not kept for the next call: {error}")
                listener.on_done(unit)
    return found


def _runnable(job: Job, results: JobResults) -> Job | None:
    """The unit with the lapse rate that it waits for; None while that is not known."""
    if not job.depends_on:
        return job
    before = results.get((job.depends_on, job.context.model.name))
    if before is None:
        return None
    lapse = float(before.tables["likelihoods"]["lapse"].iloc[0])
    return replace(job, context=replace(job.context, p_lapse=lapse), depends_on="")


@contextmanager
def _job_pool(workers: int) -> Iterator[Callable[[Callable[[], Tables]], Future[Tables]]]:
    """What starts work, in this process or in others of one thread each."""
    if workers == 1:
        yield _run_inline
        return
    before = set(multiprocessing.active_children())
    # Started afresh rather than forked: PyTorch has threads.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_init_worker, initargs=(plugins.loaded(),)
    )

    def start(run: Callable[[], Tables]) -> Future[Tables]:
        with _ignore_sigint():
            return pool.submit(run)

    try:
        yield start
    except BrokenProcessPool as error:
        raise BimlError(
            "a worker process was ended from outside, perhaps for want of memory; "
            "try again with --workers 1"
        ) from error
    except BaseException:
        _terminate(multiprocessing.active_children(), before)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _terminate(children: Iterable[BaseProcess], others: Collection[BaseProcess]) -> None:
    """A unit may take a minute, which nobody who interrupts wants to wait for."""
    for child in children:
        if child not in others:
            child.terminate()


def _run_inline(run: Callable[[], Tables]) -> Future[Tables]:
    future: Future[Tables] = Future()
    future.set_result(run())
    return future


def _init_worker(plugin_sources: Sequence[str]) -> None:
    """One thread each: two processes of one are faster than one process of two."""
    import torch

    from biml.training.hardware import prepare_cpu

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    prepare_cpu()
    torch.set_num_threads(1)
    for source in plugin_sources:
        plugins.load(source)


def _exit_with_parent() -> None:
    """A parent that is killed ends no pool, and workers would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Ctrl-C reaches all processes, but the first decides; those started in here ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


# === What is to be computed, and who takes no part in what.


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


# === Everything from names of models to a results folder.


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
