"""Units of work: one measurement of one model each, computed once and shared out over the cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Protocol

from biml.errors import BimlError, UsageError
from biml.reproduce.asked import MeasurementContext, Tables
from biml.reproduce.measures import MEASUREMENTS
from biml.reproduce.store import ResultCache, data_digest, cache_key


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


@dataclass(frozen=True)
class JobResult:
    """What a unit gave, and the name of everything that it depends on."""

    cache_key: str
    tables: Tables


JobResults = dict[tuple[str, str], JobResult]
"""Results by measurement and model."""


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
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_init_worker)

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


def _init_worker() -> None:
    """One thread each: two processes of one are faster than one process of two."""
    import torch

    from biml.training.hardware import prepare_cpu

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    prepare_cpu()
    torch.set_num_threads(1)


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
