"""A curriculum: easier episodes at the start of training, biased and noisy targets only later.

Trained on its own episodes alone, a network stays long on a plateau before it retrieves anything
from the study examples. With few functions and short inputs, retrieval is all there is to learn,
and it takes a few hundred small steps (measurements: docs/training-log.md).
"""

from dataclasses import dataclass, replace
from functools import partial

from biml.episodes.datasets import (
    EpisodeDataset,
    EpisodeSampler,
    InterleavedDataset,
    StreamDataset,
    TransformedDataset,
    canonical_grammars,
    holdout_grammars,
    mixture_seed,
    transform_further,
    validation_episodes,
)
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
from biml.grammar import MetaGrammar
from biml.paths import DataFolders


@dataclass(frozen=True)
class CurriculumStage:
    """A curriculum stage: n episodes from an easier meta-grammar."""

    n_episodes: int
    meta_grammar: MetaGrammar
    sampler: EpisodeSampler = sample_episode


STAGES = (
    # Find a word in the study examples and output its symbol.
    CurriculumStage(600, MetaGrammar(n_functions=1, max_input=4, n_study=8, n_query=8)),
    # Tell a function's two arguments apart, which takes several steps of attention.
    CurriculumStage(
        3000,
        MetaGrammar(n_functions=1, p_one_argument=0.15, n_study=8, n_query=8),
        sampler=sample_single_function_episode,
    ),
    # The same with several functions: find the right one.
    CurriculumStage(1800, MetaGrammar(p_one_argument=0.3), sampler=sample_single_function_episode),
)

MAX_CURRICULUM_FRACTION = 0.3
"""The stages' largest share of a run; in shorter runs all are shortened in proportion."""

STUDY_QUERIES_KEPT = 4
"""Study-example queries of an episode after the stages and before biases; all of them would be more
than half of its queries."""


def curriculum_stages(
    data: DataFolders,
    seed: int,
    custom_meta: MetaGrammar | None = None,
    n_episodes: int | None = None,
    n_algebraic: int | None = None,
    query_transform: Transform = add_study_queries,
) -> tuple[tuple[EpisodeDataset, int], ...]:
    """The stages, as parts of a `SequentialDataset`.

    They use the words and symbols of `custom_meta`, where the type has one, and have at most
    `n_algebraic` episodes, and a limited share of the `n_episodes` of the run.
    """
    total = sum(stage.n_episodes for stage in STAGES)
    share = total if n_episodes is None else MAX_CURRICULUM_FRACTION * n_episodes
    fraction = min(total, total if n_algebraic is None else n_algebraic, share) / total
    parts = []
    end = 0
    for number, stage in enumerate(STAGES):
        end += round(fraction * stage.n_episodes)
        meta = _clip_sizes(custom_meta, stage.meta_grammar) if custom_meta else stage.meta_grammar
        stage_seed = mixture_seed(seed, f"lesson {number}")
        stream = sampled_episodes(data, meta, custom_meta, stage_seed, stage.sampler)
        parts.append((TransformedDataset(stream, (shuffle_study, query_transform), seed), end))
    return tuple(parts)


def with_hard_episodes(
    episodes: EpisodeDataset,
    data: DataFolders,
    seed: int,
    custom_meta: MetaGrammar | None = None,
    corruptions: tuple[Transform, ...] = (),
) -> EpisodeDataset:
    """Interleave a type's episodes with two kinds that train what is learned last.

    One has long inputs only (most queries of the method are short); the other asks for the meaning
    of words that its study examples show only in combination. A language of short inputs, or
    without functions, has neither. `corruptions` are biases and noise of their targets; without
    them the type's own episodes keep only a few study-example queries, learned first.
    """
    meta = custom_meta or MetaGrammar()
    if not corruptions:
        few_study_queries = partial(limit_study_queries, limit=STUDY_QUERIES_KEPT)
        episodes = transform_further(episodes, few_study_queries, seed)
    parts = [episodes]
    if meta.n_functions and meta.max_input > MAX_SIMPLE_LENGTH:
        samplers = (sample_long_query_episode, sample_inference_episode)
        for name, sampler in zip(("compositions", "deductions"), samplers, strict=True):
            part_seed = mixture_seed(seed, name)
            stream = sampled_episodes(data, meta, custom_meta, part_seed, sampler)
            parts.append(TransformedDataset(stream, (shuffle_study, *corruptions), seed))
    return InterleavedDataset(tuple(parts), max(map(len, parts)))


def sampled_episodes(
    data: DataFolders,
    meta: MetaGrammar,
    custom_meta: MetaGrammar | None,
    seed: int,
    sampler: EpisodeSampler,
) -> StreamDataset:
    """A stream without the grammars that are held out of all training."""
    held_out = canonical_grammars(validation_episodes(data, custom_meta))
    return StreamDataset(meta, seed, held_out, holdout_grammars(data), sampler)


def _clip_sizes(custom_meta: MetaGrammar, stage_meta: MetaGrammar) -> MetaGrammar:
    """A custom meta-grammar with the sizes of a stage where these are smaller."""
    names = ("n_functions", "max_input", "n_study", "n_query")
    sizes = {name: min(getattr(custom_meta, name), getattr(stage_meta, name)) for name in names}
    return replace(custom_meta, **sizes)
