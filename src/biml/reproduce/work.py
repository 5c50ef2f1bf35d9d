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
from biml.reproduce.asked import Asked, Frames
from biml.reproduce.measures import MEASURES
from biml.reproduce.store import Store, data_digest, key


@dataclass(frozen=True)
class Unit:
    """One measurement of one model.

    Attributes:
        measure: its name in the table of measurements.
        asked: what it is given.
        after: the measurement of the same model whose lapse rate it needs first; else empty.
    """

    measure: str
    asked: Asked
    after: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Measurement and model, by name."""
        return self.measure, self.asked.subject.name

    @property
    def cost(self) -> float:
        return 0.1 if self.asked.subject.symbolic else MEASURES[self.measure].cost

    def key(self, digests: dict[str, str]) -> str:
        """A name for everything that its result depends on.

        Args:
            digests: those of data folders, by their names.
        """
        row, asked = MEASURES[self.measure], self.asked
        amounts = [(name, getattr(asked.scale, name)) for name in row.scale]
        data = [(name, digests[name]) for name in row.data]
        about = (asked.subject.name, asked.subject.trained_on, asked.subject.identity)
        return key(row.name, row.version, about, amounts, data, asked.lapse)

    def run(self) -> Frames:
        """Compute it.

        Raises:
            BimlError: it cannot be; the message names the model.
        """
        try:
            return MEASURES[self.measure].run(self.asked)
        except BimlError as error:
            # A `FormatError` does not come whole out of another process.
            kind = UsageError if isinstance(error, UsageError) else BimlError
            raise kind(f"{self.asked.subject.name}: {error}") from None


class Watch(Protocol):
    """Is told how the work goes."""

    def began(self, units: Sequence[Unit]) -> None:
        """These are to be computed; others were kept."""

    def running(self, units: Sequence[Unit]) -> None:
        """These are being computed now."""

    def done(self, unit: Unit) -> None:
        """This one is complete and kept."""

    def said(self, text: str) -> None:
        """Something worth knowing."""


@dataclass(frozen=True)
class Result:
    """What a unit gave, and the name of everything that it depends on."""

    key: str
    frames: Frames


Found = dict[tuple[str, str], Result]
"""Results by measurement and model."""


def compute(
    units: Sequence[Unit],
    store: Store,
    workers: int,
    watch: Watch,
) -> Found:
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
    names = {name for unit in units for name in MEASURES[unit.measure].data}
    first = units[0].asked.data if units else None
    digests = {name: data_digest(first, name) for name in names} if first else {}
    found: Found = {}
    waiting = list(units)

    def take_kept() -> None:
        """Move everything that is known from `waiting` to `found`, also what that lets be known."""
        while True:
            before = len(waiting)
            for unit in [ready for u in waiting if (ready := _ready(u, found))]:
                name = unit.key(digests)
                kept = store.load(name)
                if kept is not None:
                    found[unit.place] = Result(name, kept)
            waiting[:] = [unit for unit in waiting if unit.place not in found]
            if len(waiting) == before:
                return

    take_kept()
    watch.began(waiting)
    if not waiting:
        return found
    keeping = True
    with _pool(min(workers, len(waiting))) as start:
        running: dict[Future[Frames], Unit] = {}
        while waiting or running:
            ready = [unit for u in waiting if (unit := _ready(u, found))]
            # The longest first, so that no core idles at the end.
            ready.sort(key=lambda unit: -unit.cost)
            starting = ready[: workers - len(running)]
            watch.running([*running.values(), *starting])
            running |= {start(unit.run): unit for unit in starting}
            begun = {unit.place for unit in running.values()}
            waiting[:] = [unit for unit in waiting if unit.place not in begun]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                result = Result(unit.key(digests), future.result())
                found[unit.place] = result
                try:
                    if keeping:
                        store.save(result.key, result.frames)
                except BimlError as error:
                    keeping = False
                    watch.said(f"results are not kept for the next call: {error}")
                watch.done(unit)
    return found


def _ready(unit: Unit, found: Found) -> Unit | None:
    """The unit with the lapse rate that it waits for; None while that is not known."""
    if not unit.after:
        return unit
    before = found.get((unit.after, unit.asked.subject.name))
    if before is None:
        return None
    lapse = float(before.frames["likelihoods"]["lapse"].iloc[0])
    return replace(unit, asked=replace(unit.asked, lapse=lapse), after="")


@contextmanager
def _pool(workers: int) -> Iterator[Callable[[Callable[[], Frames]], Future[Frames]]]:
    """What starts work, in this process or in others of one thread each."""
    if workers == 1:
        yield _here
        return
    before = set(multiprocessing.active_children())
    # Started afresh rather than forked: PyTorch has threads.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_prepare)

    def start(run: Callable[[], Frames]) -> Future[Frames]:
        with _deaf():
            return pool.submit(run)

    try:
        yield start
    except BrokenProcessPool as error:
        raise BimlError(
            "a worker process was ended from outside, perhaps for want of memory; "
            "try again with --workers 1"
        ) from error
    except BaseException:
        _end(multiprocessing.active_children(), before)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end(children: Iterable[BaseProcess], others: Collection[BaseProcess]) -> None:
    """A unit may take a minute, which nobody who interrupts wants to wait for."""
    for child in children:
        if child not in others:
            child.terminate()


def _here(run: Callable[[], Frames]) -> Future[Frames]:
    future: Future[Frames] = Future()
    future.set_result(run())
    return future


def _prepare() -> None:
    """One thread each: two processes of one are faster than one process of two."""
    import torch

    from biml.training.hardware import prepare_cpu

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_cpu()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that is killed ends no pool, and workers would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches all processes, but the first decides; those started in here ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
