"""All episode types: one row each, read by the command line, the documentation and the tests.

A row is composed of where episodes come from (`recipes`, `sources`) and what is done to each before
it is shown (`steps`, `transforms`), for training and for evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from biml import plugins
from biml.episodes.curriculum import curriculum_stages, with_hard_episodes
from biml.episodes.datasets import (
    EpisodeDataset,
    EvaluationSet,
    InterleavedDataset,
    RandomChoiceDataset,
    SequentialDataset,
    TransformedDataset,
    mixture_seed,
    training_episodes,
    validation_episodes,
)
from biml.episodes.episode import Episode, Example
from biml.episodes.packed import read_episodes, read_human_episodes
from biml.episodes.sampling import sample_novel_rule_episodes
from biml.episodes.text_format import RESPONSES_FILE
from biml.episodes.transforms import (
    Transform,
    add_biases,
    add_noise,
    add_pool_to_study,
    add_slips,
    add_study_queries,
    autoregressive_episodes,
    drop_study,
    drop_undefined_responses,
    only_study_queries,
    random_study_query_split,
    remap,
    shuffle_queries,
    shuffle_study,
    subsample_study,
)
from biml.errors import BimlError, UsageError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.gold import GOLD_QUERIES, GOLD_STUDY
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.paths import DataFolders
from biml.vocabulary import Vocabulary


def novel_rules_evaluation(data: DataFolders, seed: int) -> EvaluationSet:
    """The evaluation of an episode type; it needs no data."""
    return EvaluationSet(sample_novel_rule_episodes(), (shuffle_study,), seed)


# === How episode types get their episodes: from the meta-grammar, the gold episode, people's an


TrainingFactory = Callable[[DataFolders, int], EpisodeDataset]

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

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        source = training_episodes(data, seed, meta)
        return TransformedDataset(source, (shuffle_study, *transforms), seed)

    return open_it


def validation_set(*transforms: Transform, meta: MetaGrammar | None = None) -> EvaluationFactory:
    """The meta-validation episodes, study shuffled, then the steps; `meta` as for `algebraic`."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        return EvaluationSet(validation_episodes(data, meta), (shuffle_study, *transforms), seed)

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
        return EvaluationSet(gold_episodes(data) * n_copies, transforms, seed, description=origin)

    return open_it


def human_responses(
    folder: str,
    *transforms: Transform,
    n_copies: int = 1,
    query_repeats: int = 1,
    varies: bool = True,
    file_holds: str = "query",
) -> EvaluationFactory:
    """The files of one folder of the human data, then the steps; every query `times` over."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, folder)
        return EvaluationSet(
            read_human_episodes(path, file_holds=file_holds) * n_copies,
            transforms,
            seed,
            query_repeats=query_repeats,
            varies=varies,
            is_imported=(path / RESPONSES_FILE).is_file(),
            description=str(path),
        )

    return open_it


def participant_sequences(folder: str) -> EvaluationFactory:
    """Each participant's answers one after another, in a random order and random names."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, folder)
        return EvaluationSet(
            read_human_episodes(path, file_holds="participant"),
            (shuffle_queries, remap),
            seed,
            expand=autoregressive_episodes,
            group_by_participant=True,
            is_imported=(path / RESPONSES_FILE).is_file(),
            description=str(path),
        )

    return open_it


def random_human_training(folder: str, *transforms: Transform) -> TrainingFactory:
    """A random file of one folder of the human data for each presentation, then the steps."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        path = human_folder(data, folder)
        return TransformedDataset(
            RandomChoiceDataset(read_episodes(path), seed, description=str(path)), transforms, seed
        )

    return open_it


def gold_pairs_training(data: DataFolders, seed: int) -> EpisodeDataset:
    """The 14 gold study pairs without any study context; each presentation is all of them."""
    gold = RandomChoiceDataset(
        (gold_episode(),), seed, "the gold study examples", VANILLA_PER_EPOCH
    )
    return TransformedDataset(gold, (only_study_queries, drop_study), seed)


def interleaved(**parts: TrainingFactory) -> TrainingFactory:
    """The parts in equal shares, each with draws of its own."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        return InterleavedDataset(
            tuple(part(data, mixture_seed(seed, name)) for name, part in parts.items())
        )

    return open_it


# === All episode types: one row each, read by the command line, the documentation and the tests


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

    def open_training(self, data: DataFolders, seed: int) -> EpisodeDataset:
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
    ) -> EpisodeDataset:
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
        first: tuple[tuple[EpisodeDataset, int], ...] = ()
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
        plugins.load_installed()
    if name not in EPISODE_TYPES:
        known = f"unknown episode type {name!r}; choose one of {', '.join(EPISODE_TYPES)}"
        raise UsageError(plugins.hint("episode type", name) or known)
    return EPISODE_TYPES[name]


def register_episode_type(row: EpisodeType) -> EpisodeType:
    """Add an episode type to those that commands and the report know; see `biml.plugins`.

    Raises:
        UsageError: the name is taken.
    """
    plugins.register(EPISODE_TYPES, "episode type", row.name, row)
    return row


_ALGEBRAIC = meta_training(add_study_queries)

_BIASES_AND_NOISE: tuple[Transform, ...] = (add_biases, add_noise)

_BIASED_TRANSFORMS: tuple[Transform, ...] = (add_study_queries, *_BIASES_AND_NOISE)

_SLIPS_AND_NOISE: tuple[Transform, ...] = (add_slips, partial(add_noise, p=0.03))


def _open_ended_training(folder: str) -> TrainingFactory:
    return random_human_training(
        f"{folder}/train", random_study_query_split, add_study_queries, remap
    )


def _joint_training(folder: str, *transforms: Transform) -> TrainingFactory:
    return interleaved(
        mlc=meta_training(*transforms),
        any_study=meta_training(partial(subsample_study, max_n=14), *transforms),
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
            shuffle_study, add_study_queries, remap, n_copies=N_REMAPPINGS
        ),
        remaps=True,
    ),
    EpisodeType(
        "few_shot_human",
        "people's answers in the few-shot task",
        evaluation=human_responses(FEW_SHOT_FOLDER, shuffle_study, remap),
        remaps=True,
    ),
    EpisodeType(
        "few_shot_human_mult10",
        "the same, every answer ten times over",
        evaluation=human_responses(FEW_SHOT_FOLDER, shuffle_study, remap, query_repeats=10),
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
        evaluation=human_responses(_FREEFORM_FOLDER, shuffle_queries, remap, n_copies=N_REMAPPINGS),
        remaps=True,
    ),
    EpisodeType(
        "probe_human",
        "people's answers in the probe task, ten times over, answers limited to a pool",
        evaluation=human_responses(
            PROBE_FOLDER, shuffle_study, remap, query_repeats=10, file_holds="trial"
        ),
        remaps=True,
        restrict_to_pool=True,
    ),
    # The supplement's probe fits are within-sample: the network learns from the answers of the same
    # 12 trials that it is scored on. So a presentation is a random trial with all its answers.
    EpisodeType(
        "probe_human_w_pool",
        "the probe task with the pool shown as a study example, trained on people's answers",
        data_source="people's answers in the probe task",
        training=random_human_training(PROBE_FOLDER, add_pool_to_study, shuffle_study, remap),
        evaluation=human_responses(
            PROBE_FOLDER,
            add_pool_to_study,
            shuffle_study,
            remap,
            query_repeats=10,
            file_holds="trial",
        ),
        remaps=True,
        restrict_to_pool=True,
    ),
)

EPISODE_TYPES: dict[str, EpisodeType] = {row.name: row for row in _ROWS}
"""By name, in the order of the paper's supplement."""
