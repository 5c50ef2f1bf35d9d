"""How episode types get their episodes: from the meta-grammar, the gold episode, people's answers.

Each function here takes folders and steps and gives what opens a type's training or evaluation,
given the data folders and a seed.
"""

from collections.abc import Callable
from pathlib import Path

from biml.episodes.answerers import RESPONSES_FILE, read_respondents
from biml.episodes.episode import Episode, Example
from biml.episodes.folder import read_episodes
from biml.episodes.locate import DataFolders
from biml.episodes.open_ended import autoregressive_episodes, shuffle_queries
from biml.episodes.present import (
    EvaluationSet,
    InterleavedDataset,
    TransformedDataset,
    Transform,
    TrainingEpisodes,
    mixture_seed,
)
from biml.episodes.sources import (
    VALIDATION_SEED,
    RandomChoiceDataset,
    EpisodeDataset,
    StreamDataset,
    sample_validation_set,
    holdout_grammars,
    canonical_grammars,
    training_episodes,
    validation_episodes,
)
from biml.episodes.steps import only_study_queries, remap_published, drop_study
from biml.episodes.transforms import shuffle_study
from biml.errors import BimlError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.gold import GOLD_QUERIES, GOLD_STUDY

TrainingFactory = Callable[[DataFolders, int], TrainingEpisodes]
EvaluationFactory = Callable[[DataFolders, int], EvaluationSet]

FEW_SHOT_FOLDER, PROBE_FOLDER = "few_shot/val_behavior", "data_behavior_probes/val"
"""Where people's answers lie in `data_human`."""

VANILLA_PER_EPOCH = 200
"""Presentations of the 14 gold study pairs an epoch: 8 steps of 25, as in released checkpoints."""


def gold_episode() -> Episode:
    """The gold episode of the human few-shot task, in canonical names."""

    def pairs(inputs: tuple[str, ...]) -> tuple[Example, ...]:
        words = (tuple(text.split()) for text in inputs)
        return tuple(Example(w, GOLD.interpret(w)) for w in words)

    return Episode(pairs(GOLD_STUDY), pairs(GOLD_QUERIES), grammar=GOLD, name="gold episode")


def gold_episodes(data: DataFolders) -> tuple[Episode, ...]:
    """The few-shot task with its right answers: that of the data found, else the published one.

    An imported experiment has a file for each study set.

    Raises:
        BimlError: the data found are of an experiment whose right answers are missing.
    """
    human = data.get("data_human")
    folder = human / "few_shot" / "val_gold" if human else None
    gold = gold_episode()
    if folder is not None and folder.is_dir():
        found = read_episodes(folder)
        # The published file has our examples in another order, which would change every draw.
        same = [
            set(e.study) == set(gold.study) and set(e.queries) == set(gold.queries) for e in found
        ]
        return (gold,) if all(same) else found
    if human and (human / FEW_SHOT_FOLDER / RESPONSES_FILE).is_file():
        raise BimlError(f"no folder {folder}; import the experiment again")
    return (gold,)


def human_folder(data: DataFolders, folder: str) -> Path:
    """A folder of people's answers.

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
    """Meta-training episodes, study shuffled, then the steps.

    Args:
        meta: of a language of one's own, whose episodes are drawn as they are needed; by default
            the published language, whose episodes may also lie in `data_algebraic`.
    """

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        source: EpisodeDataset
        if meta is None:
            source = training_episodes(data, seed)
        else:
            held = canonical_grammars(sample_validation_set(meta, VALIDATION_SEED))
            source = StreamDataset(meta, seed, held, held_out_isomorphic=holdout_grammars(data))
        return TransformedDataset(source, (shuffle_study, *transforms), seed)

    return open_it


def validation_set(*transforms: Transform, meta: MetaGrammar | None = None) -> EvaluationFactory:
    """The meta-validation episodes, study shuffled, then the steps; `meta` as for `algebraic`."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        episodes = (
            sample_validation_set(meta, VALIDATION_SEED) if meta else validation_episodes(data)
        )
        return EvaluationSet(episodes, (shuffle_study, *transforms), seed)

    return open_it


def gold_set(*transforms: Transform, n_copies: int = 1, varies: bool = True) -> EvaluationFactory:
    """The right answers of the published few-shot task, which no data are needed for."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        return EvaluationSet((gold_episode(),) * n_copies, transforms, seed, varies=varies)

    return open_it


def gold_set_from_data(*transforms: Transform, n_copies: int) -> EvaluationFactory:
    """The right answers of the experiment that data folders hold, each study set `copies` times."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        origin = str(data.get("data_human") or "the published task")
        return EvaluationSet(gold_episodes(data) * n_copies, transforms, seed, origin=origin)

    return open_it


def human_responses(
    folder: str,
    *transforms: Transform,
    n_copies: int = 1,
    query_repeats: int = 1,
    varies: bool = True,
) -> EvaluationFactory:
    """The files of one folder of the human data, then the steps; every query `times` over."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, folder)
        episodes = read_episodes(path)
        who = read_respondents(path, episodes)
        return EvaluationSet(
            episodes * n_copies,
            transforms,
            seed,
            query_repeats=query_repeats,
            varies=varies,
            respondents=who,
            origin=str(path),
        )

    return open_it


def participant_sequences(folder: str) -> EvaluationFactory:
    """Each participant's answers one after another, in a random order and random names."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, folder)
        episodes = read_episodes(path)
        return EvaluationSet(
            episodes,
            (shuffle_queries, remap_published),
            seed,
            expand=autoregressive_episodes,
            group_by_participant=True,
            respondents=read_respondents(path, episodes),
            origin=str(path),
        )

    return open_it


def random_human_training(folder: str, *transforms: Transform) -> TrainingFactory:
    """A random file of one folder of the human data for each presentation, then the steps."""

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        path = human_folder(data, folder)
        return TransformedDataset(
            RandomChoiceDataset(read_episodes(path), seed, origin=str(path)), transforms, seed
        )

    return open_it


def gold_pairs_training(data: DataFolders, seed: int) -> TrainingEpisodes:
    """The 14 gold study pairs without any study context; each presentation is all of them."""
    gold = RandomChoiceDataset(
        (gold_episode(),), seed, VANILLA_PER_EPOCH, "the gold study examples"
    )
    return TransformedDataset(gold, (only_study_queries, drop_study), seed)


def interleaved(**parts: TrainingFactory) -> TrainingFactory:
    """The parts in equal shares, each with draws of its own."""

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        return InterleavedDataset(
            tuple(part(data, mixture_seed(seed, name)) for name, part in parts.items())
        )

    return open_it
