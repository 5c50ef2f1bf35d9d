"""Worker processes: how many cores there are, and a pool that ends with its parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from biml.errors import BimlError

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux has the limits of a container."""

T = TypeVar("T")
R = TypeVar("R")


class Submit(Protocol):
    """Starts a call, in this process or in a worker."""

    def __call__(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]: ...


def available_cores() -> int:
    """Cores that this process may use, by its affinity and its container's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    quota_files = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # versions 2, 1
    for names in quota_files:
        with suppress(OSError, ValueError):
            text = " ".join((CGROUPS / name).read_text() for name in names)
            quota, period = map(int, text.split())
            if quota > 0:
                count = min(count, max(1, round(quota / period)))
    return count


@contextmanager
def process_pool(workers: int, initializer: Callable[[], None] | None = None) -> Iterator[Submit]:
    """Run calls in worker processes; with one worker, in this process.

    Each process first calls `initializer`. An error or interruption terminates the workers without
    waiting for their calls.
    """
    if workers == 1:
        yield _run_inline
        return
    before = set(multiprocessing.active_children())
    # Spawned rather than forked: the parent may have threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _init_worker, (initializer,))

    def submit(function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        with _ignore_sigint():  # inherited by the processes that this starts
            return pool.submit(function, *arguments)

    try:
        yield submit
    except BrokenProcessPool as error:
        raise BimlError(
            "a worker process was killed, perhaps for lack of memory; try fewer --workers"
        ) from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def parallel_map(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Yield the results of the function for each item, in order."""
    if workers == 1:
        yield from map(function, items)
        return
    with process_pool(workers) as submit:
        for future in [submit(function, item) for item in items]:
            yield future.result()


def _run_inline(function: Callable[..., R], /, *arguments: Any) -> Future[R]:
    future: Future[R] = Future()
    future.set_result(function(*arguments))
    return future


def _init_worker(initializer: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _exit_with_parent() -> None:
    """A killed parent cannot shut its pool down, and workers would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Processes started within ignore Ctrl-C, which reaches all processes of a terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
