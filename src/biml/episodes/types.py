"""All episode types: one row each, read by the command line, the documentation and the tests.

A row is composed of where episodes come from (`recipes`, `sources`) and what is done to each before
it is shown (`steps`, `transforms`), for training and for evaluation.
"""

from dataclasses import dataclass
from functools import partial

from biml.episodes.episode import COLOURS, WORDS
from biml.episodes.lessons import SequentialDataset, curriculum_stages, with_hard_episodes
from biml.episodes.locate import DataFolders
from biml.episodes.novel_rules import novel_rules_evaluation
from biml.episodes.open_ended import shuffle_queries, random_study_query_split
from biml.episodes.present import EvaluationSet, Transform, TrainingEpisodes
from biml.episodes.probes import add_pool_to_study
from biml.episodes.recipes import (
    FEW_SHOT_FOLDER,
    PROBE_FOLDER,
    EvaluationFactory,
    TrainingFactory,
    meta_training,
    random_human_training,
    gold_pairs_training,
    interleaved,
    gold_set,
    gold_set_from_data,
    human_responses,
    participant_sequences,
    validation_set,
)
from biml.episodes.steps import (
    only_study_queries,
    add_study_queries,
    subsample_study,
    remap_published,
    drop_study,
    drop_undefined_responses,
)
from biml.episodes.transforms import add_biases, add_noise, add_slips, shuffle_study
from biml.errors import UsageError
from biml.grammar import GOLD, MetaGrammar
from biml.vocabulary import Vocabulary

PUBLISHED_VOCAB = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
"""The nine words and six colours of all episode types but the two below."""

CANONICAL_VOCAB = Vocabulary.from_words_and_symbols(GOLD.words, GOLD.symbols)
"""The names `1 2 3 DAX thrice surround after` as they stand (`*_vanilla`)."""

N_REMAPPINGS = 100
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
    evaluation: EvaluationFactory
    training: TrainingFactory | None = None
    algebraic_training: TrainingFactory | None = None
    corruptions: tuple[Transform, ...] = ()
    data_source: str = ""
    vocabulary: Vocabulary = PUBLISHED_VOCAB
    meta_grammar: MetaGrammar | None = None
    remaps: bool = False
    restrict_to_pool: bool = False
    study_queries_only: bool = False

    @property
    def supports_grammar_labels(self) -> bool:
        """Whether training may ask and tell anything new about the grammars that it draws."""
        return self.algebraic_training is not None and not self.study_queries_only

    @property
    def has_late_corruption(self) -> bool:
        """Whether a curriculum has something to bring in late; else `training` is `clean`."""
        return self.supports_grammar_labels and self.training is not self.algebraic_training

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
        n_algebraic: int,
        n_episodes: int | None = None,
        *,
        with_stages: bool = True,
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
        if self.algebraic_training is None:
            return training
        first: tuple[tuple[TrainingEpisodes, int], ...] = ()
        if with_stages:
            asked = only_study_queries if self.study_queries_only else add_study_queries
            first = curriculum_stages(data, seed, self.meta_grammar, n_episodes, n_algebraic, asked)
        if self.study_queries_only:
            return SequentialDataset((*first, (training, None)))
        before = with_hard_episodes(
            self.algebraic_training(data, seed), data, seed, self.meta_grammar
        )
        if not self.has_late_corruption:
            return SequentialDataset((*first, (before, None)))
        after = training
        if self.corruptions:
            after = with_hard_episodes(training, data, seed, self.meta_grammar, self.corruptions)
        return SequentialDataset((*first, (before, n_algebraic), (after, None)))

    def open_evaluation(self, data: DataFolders, seed: int) -> EvaluationSet:
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


_ALGEBRAIC = meta_training(add_study_queries)
_BIASES_AND_NOISE: tuple[Transform, ...] = (add_biases, add_noise)
_BIASED_TRANSFORMS: tuple[Transform, ...] = (add_study_queries, *_BIASES_AND_NOISE)
_SLIPS_AND_NOISE: tuple[Transform, ...] = (add_slips, partial(add_noise, p=0.03))


def _open_ended_training(folder: str) -> TrainingFactory:
    return random_human_training(
        f"{folder}/train", random_study_query_split, add_study_queries, remap_published
    )


def _joint_training(folder: str, *transforms: Transform) -> TrainingFactory:
    return interleaved(
        mlc=meta_training(*transforms),
        any_study=meta_training(subsample_study(14), *transforms),
        open_ended=_open_ended_training(folder),
    )


_META_GRAMMAR_DATA = "episodes of the meta-grammar"
_OPEN_ENDED_DATA = "people's answers in the open-ended task"

_FREEFORM_FOLDER = "open_ended_all/mock"
_ALGEBRAIC_VALIDATION = validation_set(add_study_queries)
"""How all algebraic types are validated: clean targets, study examples asked too."""

_ROWS = (
    EpisodeType(
        "retrieve",
        "copy only: the queries are the study examples",
        data_source=_META_GRAMMAR_DATA,
        training=meta_training(only_study_queries),
        algebraic_training=meta_training(only_study_queries),
        study_queries_only=True,
        evaluation=validation_set(only_study_queries),
    ),
    EpisodeType(
        "algebraic",
        "algebraic outputs",
        data_source=_META_GRAMMAR_DATA,
        training=_ALGEBRAIC,
        algebraic_training=_ALGEBRAIC,
        evaluation=_ALGEBRAIC_VALIDATION,
    ),
    EpisodeType(
        "algebraic_noise",
        'algebraic outputs with noise ("MLC (algebraic only)")',
        data_source=_META_GRAMMAR_DATA,
        training=meta_training(add_study_queries, add_noise),
        algebraic_training=_ALGEBRAIC,
        corruptions=(add_noise,),
        evaluation=_ALGEBRAIC_VALIDATION,
    ),
    EpisodeType(
        "algebraic+biases",
        'algebraic outputs with people\'s biases and noise ("MLC", "BIML")',
        data_source=_META_GRAMMAR_DATA,
        training=meta_training(*_BIASED_TRANSFORMS),
        algebraic_training=_ALGEBRAIC,
        corruptions=_BIASES_AND_NOISE,
        evaluation=_ALGEBRAIC_VALIDATION,
    ),
    EpisodeType(
        "algebraic+slips",
        "algebraic outputs with slips and noise as frequent as people's",
        data_source=_META_GRAMMAR_DATA,
        training=meta_training(add_study_queries, *_SLIPS_AND_NOISE),
        algebraic_training=_ALGEBRAIC,
        corruptions=_SLIPS_AND_NOISE,
        evaluation=_ALGEBRAIC_VALIDATION,
    ),
    EpisodeType(
        "novel_rules",
        "26 rules that no drawn training grammar has, 5 episodes each",
        evaluation=novel_rules_evaluation,
    ),
    EpisodeType(
        "few_shot_gold",
        "the correct answers of the human few-shot task, under 100 renamings",
        evaluation=gold_set_from_data(
            shuffle_study, add_study_queries, remap_published, n_copies=N_REMAPPINGS
        ),
        remaps=True,
    ),
    EpisodeType(
        "few_shot_human",
        "people's answers in the few-shot task",
        evaluation=human_responses(FEW_SHOT_FOLDER, shuffle_study, remap_published),
        remaps=True,
    ),
    EpisodeType(
        "few_shot_human_mult10",
        "the same, every answer ten times over",
        evaluation=human_responses(
            FEW_SHOT_FOLDER, shuffle_study, remap_published, query_repeats=10
        ),
        remaps=True,
    ),
    EpisodeType(
        "few_shot_vanilla",
        "the few-shot task without study context (basic seq2seq)",
        data_source="the 14 study examples of the few-shot task",
        training=gold_pairs_training,
        evaluation=gold_set(add_study_queries, drop_study, varies=False),
        vocabulary=CANONICAL_VOCAB,
    ),
    EpisodeType(
        "human_vanilla",
        "people's answers in the few-shot task without study context",
        evaluation=human_responses(
            FEW_SHOT_FOLDER, drop_study, drop_undefined_responses, varies=False
        ),
        vocabulary=CANONICAL_VOCAB,
    ),
    EpisodeType(
        "open_end_human_all",
        "all participants of the open-ended task",
        data_source=_OPEN_ENDED_DATA,
        training=_open_ended_training("open_ended_all"),
        evaluation=participant_sequences("open_ended_all/val"),
        remaps=True,
    ),
    *(
        EpisodeType(
            f"open_end_human_cross{fold}",
            f"participants of the open-ended task, fold {fold} held out",
            data_source=_OPEN_ENDED_DATA,
            training=_open_ended_training(f"open_ended_cross{fold}"),
            evaluation=participant_sequences(f"open_ended_cross{fold}/val"),
            remaps=True,
        )
        for fold in range(1, 6)
    ),
    *(
        EpisodeType(
            f"joint_cross{fold}",
            f"few-shot and open-ended training in one, fold {fold} held out",
            data_source=f"{_META_GRAMMAR_DATA}; {_OPEN_ENDED_DATA}",
            training=_joint_training(f"open_ended_cross{fold}", *_BIASED_TRANSFORMS),
            algebraic_training=_joint_training(f"open_ended_cross{fold}", add_study_queries),
            evaluation=participant_sequences(f"open_ended_cross{fold}/val"),
            remaps=True,
        )
        for fold in range(1, 6)
    ),
    EpisodeType(
        "joint",
        'few-shot and open-ended training in one, every participant ("MLC (joint)")',
        data_source=f"{_META_GRAMMAR_DATA}; {_OPEN_ENDED_DATA}",
        training=_joint_training("open_ended_all", *_BIASED_TRANSFORMS),
        algebraic_training=_joint_training("open_ended_all", add_study_queries),
        evaluation=_ALGEBRAIC_VALIDATION,
    ),
    EpisodeType(
        "open_end_freeform",
        "the open-ended inputs, to be answered one by one from nothing",
        evaluation=human_responses(
            _FREEFORM_FOLDER, shuffle_queries, remap_published, n_copies=N_REMAPPINGS
        ),
        remaps=True,
    ),
    EpisodeType(
        "probe_human",
        "people's answers in the probe task, ten times over, answers limited to a pool",
        evaluation=human_responses(PROBE_FOLDER, shuffle_study, remap_published, query_repeats=10),
        remaps=True,
        restrict_to_pool=True,
    ),
    # The supplement's probe fits are within-sample: the network learns from the answers of the same
    # 12 trials that it is scored on. So a presentation is a random trial with all its answers.
    EpisodeType(
        "probe_human_w_pool",
        "the probe task with the pool shown as a study example, trained on people's answers",
        data_source="people's answers in the probe task",
        training=random_human_training(
            PROBE_FOLDER, add_pool_to_study, shuffle_study, remap_published
        ),
        evaluation=human_responses(
            PROBE_FOLDER, add_pool_to_study, shuffle_study, remap_published, query_repeats=10
        ),
        remaps=True,
        restrict_to_pool=True,
    ),
)

EPISODE_TYPES: dict[str, EpisodeType] = {row.name: row for row in _ROWS}
"""By name, in the order of the paper's supplement."""
