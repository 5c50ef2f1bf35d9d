"""How episode types get their episodes: from the meta-grammar, the gold episode, people's answers.

Each function here takes folders and steps and gives what opens a type's training or evaluation,
given the data folders and a seed.
"""

from collections.abc import Callable
from pathlib import Path

from biml.episodes.answerers import FILE, read_answerers
from biml.episodes.episode import Episode, Example
from biml.episodes.folder import read_folder
from biml.episodes.locate import DataFolders
from biml.episodes.open_ended import one_after_another, shuffle_queries
from biml.episodes.present import (
    EvaluationEpisodes,
    Mixture,
    Presented,
    Step,
    TrainingEpisodes,
    part_seed,
)
from biml.episodes.sources import (
    VALIDATION_SEED,
    AnyOf,
    EpisodeSource,
    StreamEpisodes,
    draw_validation,
    grammars_apart,
    held_out,
    training_episodes,
    validation_episodes,
)
from biml.episodes.steps import copies_only, rename, without_study
from biml.episodes.transforms import shuffle_study
from biml.errors import BimlError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.gold import GOLD_QUERIES, GOLD_STUDY

Training = Callable[[DataFolders, int], TrainingEpisodes]
Evaluation = Callable[[DataFolders, int], EvaluationEpisodes]

HUMAN, PROBES = "few_shot/val_behavior", "data_behavior_probes/val"
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
    human = data.look("data_human")
    folder = human / "few_shot" / "val_gold" if human else None
    gold = gold_episode()
    if folder is not None and folder.is_dir():
        found = read_folder(folder)
        # The published file has our examples in another order, which would change every draw.
        same = [
            set(e.study) == set(gold.study) and set(e.queries) == set(gold.queries) for e in found
        ]
        return (gold,) if all(same) else found
    if human and (human / HUMAN / FILE).is_file():
        raise BimlError(f"no folder {folder}; import the experiment again")
    return (gold,)


def human_folder(data: DataFolders, folder: str) -> Path:
    """A folder of people's answers.

    Raises:
        BimlError: there are no human data, or not those of this task; the message says what to do.
    """
    human = data.find("data_human")
    if not (human / folder).is_dir():
        raise BimlError(
            f"{human} has no folder {folder}: an imported experiment has those of its tasks (the "
            "open-ended folds from five participants on). Choose another --episode_type or "
            "--data_dir; the published data have all: biml data download human"
        )
    return human / folder


def algebraic(*steps: Step, meta: MetaGrammar | None = None) -> Training:
    """Meta-training episodes, study shuffled, then the steps.

    Args:
        meta: of a language of one's own, whose episodes are drawn as they are needed; by default
            the published language, whose episodes may also lie in `data_algebraic`.
    """

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        source: EpisodeSource
        if meta is None:
            source = training_episodes(data, seed)
        else:
            held = held_out(draw_validation(meta, VALIDATION_SEED))
            source = StreamEpisodes(meta, seed, held, apart=grammars_apart(data))
        return Presented(source, (shuffle_study, *steps), seed)

    return open_it


def on_validation(*steps: Step, meta: MetaGrammar | None = None) -> Evaluation:
    """The meta-validation episodes, study shuffled, then the steps; `meta` as for `algebraic`."""

    def open_it(data: DataFolders, seed: int) -> EvaluationEpisodes:
        episodes = draw_validation(meta, VALIDATION_SEED) if meta else validation_episodes(data)
        return EvaluationEpisodes(episodes, (shuffle_study, *steps), seed)

    return open_it


def on_gold(*steps: Step, copies: int = 1, stochastic: bool = True) -> Evaluation:
    """The right answers of the published few-shot task, which no data are needed for."""

    def open_it(data: DataFolders, seed: int) -> EvaluationEpisodes:
        return EvaluationEpisodes((gold_episode(),) * copies, steps, seed, stochastic=stochastic)

    return open_it


def on_gold_found(*steps: Step, copies: int) -> Evaluation:
    """The right answers of the experiment that data folders hold, each study set `copies` times."""

    def open_it(data: DataFolders, seed: int) -> EvaluationEpisodes:
        origin = str(data.look("data_human") or "the published task")
        return EvaluationEpisodes(gold_episodes(data) * copies, steps, seed, origin=origin)

    return open_it


def on_human(
    folder: str, *steps: Step, copies: int = 1, times: int = 1, stochastic: bool = True
) -> Evaluation:
    """The files of one folder of the human data, then the steps; every query `times` over."""

    def open_it(data: DataFolders, seed: int) -> EvaluationEpisodes:
        path = human_folder(data, folder)
        episodes = read_folder(path)
        who = read_answerers(path, episodes)
        return EvaluationEpisodes(
            episodes * copies,
            steps,
            seed,
            times=times,
            stochastic=stochastic,
            answerers=who,
            origin=str(path),
        )

    return open_it


def on_participants(folder: str) -> Evaluation:
    """Each participant's answers one after another, in a random order and random names."""

    def open_it(data: DataFolders, seed: int) -> EvaluationEpisodes:
        path = human_folder(data, folder)
        episodes = read_folder(path)
        return EvaluationEpisodes(
            episodes,
            (shuffle_queries, rename),
            seed,
            expand=one_after_another,
            by_name=True,
            answerers=read_answerers(path, episodes),
            origin=str(path),
        )

    return open_it


def any_human(folder: str, *steps: Step) -> Training:
    """A random file of one folder of the human data for each presentation, then the steps."""

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        path = human_folder(data, folder)
        return Presented(AnyOf(read_folder(path), seed, origin=str(path)), steps, seed)

    return open_it


def gold_study_pairs(data: DataFolders, seed: int) -> TrainingEpisodes:
    """The 14 gold study pairs without any study context; each presentation is all of them."""
    gold = AnyOf((gold_episode(),), seed, VANILLA_PER_EPOCH, "the gold study examples")
    return Presented(gold, (copies_only, without_study), seed)


def mixture(**parts: Training) -> Training:
    """The parts in equal shares, each with draws of its own."""

    def open_it(data: DataFolders, seed: int) -> TrainingEpisodes:
        return Mixture(tuple(part(data, part_seed(seed, name)) for name, part in parts.items()))

    return open_it
