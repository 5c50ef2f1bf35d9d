"""`biml generate`: a meta-training set as folders `train` and `val` of sampled episodes."""

import re
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
from biml.io import atomic_directory, check_replaceable, exclusive_lock
from biml.parallel import available_cores, parallel_map
from biml.progress import Progress, no_progress

_CHUNK_SIZE = 500
"""Episodes that a worker writes between two calls of `progress`."""


@dataclass(frozen=True)
class DatasetSpec:
    """Contents of a meta-training set, on which alone its files depend."""

    train: int = EPISODES_PER_EPOCH
    val: int = VALIDATION_EPISODES
    seed: int = 0
    meta_grammar: MetaGrammar = field(default_factory=MetaGrammar)
    holdout_episodes: tuple[Episode, ...] = ()
    """Such as those of an experiment: no training grammar equals theirs under any renaming."""

    def __post_init__(self) -> None:
        for episode in self.holdout_episodes:
            if episode.grammar is None:
                problem = "no rules below *GRAMMAR*; write those that are to be held out"
                raise FormatError(problem, source=episode.name)
        for name in ("train", "val"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: at least one episode is needed")


def generate(
    spec: DatasetSpec,
    folder: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write `folder/train/000001.txt …`, `folder/val/000001.txt …` and the meta-grammar.

    No training grammar equals a validation grammar up to the order of rules, nor the gold grammar
    or a held-out one under any renaming, nor has a held-out rule (`grammar.meta_grammar`). The
    training files are the first episodes of the stream with this seed and these exclusions. They do
    not depend on `workers`, the number of processes, by default one for each core.
    """
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least one is needed")
    total = spec.train + spec.val
    if overwrite:
        check_replaceable(folder, is_episode_set_file, "generated episodes")
    busy = f"another process is writing {folder}; wait for it, or name another --out"
    with exclusive_lock(folder, busy), atomic_directory(folder, overwrite=overwrite) as made:
        for part in ("train", "val"):
            (made / part).mkdir()
        (made / SPEC_FILE).write_text(spec_json(spec.meta_grammar), "utf-8")
        validation = sample_validation_set(spec.meta_grammar, spec.seed, spec.val)
        for number, episode in enumerate(validation):
            _episode_path(made, "val", number).write_text(format_episode(episode), "utf-8")

        def report(done: int) -> None:
            progress(done, total, stage="writing episodes", unit="episodes")

        report(spec.val)
        for number, episode in enumerate(spec.holdout_episodes):
            path = _episode_path(made, HOLDOUT_FOLDER, number)
            path.parent.mkdir(exist_ok=True)
            path.write_text(format_episode(episode), "utf-8")
        holdout = tuple(e.grammar for e in spec.holdout_episodes if e.grammar is not None)
        held_out = canonical_grammars(validation)
        stream = StreamDataset(spec.meta_grammar, spec.seed, held_out, holdout)
        numbers = range(spec.train)
        chunks = [numbers[i : i + _CHUNK_SIZE] for i in range(0, spec.train, _CHUNK_SIZE)]
        done = spec.val
        task = partial(_write_chunk, stream, made)
        for written in parallel_map(task, chunks, min(workers, len(chunks))):
            done += written
            report(done)


def is_episode_set_file(path: str) -> bool:
    """Whether a file of this path, with slashes, belongs to a meta-training set."""
    pattern = rf"{re.escape(SPEC_FILE)}|(train|val|{HOLDOUT_FOLDER})/\d+\.txt"
    return re.fullmatch(pattern, path) is not None


def _episode_path(folder: Path, part: str, number: int) -> Path:
    return folder / part / f"{number + 1:06}.txt"


def _write_chunk(stream: StreamDataset, folder: Path, numbers: range) -> int:
    for number in numbers:
        path = _episode_path(folder, "train", number)
        path.write_text(format_episode(stream[number]), "utf-8", newline="\n")
    return len(numbers)
