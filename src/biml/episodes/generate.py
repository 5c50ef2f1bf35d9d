"""`biml generate`: a meta-training set of sampled episodes, as folders of texts or in Parquet."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from biml.episodes.datasets import (
    EPISODES_PER_EPOCH,
    HOLDOUT_FOLDER,
    SPEC_FILE,
    VALIDATION_EPISODES,
    StreamDataset,
    canonical_grammars,
    sample_validation_set,
    sample_with_exclusions,
    spec_json,
)
from biml.episodes.episode import Episode
from biml.episodes.episode_type import gold_episode
from biml.episodes.parquet import CARD, Row, dataset_card, row, write_split
from biml.episodes.sampling import sample_novel_rule_episodes
from biml.episodes.text_format import format_episode
from biml.episodes.transforms import remap
from biml.errors import FormatError, UsageError
from biml.grammar import MetaGrammar
from biml.io import atomic_directory, check_replaceable, exclusive_lock
from biml.parallel import available_cores, parallel_map
from biml.progress import Progress, no_progress
from biml.rng import generator
from biml.version import __version__

T = TypeVar("T")

_CHUNK_SIZE = 500
"""Episodes that a worker writes between two calls of `progress`."""

N_GOLD = 100
"""Remappings of the gold episode in a Parquet set."""


@dataclass(frozen=True)
class DatasetSpec:
    """Contents of a meta-training set, on which alone its files depend."""

    train: int = EPISODES_PER_EPOCH
    val: int = VALIDATION_EPISODES
    seed: int = 0
    meta_grammar: MetaGrammar = field(default_factory=MetaGrammar)
    holdout_episodes: tuple[Episode, ...] = ()
    """Such as those of an experiment: no training grammar equals theirs under any renaming."""
    test: int = 0

    def __post_init__(self) -> None:
        for episode in self.holdout_episodes:
            if episode.grammar is None:
                problem = "no rules below *GRAMMAR*; write those that are to be held out"
                raise FormatError(problem, source=episode.name)
        for name, least in (("train", 1), ("val", 1), ("test", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} {getattr(self, name)}: give at least {least}")


def generate(
    spec: DatasetSpec,
    folder: Path,
    *,
    format: str = "text",
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, int]:
    """Write `folder/train/000001.txt …`, `folder/val/000001.txt …` and the meta-grammar.

    With the format `parquet`, `folder/data/train.parquet`, `validation.parquet` … and a card, which
    have the held-out rules and the gold episode as further splits.

    No training grammar equals a validation or test grammar up to the order of rules, nor the gold
    grammar or a held-out one under any renaming, nor has a held-out rule (`grammar.meta_grammar`).
    The training files are the first episodes of the stream with this seed and these exclusions.
    They do not depend on `workers`, the number of processes, by default one for each core.

    Returns:
        The number of episodes in each folder or split.
    """
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least one is needed")
    if overwrite:
        own, marker = is_episode_set_file, ""
        if format == "parquet":
            own, marker = _is_parquet_set_file, SPEC_FILE
        check_replaceable(folder, own, "generated episodes", marker=marker)
    busy = f"another process is writing {folder}; wait for it, or name another --out"
    with exclusive_lock(folder, busy), atomic_directory(folder, overwrite=overwrite) as made:
        (made / SPEC_FILE).write_text(spec_json(spec.meta_grammar), "utf-8")
        validation = sample_validation_set(spec.meta_grammar, spec.seed, spec.val)
        test = _sample_test_set(spec, validation)
        holdout = tuple(e.grammar for e in spec.holdout_episodes if e.grammar is not None)
        held_out = canonical_grammars((*validation, *test))
        stream = StreamDataset(spec.meta_grammar, spec.seed, held_out, holdout)
        others = {"val": validation, "test": test, HOLDOUT_FOLDER: spec.holdout_episodes}
        chunks = partial(_chunks, spec, workers, progress)
        if format == "text":
            return _write_texts(made, chunks(partial(_write_chunk, stream, made)), others)
        return _write_parquet(spec, made, chunks(partial(_sample_chunk, stream)), others)


def _sample_test_set(spec: DatasetSpec, validation: tuple[Episode, ...]) -> tuple[Episode, ...]:
    """Episodes with other grammars than those of validation episodes."""
    held_out = canonical_grammars(validation)
    rngs = [generator(spec.seed, "test", number) for number in range(spec.test)]
    return tuple(
        sample_with_exclusions(spec.meta_grammar, rng, f"test episode {number}", held_out)
        for number, rng in enumerate(rngs)
    )


def _write_texts(
    made: Path, train: Iterator[Sequence[int]], others: Mapping[str, Sequence[Episode]]
) -> dict[str, int]:
    for part, episodes in others.items():
        for number, episode in enumerate(episodes):
            path = _episode_path(made, part, number)
            path.parent.mkdir(exist_ok=True)
            path.write_text(format_episode(episode), "utf-8")
    (made / "train").mkdir()
    sizes = {"train": sum(map(len, train))}
    return sizes | {part: len(episodes) for part, episodes in others.items() if episodes}


def _write_parquet(
    spec: DatasetSpec,
    made: Path,
    train: Iterator[Sequence[Row]],
    others: Mapping[str, Sequence[Episode]],
) -> dict[str, int]:
    gold = [remap(gold_episode(), generator(spec.seed, "gold", n)) for n in range(N_GOLD)]
    splits = {"train": (write_split(made, "train", train), "no grammar of another split")}
    for name, episodes, meaning in (
        ("validation", others["val"], "sampled as `train`"),
        ("test", others["test"], "sampled as `train`, no grammar of `validation`"),
        ("novel_rules", sample_novel_rule_episodes(), "26 rules held out from `train`"),
        ("gold", gold, f"the few-shot task of people, in {N_GOLD} draws of words and symbols"),
        ("holdout", others[HOLDOUT_FOLDER], "grammars held out of `train` under any renaming"),
    ):
        if episodes:
            splits[name] = (write_split(made, name, [list(map(row, episodes))]), meaning)
    sizes = ", ".join(f"{k} {v}" for k, v in vars(spec.meta_grammar).items() if isinstance(v, int))
    about = (
        "Episodes for meta-learning for compositionality (MLC; Lake & Baroni 2023, "
        "<https://doi.org/10.1038/s41586-023-06668-3>): few-shot tasks, each with a grammar of its "
        f"own, sampled by biml {__version__} with the seed {spec.seed} from the meta-grammar with "
        f"{sizes}."
    )
    (made / CARD).write_text(dataset_card(splits, "Episodes of the MLC meta-grammar", about))
    return {name: n for name, (n, _) in splits.items()}


def _chunks(
    spec: DatasetSpec, workers: int, progress: Progress, task: Callable[[range], Sequence[T]]
) -> Iterator[Sequence[T]]:
    """The results of a task for the numbers of training episodes, in parts and in order."""
    done, total = spec.val, spec.train + spec.val
    numbers = range(spec.train)
    chunks = [numbers[i : i + _CHUNK_SIZE] for i in range(0, spec.train, _CHUNK_SIZE)]
    progress(done, total, stage="writing episodes", unit="episodes")
    for made in parallel_map(task, chunks, min(workers, len(chunks))):
        done += len(made)
        progress(done, total, stage="writing episodes", unit="episodes")
        yield made


def is_episode_set_file(path: str) -> bool:
    """Whether a file of this path, with slashes, belongs to a meta-training set."""
    pattern = rf"{re.escape(SPEC_FILE)}|(train|val|test|{HOLDOUT_FOLDER})/\d+\.txt"
    return re.fullmatch(pattern, path) is not None


def _is_parquet_set_file(path: str) -> bool:
    return re.fullmatch(rf"{re.escape(SPEC_FILE)}|{CARD}|data/\w+\.parquet", path) is not None


def _episode_path(folder: Path, part: str, number: int) -> Path:
    return folder / part / f"{number + 1:06}.txt"


def _write_chunk(stream: StreamDataset, folder: Path, numbers: range) -> range:
    for number in numbers:
        path = _episode_path(folder, "train", number)
        path.write_text(format_episode(stream[number]), "utf-8", newline="\n")
    return numbers


def _sample_chunk(stream: StreamDataset, numbers: range) -> list[Row]:
    return [row(stream[number]) for number in numbers]
