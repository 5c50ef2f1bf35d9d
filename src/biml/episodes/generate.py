"""Writing a meta-training set: folders `train` and `val` of drawn episodes."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from biml.episodes.episode import Episode
from biml.episodes.sources import (
    APART,
    DRAWN,
    PER_EPOCH,
    VALIDATION_EPISODES,
    StreamEpisodes,
    described,
    draw_validation,
    held_out,
)
from biml.episodes.text import format_episode
from biml.errors import BimlError, FormatError, UsageError
from biml.files import folder_aside
from biml.grammar import MetaGrammar

_PIECE = 500
"""Episodes that a worker writes between two reports."""


@dataclass(frozen=True)
class GeneratedSet:
    """What to write.

    Attributes:
        train: how many training episodes.
        val: how many validation episodes.
        seed: the files depend on it and the other fields here, and on nothing else.
        meta: the distribution of grammars.
        apart: episodes whose grammars are held out of training whatever their words and symbols are
            called, such as that of an experiment. They are written too, so that training knows.

    Raises:
        UsageError: a number that cannot be.
    """

    train: int = PER_EPOCH
    val: int = VALIDATION_EPISODES
    seed: int = 0
    meta: MetaGrammar = field(default_factory=MetaGrammar)
    apart: tuple[Episode, ...] = ()

    def __post_init__(self) -> None:
        for episode in self.apart:
            if episode.grammar is None:
                raise FormatError(
                    "nothing stands below *GRAMMAR*; write the rules that are to be held out",
                    source=episode.name,
                )
        for name in ("train", "val"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: at least one episode is needed")


def generate(
    wanted: GeneratedSet,
    folder: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `folder/train/000001.txt …` and `folder/val/000001.txt …`, and how they are drawn.

    No training grammar equals a validation grammar, whatever the order of their rules, and none
    equals the gold grammar or one of `wanted.apart`, whatever its words and symbols are called. No
    training grammar has a rule of `grammar.novel`. The training files are the episodes of the
    endless stream of the same seed and exclusions.

    Args:
        wanted: what to write.
        folder: where; it appears when it is complete.
        workers: processes; as many as there are cores if not given. The files do not depend on it.
        overwrite: replace what is there.
        progress: called with the number of files written and that of all.

    Raises:
        UsageError: `folder` exists and `overwrite` is not set.
        BimlError: the folder cannot be written; what was there is unchanged.
    """
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least one is needed")
    total = wanted.train + wanted.val
    with folder_aside(folder, overwrite=overwrite) as made:
        for part in ("train", "val"):
            (made / part).mkdir()
        (made / DRAWN).write_text(described(wanted.meta), "utf-8")
        validation = draw_validation(wanted.meta, wanted.seed, wanted.val)
        for number, episode in enumerate(validation):
            _file(made, "val", number).write_text(format_episode(episode), "utf-8")
        progress(wanted.val, total)
        for number, episode in enumerate(wanted.apart):
            path = _file(made, APART, number)
            path.parent.mkdir(exist_ok=True)
            path.write_text(format_episode(episode), "utf-8")
        apart = tuple(e.grammar for e in wanted.apart if e.grammar is not None)
        stream = StreamEpisodes(wanted.meta, wanted.seed, held_out(validation), apart=apart)
        pieces = [
            range(start, min(start + _PIECE, wanted.train))
            for start in range(0, wanted.train, _PIECE)
        ]
        done = wanted.val
        task = partial(_write_piece, stream, made)
        with _mapping(min(workers, len(pieces)), task) as run:
            for written in run(pieces):
                done += written
                progress(done, total)


def _file(folder: Path, part: str, number: int) -> Path:
    return folder / part / f"{number + 1:06}.txt"


def _write_piece(stream: StreamEpisodes, folder: Path, numbers: range) -> int:
    for number in numbers:
        text = format_episode(stream.episode(number))
        with open(_file(folder, "train", number), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return len(numbers)


@contextmanager
def _mapping(
    workers: int, task: Callable[[range], int]
) -> Iterator[Callable[[list[range]], Iterator[int]]]:
    """A `map` of the task over pieces of work, in this process or in several."""
    if workers == 1:
        yield partial(map, task)
        return
    pool = ProcessPoolExecutor(
        workers,
        # Started afresh rather than forked: the caller may have threads.
        mp_context=get_context("spawn"),
        # Ctrl-C reaches all processes; the parent alone decides what to do about it.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield partial(pool.map, task)
    except BrokenProcessPool as error:
        raise BimlError(
            "a worker process was ended from outside, perhaps for want of memory; "
            "try again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
