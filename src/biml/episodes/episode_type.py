"""An episode type: what a model is trained and evaluated on, and factories of its episodes.

A factory is a function of data folders and a seed that opens the episodes. Those here read the
meta-grammar, the gold episode or human responses, and apply transforms in the order given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biml.episodes.corpus import Corpus, CorpusDataset
from biml.episodes.curriculum import curriculum_stages, sampled_episodes, with_hard_episodes
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
from biml.episodes.sampling import sample_novel_rule_episodes, sample_string_episode
from biml.episodes.text_format import RESPONSES_FILE
from biml.episodes.transforms import (
    Transform,
    add_study_queries,
    drop_study,
    only_study_queries,
    shuffle_study,
)
from biml.errors import BimlError, UsageError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.meta_grammar import COLOURS, GOLD_QUERIES, GOLD_STUDY, WORDS
from biml.paths import DataFolders
from biml.rng import derive_seed
from biml.vocabulary import Vocabulary

TrainingFactory = Callable[[DataFolders, int], EpisodeDataset]

EvaluationFactory = Callable[[DataFolders, int], EvaluationSet]

ValidationFactory = Callable[[DataFolders, int], list[Episode]]

CorpusFactory = Callable[[DataFolders], Corpus]

FEW_SHOT_FOLDER, PROBE_FOLDER = "few_shot/val_behavior", "data_behavior_probes/val"
"""Folders of `data_human` with responses."""

GOLD_FOLDER = "few_shot/val_gold"

WITHOUT_STUDY = ", without study examples (basic seq2seq)"

PARTS_VALIDATION = 40
"""Fresh episodes that validate a model which answers by parts."""

VANILLA_PER_EPOCH = 200
"""Presentations of the 14 gold pairs in an epoch: 8 steps of 25, as in released checkpoints."""

FEW_SHOT, OPEN_ENDED, PROBES = "few_shot", "open_ended", "probes"
"""Tasks with human responses."""

FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES = "few_shot_gold", "validation", "novel_rules"
"""Tasks with right answers only."""

SYSTEMATICITY = "systematicity"
"""Strings beyond the paper's queries; answers are compared with their readings."""

FOLDS = (1, 2, 3, 4, 5)
"""Groups of open-ended participants, each held out from the training of one model."""

PUBLISHED_VOCAB = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
"""The nine words and six colours of most episode types."""

CANONICAL_VOCAB = Vocabulary.from_words_and_symbols(GOLD.words, GOLD.symbols)
"""The names of the data files, such as `DAX` and `thrice` (`*_vanilla`)."""


@dataclass(frozen=True)
class EpisodeType:
    """What a model of this type is trained on and evaluated on.

    Attributes:
        name: as after `--episode_type`.
        summary: one line for readers.
        evaluation: opens the evaluation episodes, given data folders and a seed.
        training: opens the training episodes; None for evaluation only.
        algebraic_training: the same without biases and noise, for the start of a curriculum; None
            where training episodes have no grammars.
        corruptions: the transforms of `training` that change targets.
        study_queries_only: all queries are study-example queries, in training as well.
        vocabulary: the words and symbols of its episodes, or a function that reads them from data.
        meta_grammar: that of another language, which curriculum stages are sampled from.
        training_defaults: by preset, options of `biml train` with other defaults than usual.
        n_validation: episodes of its evaluation that validate during training; 0 for all.
        has_labels: whether its corpus gives labels of auxiliary losses.
        validation: opens the episodes that validate during training, if those are others.
        tests_training: whether some queries of its evaluation are training inputs.
        is_corpus: whether it is made of a corpus: words have fixed meanings outside of training,
            and error rates are reported by `Example.item` of the queries.
        test_types: the names of the types that test a model of a corpus.
        max_input, max_output: words of the longest input, and the default limit on the length of a
            response; at least those of `meta_grammar`.
        evaluation_task: the task that its evaluation presents.
        has_targets: whether its evaluation has answers to compare a model's with.
        tasks: those that a model trained on it can be evaluated on.
        uses_study: whether its episodes have study examples.
        fold: the participants held out from its training; 0 for none.
        data_sources: what its training learns from, for model cards.
        fitted_to: tasks to whose published responses rates of its training episodes were fitted.
        requirements: data folders without which it cannot be opened.
        label: of its models in tables and figures; by default the model's name.
        paper_model: the paper's model that it trains, for comparison with published values.
    """

    name: str
    summary: str
    evaluation: EvaluationFactory
    training: TrainingFactory | None = None
    algebraic_training: TrainingFactory | None = None
    corruptions: tuple[Transform, ...] = ()
    study_queries_only: bool = False
    vocabulary: Vocabulary | Callable[[DataFolders], Vocabulary] = PUBLISHED_VOCAB
    training_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    n_validation: int = 0
    has_labels: bool = False
    validation: ValidationFactory | None = None
    tests_training: bool = False
    is_corpus: bool = False
    test_types: tuple[str, ...] = ()
    meta_grammar: MetaGrammar | None = None
    max_input: int = 8
    max_output: int = 10
    evaluation_task: str = ""
    has_targets: bool = True
    tasks: tuple[str, ...] = ()
    uses_study: bool = True
    fold: int = 0
    data_sources: tuple[str, ...] = ()
    fitted_to: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    label: str = ""
    paper_model: str = ""

    def __post_init__(self) -> None:
        for name in ("max_input", "max_output") if self.meta_grammar else ():
            longest = max(getattr(self, name), getattr(self.meta_grammar, name))
            object.__setattr__(self, name, longest)

    @property
    def has_human_targets(self) -> bool:
        """Whether the targets of its evaluation are people's answers instead of correct ones."""
        return self.evaluation_task in (FEW_SHOT, OPEN_ENDED, PROBES)

    @property
    def supports_grammar_labels(self) -> bool:
        """Whether training episodes may get queries and labels that need their grammars."""
        return self.algebraic_training is not None and not self.study_queries_only

    @property
    def has_late_corruption(self) -> bool:
        """Whether a curriculum has biases or noise to bring in late."""
        return self.supports_grammar_labels and self.training is not self.algebraic_training

    def open_training(self, data: DataFolders, seed: int) -> EpisodeDataset:
        """All episodes of a training run; a BimlError states how to get missing data."""
        if self.training is None:
            raise UsageError(
                f"episode type {self.name} is for evaluation only; "
                "train on another one, such as algebraic+biases or cogs_train_targeted"
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
        """All episodes of a training run with a curriculum.

        First the curriculum stages, a limited share of the `n_episodes` of the run, unless the
        model has been through them; then, up to episode `n_algebraic`, episodes without biases and
        noise; then those of `open_training`. Harder episodes are mixed in after the stages. A type
        of study-example queries only has no harder ones, and one without grammars no curriculum.
        """
        training = self.open_training(data, seed)
        if self.algebraic_training is None:
            return training
        parts: list[tuple[EpisodeDataset, int | None]] = []
        meta = self.meta_grammar
        if with_stages:
            queries = only_study_queries if self.study_queries_only else add_study_queries
            parts += curriculum_stages(data, seed, meta, n_episodes, n_algebraic, queries)
        if not self.study_queries_only:
            algebraic = self.algebraic_training(data, seed)
            algebraic = with_hard_episodes(algebraic, data, seed, meta)
            if not self.has_late_corruption:
                return SequentialDataset((*parts, (algebraic, None)))
            parts.append((algebraic, n_algebraic))
            if self.corruptions:
                training = with_hard_episodes(training, data, seed, meta, self.corruptions)
        return SequentialDataset((*parts, (training, None)))

    def open_evaluation(self, data: DataFolders, seed: int) -> EvaluationSet:
        """The episodes that test a model."""
        return self.evaluation(data, seed)

    def open_validation(self, data: DataFolders, seed: int) -> list[Episode]:
        """The presented episodes that validate a model during training."""
        if self.validation:
            return self.validation(data, seed)
        evaluation = self.open_evaluation(data, seed)
        if self.n_validation:
            evaluation = evaluation.evenly_spaced(self.n_validation)
        return evaluation.repeat(0)

    def open_vocabulary(self, data: DataFolders) -> Vocabulary:
        """The words and symbols of its episodes."""
        return self.vocabulary if isinstance(self.vocabulary, Vocabulary) else self.vocabulary(data)


def gold_episode() -> Episode:
    """The gold episode of the human few-shot task, in canonical names."""

    def pairs(inputs: tuple[str, ...]) -> tuple[Example, ...]:
        words = (tuple(text.split()) for text in inputs)
        return tuple(Example(w, GOLD.interpret(w)) for w in words)

    return Episode(pairs(GOLD_STUDY), pairs(GOLD_QUERIES), grammar=GOLD, name="gold episode")


def gold_episodes(data: DataFolders) -> tuple[Episode, ...]:
    """The few-shot task with its right answers, of an imported experiment or as published.

    An imported experiment has a file for each study set.
    """
    human = data.get("data_human")
    gold = gold_episode()
    if human is not None and (human / GOLD_FOLDER).is_dir():
        found = read_episodes(human / GOLD_FOLDER)
        # The published file has our examples in another order, which would change every draw.
        known = (set(gold.study), set(gold.queries))
        is_gold = all((set(e.study), set(e.queries)) == known for e in found)
        return (gold,) if is_gold else found
    if human and (human / FEW_SHOT_FOLDER / RESPONSES_FILE).is_file():
        raise BimlError(f"no folder {human / GOLD_FOLDER}; import the experiment again")
    return (gold,)


def human_folder(data: DataFolders, folder: str) -> Path:
    """A folder of human responses; a BimlError states how to get a missing one."""
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


def string_training(*transforms: Transform) -> TrainingFactory:
    """Train on queries that are any strings of an episode's words (`sample_string_episode`)."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        stream = sampled_episodes(data, MetaGrammar(), None, seed, sample_string_episode)
        return TransformedDataset(stream, (shuffle_study, *transforms), seed)

    return open_it


def validation_set(*transforms: Transform, meta: MetaGrammar | None = None) -> EvaluationFactory:
    """Evaluate on validation episodes; study examples keep their order, as published."""
    return lambda data, seed: EvaluationSet(validation_episodes(data, meta), transforms, seed)


def gold_set(*transforms: Transform) -> EvaluationFactory:
    """Evaluate on the right answers of the published few-shot task, which needs no data."""
    return lambda data, seed: EvaluationSet((gold_episode(),), transforms, seed)


def gold_set_from_data(*transforms: Transform, n_copies: int) -> EvaluationFactory:
    """Evaluate on the right answers of the experiment found, each study set `n_copies` times."""

    def open_it(data: DataFolders, seed: int) -> EvaluationSet:
        where = str(data.get("data_human") or "the published task")
        return EvaluationSet(gold_episodes(data) * n_copies, transforms, seed, description=where)

    return open_it


def novel_rules_evaluation(data: DataFolders, seed: int) -> EvaluationSet:
    """Evaluate on rules held out from training, which needs no data."""
    return EvaluationSet(sample_novel_rule_episodes(), (shuffle_study,), seed)


@dataclass(frozen=True)
class HumanResponses:
    """The evaluation on a folder of human responses; those of one `participant` autoregressively.

    `file_holds` is that of `read_human_episodes`; the other options are those of `EvaluationSet`.
    """

    folder: str
    transforms: tuple[Transform, ...]
    n_copies: int = 1
    query_repeats: int = 1
    file_holds: str = "query"

    def __call__(self, data: DataFolders, seed: int) -> EvaluationSet:
        path = human_folder(data, self.folder)
        episodes = read_human_episodes(path, file_holds=self.file_holds) * self.n_copies
        is_imported = (path / RESPONSES_FILE).is_file()
        return self.of(episodes, seed, is_imported=is_imported, description=str(path))

    def of(self, episodes: tuple[Episode, ...], seed: int, **about: Any) -> EvaluationSet:
        """The same of responses from elsewhere."""
        return EvaluationSet(
            episodes,
            self.transforms,
            seed,
            query_repeats=self.query_repeats,
            autoregressive=self.file_holds == "participant",
            **about,
        )


def human_responses(folder: str, *transforms: Transform, **options: Any) -> HumanResponses:
    """Evaluate on a folder of human responses; see `HumanResponses`."""
    return HumanResponses(folder, transforms, **options)


def random_human_training(folder: str, *transforms: Transform) -> TrainingFactory:
    """Train on random files of a folder of human responses."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        path = human_folder(data, folder)
        files = RandomChoiceDataset(read_episodes(path), seed, str(path))
        return TransformedDataset(files, transforms, seed)

    return open_it


def gold_pairs_training(data: DataFolders, seed: int) -> EpisodeDataset:
    """Train on the 14 gold study pairs as queries, without study examples."""
    description = "the gold study examples"
    gold = RandomChoiceDataset((gold_episode(),), seed, description, VANILLA_PER_EPOCH)
    return TransformedDataset(gold, (only_study_queries, drop_study), seed)


def interleaved(**parts: TrainingFactory) -> TrainingFactory:
    """Train on several parts in equal shares, each with draws of its own; epochs add up."""

    def open_it(data: DataFolders, seed: int) -> EpisodeDataset:
        opened = tuple(part(data, mixture_seed(seed, name)) for name, part in parts.items())
        return InterleavedDataset(opened, sum(map(len, opened)))

    return open_it


def corpus_type(
    name: str,
    summary: str,
    open_corpus: CorpusFactory,
    *,
    tests: Sequence[str] | None = None,
    n_study: int | None = None,
    is_trained: bool = True,
    uses_study: bool = True,
    by_parts: bool = False,
    vocabulary: Vocabulary | None = None,
    test_types: Sequence[str] = (),
    **details: Any,
) -> EpisodeType:
    """The episode type of a corpus and some of its test sets (by default all).

    `n_study` is the size of study sets in the evaluation, where it is not that of the corpus. With
    `by_parts`, responses may quote phrases (`biml.episodes.parts`). `test_types` are by default
    this type alone.
    """

    def opened(data: DataFolders) -> Corpus:
        corpus = open_corpus(data)
        if by_parts:
            return replace(corpus, by_parts=True, n_study_queries=0)
        return corpus if uses_study else corpus.without_study()

    def parts_validation(data: DataFolders, seed: int) -> list[Episode]:
        # A test target may have no decomposition into phrases of training pairs.
        episodes = CorpusDataset(opened(data), derive_seed(seed, "validation"), n_queries=8)
        return [episodes[index] for index in range(PARTS_VALIDATION)]

    return EpisodeType(
        name,
        summary,
        evaluation=lambda data, seed: opened(data).evaluation(seed, tests, n_study=n_study),
        training=(lambda data, seed: CorpusDataset(opened(data), seed)) if is_trained else None,
        validation=parts_validation if by_parts else None,
        uses_study=uses_study,
        is_corpus=True,
        test_types=tuple(test_types) or (name,),
        vocabulary=vocabulary or (lambda data: opened(data).vocabulary),
        **details,
    )
