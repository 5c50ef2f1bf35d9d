"""Writing a meta-training set: folders `train` and `val` of drawn episodes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from biml.episodes.datasets import (
    EPISODES_PER_EPOCH,
    HOLDOUT_FOLDER,
    SPEC_FILE,
    VALIDATION_EPISODES,
    StreamDataset,
    canonical_grammars,
    sample_validation_set,
    spec_json,
)
from biml.episodes.episode import Episode
from biml.episodes.text_format import format_episode
from biml.errors import FormatError, UsageError
from biml.grammar import MetaGrammar
from biml.io import atomic_directory
from biml.parallel import parallel_map

_CHUNK_SIZE = 500
"""Episodes that a worker writes between two reports."""


@dataclass(frozen=True)
class DatasetSpec:
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

    train: int = EPISODES_PER_EPOCH
    val: int = VALIDATION_EPISODES
    seed: int = 0
    meta_grammar: MetaGrammar = field(default_factory=MetaGrammar)
    holdout_episodes: tuple[Episode, ...] = ()

    def __post_init__(self) -> None:
        for episode in self.holdout_episodes:
            if episode.grammar is None:
                raise FormatError(
                    "nothing stands below *GRAMMAR*; write the rules that are to be held out",
                    source=episode.name,
                )
        for name in ("train", "val"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: at least one episode is needed")


def generate(
    spec: DatasetSpec,
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
    workers = _n_cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least one is needed")
    total = spec.train + spec.val
    with atomic_directory(folder, overwrite=overwrite) as made:
        for part in ("train", "val"):
            (made / part).mkdir()
        (made / SPEC_FILE).write_text(spec_json(spec.meta_grammar), "utf-8")
        validation = sample_validation_set(spec.meta_grammar, spec.seed, spec.val)
        for number, episode in enumerate(validation):
            _episode_path(made, "val", number).write_text(format_episode(episode), "utf-8")
        progress(spec.val, total)
        for number, episode in enumerate(spec.holdout_episodes):
            path = _episode_path(made, HOLDOUT_FOLDER, number)
            path.parent.mkdir(exist_ok=True)
            path.write_text(format_episode(episode), "utf-8")
        apart = tuple(e.grammar for e in spec.holdout_episodes if e.grammar is not None)
        stream = StreamDataset(
            spec.meta_grammar, spec.seed, canonical_grammars(validation), held_out_isomorphic=apart
        )
        pieces = [
            range(start, min(start + _CHUNK_SIZE, spec.train))
            for start in range(0, spec.train, _CHUNK_SIZE)
        ]
        done = spec.val
        task = partial(_write_chunk, stream, made)
        for written in parallel_map(task, pieces, min(workers, len(pieces))):
            done += written
            progress(done, total)


def _episode_path(folder: Path, part: str, number: int) -> Path:
    return folder / part / f"{number + 1:06}.txt"


def _write_chunk(stream: StreamDataset, folder: Path, numbers: range) -> int:
    for number in numbers:
        text = format_episode(stream[number])
        with open(
            _episode_path(folder, "train", number), "w", encoding="utf-8", newline="\n"
        ) as file:
            file.write(text)
    return len(numbers)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
