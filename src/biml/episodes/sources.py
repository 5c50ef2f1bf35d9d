"""Where the episodes of a type come from: the meta-grammar, the gold episode, human responses.

Each function returns what an `EpisodeType` needs: a function of data folders and a seed that opens
the episodes. Transforms are applied in the order in which they are given.
"""

from collections.abc import Callable
from pathlib import Path

from biml.episodes.datasets import (
    EpisodeDataset,
    EvaluationSet,
    InterleavedDataset,
    RandomChoiceDataset,
    TransformedDataset,
    mixture_seed,
    training_episodes,
    validation_episodes,
)
from biml.episodes.episode import Episode, Example
from biml.episodes.packed import read_episodes, read_human_episodes
from biml.episodes.sampling import sample_novel_rule_episodes
from biml.episodes.text_format import RESPONSES_FILE
from biml.episodes.transforms import Transform, drop_study, only_study_queries, shuffle_study
from biml.errors import BimlError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.gold import GOLD_QUERIES, GOLD_STUDY
from biml.paths import DataFolders

TrainingFactory = Callable[[DataFolders, int], EpisodeDataset]

EvaluationFactory = Callable[[DataFolders, int], EvaluationSet]

FEW_SHOT_FOLDER, PROBE_FOLDER = "few_shot/val_behavior", "data_behavior_probes/val"
"""Folders of `data_human` with responses."""

GOLD_FOLDER = "few_shot/val_gold"

VANILLA_PER_EPOCH = 200
"""Presentations of the 14 gold pairs in an epoch: 8 steps of 25, as in released checkpoints."""


def gold_episode() -> Episode:
    """The gold episode of the human few-shot task, in canonical names."""

    def pairs(inputs: tuple[str, ...]) -> tuple[Example, ...]:
        words = (tuple(text.split()) for text in inputs)
        return tuple(Example(w, GOLD.interpret(w)) for w in words)

    return Episode(pairs(GOLD_STUDY), pairs(GOLD_QUERIES), grammar=GOLD, name="gold episode")


def gold_episodes(data: DataFolders) -> tuple[Episode, ...]:
    """The few-shot task with its right answers, of an imported experiment or as published.

    An imported experiment has a file for each study set.

    Raises:
        BimlError: the right answers of an imported experiment are missing.
    """
    human = data.get("data_human")
    gold = gold_episode()
    if human is not None and (human / GOLD_FOLDER).is_dir():
        found = read_episodes(human / GOLD_FOLDER)
        # The published file has our examples in another order, which would change every draw.
        same = [
            set(e.study) == set(gold.study) and set(e.queries) == set(gold.queries) for e in found
        ]
        return (gold,) if all(same) else found
    if human and (human / FEW_SHOT_FOLDER / RESPONSES_FILE).is_file():
        raise BimlError(f"no folder {human / GOLD_FOLDER}; import the experiment again")
    return (gold,)


def human_folder(data: DataFolders, folder: str) -> Path:
    """A folder of human responses.

    Raises:
        BimlError: there are no human data, or not those of this task; the message says what to do.
    """
    human = data.require("data_human")
    if not (human / folder).is_dir():
        raise BimlError(
            f"{human} has no folder {folder}: an imported experiment has those of its tasks (the "
            "open-ended folds from five participants on). Choose another --episode_type or "
            "--data_dir; the published data have all: biml data download human"
        )
    return human / folder


def meta_training(*transforms: Transform, meta: MetaGrammar | None = None) -> TrainingFactory:
    """Train on a meta-grammar, by default the published one; study examples are shuffled."""
    return lambda data, seed: TransformedDataset(
        training_episodes(data, seed, meta), (shuffle_study, *transforms), seed
    )


def validation_set(*transforms: Transform, meta: MetaGrammar | None = None) -> EvaluationFactory:
    """Evaluate on validation episodes; study examples are shuffled."""
    return lambda data, seed: EvaluationSet(
        validation_episodes(data, meta), (shuffle_study, *transforms), seed
    )


def gold_set(*transforms: Transform) -> EvaluationFactory:
    """Evaluate on the right answers of the published few-shot task, which needs no data."""
    return lambda data, seed: EvaluationSet((gold_episode(),), transforms, seed)


def gold_set_from_data(*transforms: Transform, n_copies: int) -> EvaluationFactory:
    """Evaluate on the right answers of the experiment found, each study set `n_copies` times."""
    return lambda data, seed: EvaluationSet(
        gold_episodes(data) * n_copies,
        transforms,
        seed,
        description=str(data.get("data_human") or "the published task"),
    )


def novel_rules_evaluation(data: DataFolders, seed: int) -> EvaluationSet:
    """Evaluate on rules held out from training, which needs no data."""
    return EvaluationSet(sample_novel_rule_episodes(), (shuffle_study,), seed)


def human_responses(
    folder: str,
    *transforms: Transform,
    n_copies: int = 1,
    query_repeats: int = 1,
    file_holds: str = "query",
) -> EvaluationFactory:
    """Evaluate on a folder of human responses; those of one `participant` autoregressively.

    `file_holds` is that of `read_human_episodes`; the other options are those of `EvaluationSet`.
    """

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, folder)
        return EvaluationSet(
            read_human_episodes(path, file_holds=file_holds) * n_copies,
            transforms,
            seed,
            query_repeats=query_repeats,
            autoregressive=file_holds == "participant",
            is_imported=(path / RESPONSES_FILE).is_file(),
            description=str(path),
        )

    return open_it


def random_human_training(folder: str, *transforms: Transform) -> TrainingFactory:
    """Train on random files of a folder of human responses."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        path = human_folder(data, folder)
        files = RandomChoiceDataset(read_episodes(path), seed, str(path))
        return TransformedDataset(files, transforms, seed)

    return open_it


def gold_pairs_training(data: DataFolders, seed: int) -> EpisodeDataset:
    """Train on the 14 gold study pairs as queries, without study examples."""
    gold = RandomChoiceDataset(
        (gold_episode(),), seed, "the gold study examples", VANILLA_PER_EPOCH
    )
    return TransformedDataset(gold, (only_study_queries, drop_study), seed)


def interleaved(**parts: TrainingFactory) -> TrainingFactory:
    """Train on several parts in equal shares, each with draws of its own."""
    return lambda data, seed: InterleavedDataset(
        tuple(part(data, mixture_seed(seed, name)) for name, part in parts.items())
    )
