"""All episode types: one row each, read by the command line, the documentation and the tests.

A row is composed of where episodes come from (`recipes`, `sources`) and what is done to each before
it is shown (`steps`, `transforms`), for training and for evaluation.
"""

from dataclasses import dataclass
from functools import partial

from biml.episodes.episode import COLOURS, WORDS
from biml.episodes.lessons import InOrder, lessons, with_harder_ones
from biml.episodes.locate import DataFolders
from biml.episodes.novel_rules import on_novel_rules
from biml.episodes.open_ended import shuffle_queries, split_at_random
from biml.episodes.present import EvaluationEpisodes, Step, TrainingEpisodes
from biml.episodes.probes import pool_in_study
from biml.episodes.recipes import (
    HUMAN,
    PROBES,
    Evaluation,
    Training,
    algebraic,
    any_human,
    gold_study_pairs,
    mixture,
    on_gold,
    on_gold_found,
    on_human,
    on_participants,
    on_validation,
)
from biml.episodes.steps import (
    copies_only,
    copies_too,
    keep_up_to,
    rename,
    without_study,
    without_undefined,
)
from biml.episodes.transforms import add_biases, add_noise, add_slips, shuffle_study
from biml.errors import UsageError
from biml.grammar import GOLD, MetaGrammar
from biml.vocabulary import Vocabulary

PUBLISHED = Vocabulary.of(WORDS, COLOURS)
"""The nine words and six colours of all episode types but the two below."""

CANONICAL = Vocabulary.of(GOLD.words, GOLD.symbols)
"""The names `1 2 3 DAX thrice surround after` as they stand (`*_vanilla`)."""

REMAPPINGS = 100
"""Renamings of the gold episode, and free-form sheets, that an evaluation asks for."""


@dataclass(frozen=True)
class EpisodeType:
    """What a model of this type is trained on and asked.

    Attributes:
        name: as after `--episode_type`.
        summary: one line for people.
        evaluation: opens the evaluation, given data folders and a seed.
        training: opens the training, given data folders and a seed; None where there is none.
        clean: opens the same without biases and noise, for a curriculum to begin with; None where
            the training does not draw grammars.
        late: the steps of `training` that change targets, which a curriculum brings in late.
        vocabulary: the symbols that its episodes are shown in.
        meta: of a language of one's own, which the lessons of a curriculum are drawn from.
        learns_from: what its training episodes are made of, for model cards; says so where people's
            answers are among it.
        remapped: canonical names are renamed at random for each presentation.
        copies_alone: all queries are study examples, in training as well.
        masked_pool: answers may only use the symbols of an episode's pool.
    """

    name: str
    summary: str
    evaluation: Evaluation
    training: Training | None = None
    clean: Training | None = None
    late: tuple[Step, ...] = ()
    learns_from: str = ""
    vocabulary: Vocabulary = PUBLISHED
    meta: MetaGrammar | None = None
    remapped: bool = False
    masked_pool: bool = False
    copies_alone: bool = False

    @property
    def teaches_rules(self) -> bool:
        """Whether training may ask and tell anything new about the grammars that it draws."""
        return self.clean is not None and not self.copies_alone

    @property
    def brings_in(self) -> bool:
        """Whether a curriculum has something to bring in late; else `training` is `clean`."""
        return self.teaches_rules and self.training is not self.clean

    def open_training(self, data: DataFolders, seed: int) -> TrainingEpisodes:
        """All presentations of a training run.

        Raises:
            UsageError: this type is for evaluation only.
            BimlError: its data are not found; the message says how to get them.
        """
        if self.training is None:
            trainable = ", ".join(name for name, row in EPISODE_TYPES.items() if row.training)
            raise UsageError(
                f"episode type {self.name} is for evaluation only; "
                f"there is training for {trainable}"
            )
        return self.training(data, seed)

    def open_curriculum(
        self,
        data: DataFolders,
        seed: int,
        clean: int,
        presentations: int | None = None,
        *,
        with_lessons: bool = True,
    ) -> TrainingEpisodes:
        """All presentations of a training run that begins with easier ones.

        First come lessons (unless the model has passed them already), then the type's episodes
        without biases and noise, and others that ask for harder things, up to presentation number
        `clean`, then those of `open_training`, and the harder ones with its biases and noise. A
        type that must never be asked anything new has lessons in copying alone, and one that draws
        no grammars is trained as it is.

        Args:
            presentations: of the whole run, of which lessons take a part only.
        """
        training = self.open_training(data, seed)
        if self.clean is None:
            return training
        first: tuple[tuple[TrainingEpisodes, int], ...] = ()
        if with_lessons:
            asked = copies_only if self.copies_alone else copies_too
            first = lessons(data, seed, self.meta, presentations, clean, asked)
        if self.copies_alone:
            return InOrder((*first, (training, None)))
        before = with_harder_ones(self.clean(data, seed), data, seed, self.meta)
        if not self.brings_in:
            return InOrder((*first, (before, None)))
        after = training
        if self.late:
            after = with_harder_ones(training, data, seed, self.meta, self.late)
        return InOrder((*first, (before, clean), (after, None)))

    def open_evaluation(self, data: DataFolders, seed: int) -> EvaluationEpisodes:
        """What is asked to validate or test a model.

        Raises:
            BimlError: its data are not found; the message says how to get them.
        """
        return self.evaluation(data, seed)


def episode_type(name: str) -> EpisodeType:
    """The row called `name`.

    Raises:
        UsageError: there is none; the message lists them all.
    """
    if name not in EPISODE_TYPES:
        raise UsageError(f"unknown episode type {name!r}; choose one of {', '.join(EPISODE_TYPES)}")
    return EPISODE_TYPES[name]


_CLEAN = algebraic(copies_too)
_LATE: tuple[Step, ...] = (add_biases, add_noise)
_BIASED: tuple[Step, ...] = (copies_too, *_LATE)
_SLIPS: tuple[Step, ...] = (add_slips, partial(add_noise, p=0.03))


def _open_ended(folder: str) -> Training:
    return any_human(f"{folder}/train", split_at_random, copies_too, rename)


def _joint(folder: str, *steps: Step) -> Training:
    return mixture(
        mlc=algebraic(*steps),
        any_study=algebraic(keep_up_to(14), *steps),
        open_ended=_open_ended(folder),
    )


_DRAWN = "episodes of the meta-grammar"
_PEOPLE = "people's answers in the open-ended task"

_FREEFORM = "open_ended_all/mock"
_PLAIN = on_validation(copies_too)
"""How all algebraic types are validated: clean targets, study examples asked too."""

_ROWS = (
    EpisodeType(
        "retrieve",
        "copy only: the queries are the study examples",
        learns_from=_DRAWN,
        training=algebraic(copies_only),
        clean=algebraic(copies_only),
        copies_alone=True,
        evaluation=on_validation(copies_only),
    ),
    EpisodeType(
        "algebraic",
        "algebraic outputs",
        learns_from=_DRAWN,
        training=_CLEAN,
        clean=_CLEAN,
        evaluation=_PLAIN,
    ),
    EpisodeType(
        "algebraic_noise",
        'algebraic outputs with noise ("MLC (algebraic only)")',
        learns_from=_DRAWN,
        training=algebraic(copies_too, add_noise),
        clean=_CLEAN,
        late=(add_noise,),
        evaluation=_PLAIN,
    ),
    EpisodeType(
        "algebraic+biases",
        'algebraic outputs with people\'s biases and noise ("MLC", "BIML")',
        learns_from=_DRAWN,
        training=algebraic(*_BIASED),
        clean=_CLEAN,
        late=_LATE,
        evaluation=_PLAIN,
    ),
    EpisodeType(
        "algebraic+slips",
        "algebraic outputs with slips and noise as frequent as people's",
        learns_from=_DRAWN,
        training=algebraic(copies_too, *_SLIPS),
        clean=_CLEAN,
        late=_SLIPS,
        evaluation=_PLAIN,
    ),
    EpisodeType(
        "novel_rules",
        "26 rules that no drawn training grammar has, 5 episodes each",
        evaluation=on_novel_rules,
    ),
    EpisodeType(
        "few_shot_gold",
        "the correct answers of the human few-shot task, under 100 renamings",
        evaluation=on_gold_found(shuffle_study, copies_too, rename, copies=REMAPPINGS),
        remapped=True,
    ),
    EpisodeType(
        "few_shot_human",
        "people's answers in the few-shot task",
        evaluation=on_human(HUMAN, shuffle_study, rename),
        remapped=True,
    ),
    EpisodeType(
        "few_shot_human_mult10",
        "the same, every answer ten times over",
        evaluation=on_human(HUMAN, shuffle_study, rename, times=10),
        remapped=True,
    ),
    EpisodeType(
        "few_shot_vanilla",
        "the few-shot task without study context (basic seq2seq)",
        learns_from="the 14 study examples of the few-shot task",
        training=gold_study_pairs,
        evaluation=on_gold(copies_too, without_study, stochastic=False),
        vocabulary=CANONICAL,
    ),
    EpisodeType(
        "human_vanilla",
        "people's answers in the few-shot task without study context",
        evaluation=on_human(HUMAN, without_study, without_undefined, stochastic=False),
        vocabulary=CANONICAL,
    ),
    EpisodeType(
        "open_end_human_all",
        "all participants of the open-ended task",
        learns_from=_PEOPLE,
        training=_open_ended("open_ended_all"),
        evaluation=on_participants("open_ended_all/val"),
        remapped=True,
    ),
    *(
        EpisodeType(
            f"open_end_human_cross{fold}",
            f"participants of the open-ended task, fold {fold} held out",
            learns_from=_PEOPLE,
            training=_open_ended(f"open_ended_cross{fold}"),
            evaluation=on_participants(f"open_ended_cross{fold}/val"),
            remapped=True,
        )
        for fold in range(1, 6)
    ),
    *(
        EpisodeType(
            f"joint_cross{fold}",
            f"few-shot and open-ended training in one, fold {fold} held out",
            learns_from=f"{_DRAWN}; {_PEOPLE}",
            training=_joint(f"open_ended_cross{fold}", *_BIASED),
            clean=_joint(f"open_ended_cross{fold}", copies_too),
            evaluation=on_participants(f"open_ended_cross{fold}/val"),
            remapped=True,
        )
        for fold in range(1, 6)
    ),
    EpisodeType(
        "joint",
        'few-shot and open-ended training in one, every participant ("MLC (joint)")',
        learns_from=f"{_DRAWN}; {_PEOPLE}",
        training=_joint("open_ended_all", *_BIASED),
        clean=_joint("open_ended_all", copies_too),
        evaluation=_PLAIN,
    ),
    EpisodeType(
        "open_end_freeform",
        "the open-ended inputs, to be answered one by one from nothing",
        evaluation=on_human(_FREEFORM, shuffle_queries, rename, copies=REMAPPINGS),
        remapped=True,
    ),
    EpisodeType(
        "probe_human",
        "people's answers in the probe task, ten times over, answers limited to a pool",
        evaluation=on_human(PROBES, shuffle_study, rename, times=10),
        remapped=True,
        masked_pool=True,
    ),
    # The supplement's probe fits are within-sample: the network learns from the answers of the same
    # 12 trials that it is scored on. So a presentation is a random trial with all its answers.
    EpisodeType(
        "probe_human_w_pool",
        "the probe task with the pool shown as a study example, trained on people's answers",
        learns_from="people's answers in the probe task",
        training=any_human(PROBES, pool_in_study, shuffle_study, rename),
        evaluation=on_human(PROBES, pool_in_study, shuffle_study, rename, times=10),
        remapped=True,
        masked_pool=True,
    ),
)

EPISODE_TYPES: dict[str, EpisodeType] = {row.name: row for row in _ROWS}
"""By name, in the order of the paper's supplement."""
