"""An episode type: what a model is trained on and evaluated on."""

from dataclasses import dataclass

from biml.episodes.curriculum import curriculum_stages, with_hard_episodes
from biml.episodes.datasets import EpisodeDataset, EvaluationSet, SequentialDataset
from biml.episodes.sources import EvaluationFactory, TrainingFactory
from biml.episodes.transforms import Transform, add_study_queries, only_study_queries
from biml.errors import UsageError
from biml.grammar import GOLD, MetaGrammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.paths import DataFolders
from biml.vocabulary import Vocabulary

FEW_SHOT, OPEN_ENDED, PROBES = "few_shot", "open_ended", "probes"
"""Tasks with human responses."""

FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES = "few_shot_gold", "validation", "novel_rules"
"""Tasks with right answers only."""

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
        vocabulary: the words and symbols of its episodes.
        meta_grammar: that of another language, which curriculum stages are sampled from.
        max_input, max_output: words of the longest input, and the default limit on the length of a
            response; at least those of `meta_grammar`.
        evaluation_task: the task that its evaluation presents.
        has_targets: whether its evaluation has answers to compare a model's with.
        tasks: those that a model trained on it can be evaluated on.
        uses_study: whether its episodes have study examples.
        fold: the participants held out from its training; 0 for none.
        data_sources: what its training learns from, for model cards.
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
    vocabulary: Vocabulary = PUBLISHED_VOCAB
    meta_grammar: MetaGrammar | None = None
    max_input: int = 8
    max_output: int = 10
    evaluation_task: str = ""
    has_targets: bool = True
    tasks: tuple[str, ...] = ()
    uses_study: bool = True
    fold: int = 0
    data_sources: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    label: str = ""
    paper_model: str = ""

    def __post_init__(self) -> None:
        if self.meta_grammar is not None:
            for name in ("max_input", "max_output"):
                longest = max(getattr(self, name), getattr(self.meta_grammar, name))
                object.__setattr__(self, name, longest)

    @property
    def supports_grammar_labels(self) -> bool:
        """Whether training episodes may get queries and labels that need their grammars."""
        return self.algebraic_training is not None and not self.study_queries_only

    @property
    def has_late_corruption(self) -> bool:
        """Whether a curriculum has biases or noise to bring in late."""
        return self.supports_grammar_labels and self.training is not self.algebraic_training

    def open_training(self, data: DataFolders, seed: int) -> EpisodeDataset:
        """All episodes of a training run.

        Raises:
            UsageError: this type is for evaluation only.
            BimlError: its data are not found; the message says how to get them.
        """
        if self.training is None:
            raise UsageError(
                f"episode type {self.name} is for evaluation only; "
                "train on another one, such as algebraic+biases"
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

        First the curriculum stages; then, up to episode `n_algebraic`, episodes without biases and
        noise; then those of `open_training`. Harder episodes are mixed in after the stages. A type
        of study-example queries only has no harder ones, and one without grammars no curriculum.

        Args:
            n_episodes: of the whole run, of which the stages take a limited share.
            with_stages: False where the model has been through them.
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
        """The episodes that validate or test a model.

        Raises:
            BimlError: its data are not found; the message says how to get them.
        """
        return self.evaluation(data, seed)
