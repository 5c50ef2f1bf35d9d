"""A curriculum: short lessons before the episodes of a type, clean targets before biased ones.

Trained plainly, a network sits long on a plateau before it retrieves anything from the study
examples. With few functions and short inputs retrieval is what there is to learn, and it takes a
few hundred small steps; docs/fast.md has the measurements.
"""

from dataclasses import dataclass, replace

from biml.episodes.draw import PLAIN, draw_compositions, draw_deductions, draw_episode, draw_uses
from biml.episodes.episode import Episode
from biml.episodes.locate import DataFolders
from biml.episodes.present import Further, Mixture, Presented, Step, TrainingEpisodes, part_seed
from biml.episodes.sources import (
    VALIDATION_SEED,
    Draw,
    Held,
    StreamEpisodes,
    draw_validation,
    grammars_apart,
    held_out,
    validation_episodes,
)
from biml.episodes.steps import copies_too, fewer_copies
from biml.episodes.transforms import shuffle_study
from biml.grammar import Grammar, MetaGrammar


@dataclass(frozen=True)
class Lesson:
    """A number of presentations of episodes that are easier than those of the method."""

    presentations: int
    meta: MetaGrammar
    draw: Draw = draw_episode


LESSONS = (
    # To find a word in the study examples and say its symbol.
    Lesson(600, MetaGrammar(n_functions=1, max_input=4, n_study=8, n_query=8)),
    # To tell a function's two arguments apart, which takes several hops from query to answer.
    Lesson(
        3000,
        MetaGrammar(n_functions=1, p_one_argument=0.15, n_study=8, n_query=8),
        draw=draw_uses,
    ),
    # The same with several functions, to find the right one.
    Lesson(1800, MetaGrammar(p_one_argument=0.3), draw=draw_uses),
)


COPIES = 4
"""Study examples that a clean episode asks for after the lessons; all would be more than half of
its queries."""


@dataclass(frozen=True)
class InOrder:
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


LESSONS_SHARE = 0.3
"""The most of a run that lessons take; they are shortened alike where a run is short."""


def lessons(
    data: DataFolders,
    seed: int,
    own: MetaGrammar | None = None,
    presentations: int | None = None,
    clean: int | None = None,
    asked: Step = copies_too,
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
    held, apart = _kept_out(data, own)
    parts = []
    whole = sum(lesson.presentations for lesson in LESSONS)
    most = [whole if presentations is None else LESSONS_SHARE * presentations]
    part = min(1.0, *(limit / whole for limit in (*most, whole if clean is None else clean)))
    end = 0
    for number, lesson in enumerate(LESSONS):
        end += round(part * lesson.presentations)
        meta = _easier(own, lesson.meta) if own else lesson.meta
        lesson_seed = part_seed(seed, f"lesson {number}")
        source = StreamEpisodes(meta, lesson_seed, held, apart=apart, draw=lesson.draw)
        parts.append((Presented(source, (shuffle_study, asked), seed), end))
    return tuple(parts)


def with_harder_ones(
    episodes: TrainingEpisodes,
    data: DataFolders,
    seed: int,
    own: MetaGrammar | None = None,
    late: tuple[Step, ...] = (),
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
    held, apart = _kept_out(data, own)
    meta = own or MetaGrammar()
    parts = [episodes if late else Further(episodes, fewer_copies(COPIES), seed)]
    kinds: list[tuple[str, Draw]] = []
    if meta.n_functions and meta.max_input > PLAIN:
        kinds = [("compositions", draw_compositions), ("deductions", draw_deductions)]
    for name, draw in kinds:
        source = StreamEpisodes(meta, part_seed(seed, name), held, apart=apart, draw=draw)
        parts.append(Presented(source, (shuffle_study, *late), seed))
    return Mixture(tuple(parts))


def _kept_out(data: DataFolders, own: MetaGrammar | None) -> tuple[Held, tuple[Grammar, ...]]:
    """Grammars that no episode of training may have."""
    validation = draw_validation(own, VALIDATION_SEED) if own else validation_episodes(data)
    return held_out(validation), grammars_apart(data)


def _easier(own: MetaGrammar, lesson: MetaGrammar) -> MetaGrammar:
    """A language of one's own in the size of a lesson, or in its own where that is smaller."""
    names = ("n_functions", "max_input", "n_study", "n_query")
    sizes = {name: min(getattr(own, name), getattr(lesson, name)) for name in names}
    return replace(own, **sizes)
