"""A curriculum: short lessons before the episodes of a type, clean targets before biased ones.

Trained plainly, a network sits long on a plateau before it retrieves anything from the study
examples. With few functions and short inputs retrieval is what there is to learn, and it takes a
few hundred small steps; docs/fast.md has the measurements.
"""

from dataclasses import dataclass, replace

from biml.episodes.datasets import (
    VALIDATION_SEED,
    EpisodeSampler,
    Further,
    HeldOut,
    InterleavedDataset,
    StreamDataset,
    TrainingEpisodes,
    TransformedDataset,
    canonical_grammars,
    holdout_grammars,
    mixture_seed,
    sample_validation_set,
    validation_episodes,
)
from biml.episodes.episode import Episode
from biml.episodes.sampling import (
    MAX_SIMPLE_LENGTH,
    sample_episode,
    sample_inference_episode,
    sample_long_query_episode,
    sample_single_function_episode,
)
from biml.episodes.transforms import (
    Transform,
    add_study_queries,
    limit_study_queries,
    shuffle_study,
)
from biml.grammar import Grammar, MetaGrammar
from biml.paths import DataFolders


@dataclass(frozen=True)
class CurriculumStage:
    """A number of presentations of episodes that are easier than those of the method."""

    n_episodes: int
    meta_grammar: MetaGrammar
    sampler: EpisodeSampler = sample_episode


STAGES = (
    # To find a word in the study examples and say its symbol.
    CurriculumStage(600, MetaGrammar(n_functions=1, max_input=4, n_study=8, n_query=8)),
    # To tell a function's two arguments apart, which takes several hops from query to answer.
    CurriculumStage(
        3000,
        MetaGrammar(n_functions=1, p_one_argument=0.15, n_study=8, n_query=8),
        sampler=sample_single_function_episode,
    ),
    # The same with several functions, to find the right one.
    CurriculumStage(1800, MetaGrammar(p_one_argument=0.3), sampler=sample_single_function_episode),
)

STUDY_QUERIES_KEPT = 4
"""Study examples that a clean episode asks for after the lessons; all would be more than half of
its queries."""


@dataclass(frozen=True)
class SequentialDataset:
    """Several kinds of training one after another.

    Attributes:
        parts: the kinds, each with the number of the first presentation that is not its own; None
            for the last, which goes on for ever.
    """

    parts: tuple[tuple[TrainingEpisodes, int | None], ...]

    @property
    def per_epoch(self) -> int:
        return self.parts[-1][0].per_epoch

    @property
    def origin(self) -> str:
        before = len(self.parts) - 1
        return f"{self.parts[-1][0].origin}, after {before} other kind{'s' * (before > 1)}"

    def episode(self, index: int) -> Episode:
        part = next(part for part, end in self.parts if end is None or index < end)
        return part.episode(index)


MAX_CURRICULUM_FRACTION = 0.3
"""The most of a run that lessons take; they are shortened alike where a run is short."""


def curriculum_stages(
    data: DataFolders,
    seed: int,
    custom_meta: MetaGrammar | None = None,
    n_episodes: int | None = None,
    n_algebraic: int | None = None,
    query_transform: Transform = add_study_queries,
) -> tuple[tuple[TrainingEpisodes, int], ...]:
    """The easier kinds, as parts of `InOrder`.

    Their grammars are of the meta-grammar, in part with fewer functions. Those of validation and
    the gold grammar are held out of them as of all training.

    Args:
        own: the meta-grammar of a language of one's own, whose words and symbols lessons take.
        presentations: of the whole run; None for one that is long enough.
        clean: the most that lessons may take in all; None for any number.
        asked: makes the queries of an episode.
    """
    held, apart = _held_out_grammars(data, custom_meta)
    parts = []
    whole = sum(lesson.n_episodes for lesson in STAGES)
    most = [whole if n_episodes is None else MAX_CURRICULUM_FRACTION * n_episodes]
    part = min(
        1.0, *(limit / whole for limit in (*most, whole if n_algebraic is None else n_algebraic))
    )
    end = 0
    for number, lesson in enumerate(STAGES):
        end += round(part * lesson.n_episodes)
        meta = _clip_sizes(custom_meta, lesson.meta_grammar) if custom_meta else lesson.meta_grammar
        lesson_seed = mixture_seed(seed, f"lesson {number}")
        source = StreamDataset(
            meta, lesson_seed, held, held_out_isomorphic=apart, sampler=lesson.sampler
        )
        parts.append((TransformedDataset(source, (shuffle_study, query_transform), seed), end))
    return tuple(parts)


def with_hard_episodes(
    episodes: TrainingEpisodes,
    data: DataFolders,
    seed: int,
    custom_meta: MetaGrammar | None = None,
    corruptions: tuple[Transform, ...] = (),
) -> TrainingEpisodes:
    """Episodes of a type, and two kinds that ask for what takes longest to learn.

    Of three episodes, one asks for long inputs alone (most queries of the method are short), and
    one for the meaning of words that its study examples do not show plainly. Of the first kind's
    study examples, which are learned first, only a few are asked for until the end. A language
    whose inputs are all plain has no harder ones.

    Args:
        own: as for `lessons`.
        late: what changes the targets of the harder ones, as it does those of the first kind.
    """
    held, apart = _held_out_grammars(data, custom_meta)
    meta = custom_meta or MetaGrammar()
    parts = [
        episodes
        if corruptions
        else Further(episodes, limit_study_queries(STUDY_QUERIES_KEPT), seed)
    ]
    kinds: list[tuple[str, EpisodeSampler]] = []
    if meta.n_functions and meta.max_input > MAX_SIMPLE_LENGTH:
        kinds = [
            ("compositions", sample_long_query_episode),
            ("deductions", sample_inference_episode),
        ]
    for name, draw in kinds:
        source = StreamDataset(
            meta, mixture_seed(seed, name), held, held_out_isomorphic=apart, sampler=draw
        )
        parts.append(TransformedDataset(source, (shuffle_study, *corruptions), seed))
    return InterleavedDataset(tuple(parts))


def _held_out_grammars(
    data: DataFolders, custom_meta: MetaGrammar | None
) -> tuple[HeldOut, tuple[Grammar, ...]]:
    """Grammars that no episode of training may have."""
    validation = (
        sample_validation_set(custom_meta, VALIDATION_SEED)
        if custom_meta
        else validation_episodes(data)
    )
    return canonical_grammars(validation), holdout_grammars(data)


def _clip_sizes(custom_meta: MetaGrammar, stage_meta: MetaGrammar) -> MetaGrammar:
    """A language of one's own in the size of a lesson, or in its own where that is smaller."""
    names = ("n_functions", "max_input", "n_study", "n_query")
    sizes = {name: min(getattr(custom_meta, name), getattr(stage_meta, name)) for name in names}
    return replace(custom_meta, **sizes)
