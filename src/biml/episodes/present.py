"""Presenting episodes: what is done to an episode of a source before a network sees it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from biml.episodes.answerers import Respondents
from biml.episodes.episode import Episode
from biml.episodes.sources import EpisodeDataset
from biml.rng import derive_seed, generator

Transform = Callable[[Episode, Random], Episode]
"""One change to an episode, such as shuffling its study examples."""


class TrainingEpisodes(Protocol):
    """All presentations of a training run.

    Attributes:
        per_epoch: presentations that make an epoch.
        origin: where the episodes come from, for people.
    """

    @property
    def per_epoch(self) -> int: ...

    @property
    def origin(self) -> str: ...

    def episode(self, index: int) -> Episode:
        """The index-th presentation since the start, the same in whatever process asks for it."""
        ...


@dataclass(frozen=True)
class TransformedDataset:
    """The episodes of a source, each changed by the steps in order, afresh for each presentation.

    Attributes:
        source: gives the episodes.
        steps: what is done to each.
        seed: of the random draws in the steps.
    """

    source: EpisodeDataset
    transforms: tuple[Transform, ...]
    seed: int

    @property
    def per_epoch(self) -> int:
        return self.source.per_epoch

    @property
    def origin(self) -> str:
        return self.source.origin

    def episode(self, index: int) -> Episode:
        rng = generator(self.seed, "present", index)
        return apply_transforms(self.transforms, self.source.episode(index), rng)


@dataclass(frozen=True)
class Further:
    """Presentations with one more step, whose random draws are apart from those before."""

    episodes: TrainingEpisodes
    transform: Transform
    seed: int

    @property
    def per_epoch(self) -> int:
        return self.episodes.per_epoch

    @property
    def origin(self) -> str:
        return self.episodes.origin

    def episode(self, index: int) -> Episode:
        return self.transform(self.episodes.episode(index), generator(self.seed, "further", index))


@dataclass(frozen=True)
class InterleavedDataset:
    """Several kinds of training in equal shares, taking turns.

    An epoch has as many presentations in all as the longest of its parts has.
    """

    parts: tuple[TrainingEpisodes, ...]

    @property
    def per_epoch(self) -> int:
        return max(part.per_epoch for part in self.parts)

    @property
    def origin(self) -> str:
        return " + ".join(dict.fromkeys(part.origin for part in self.parts))

    def episode(self, index: int) -> Episode:
        turn, part = divmod(index, len(self.parts))
        return self.parts[part].episode(turn)


@dataclass(frozen=True)
class EvaluationSet:
    """What is asked of a model, over and over with fresh orders and names.

    Attributes:
        episodes: as the data hold them.
        steps: what is done to each for each pass.
        seed: of the random draws in the steps.
        times: how often every query of an episode is asked in a pass.
        expand: turns each presented episode into those that are really asked.
        stochastic: whether one pass differs from the next.
        by_name: episodes of one name are parts of one answer sheet, whose log-likelihoods add up.
        answerers: who gave the answers of an imported experiment; empty for published data.
        origin: where they come from, for people, if that depends on `data_human`; else empty.
    """

    episodes: tuple[Episode, ...]
    transforms: tuple[Transform, ...]
    seed: int
    query_repeats: int = 1
    expand: Callable[[Episode], Iterable[Episode]] = lambda episode: (episode,)
    varies: bool = True
    group_by_participant: bool = False
    respondents: Respondents = field(default_factory=dict, repr=False)
    origin: str = ""

    def repeat(self, index: int) -> list[Episode]:
        """The episodes of pass number `repeat`, a pure function of (seed, repeat)."""
        found: list[Episode] = []
        for number, episode in enumerate(self.episodes):
            rng = generator(self.seed, "evaluate", index, number)
            shown = apply_transforms(self.transforms, episode, rng)
            found += self.expand(replace(shown, queries=shown.queries * self.query_repeats))
        return found


def apply_transforms(transforms: Sequence[Transform], episode: Episode, rng: Random) -> Episode:
    """The episode after all steps, in order."""
    for step in transforms:
        episode = step(episode, rng)
    return episode


def mixture_seed(seed: int, part: str) -> int:
    """A seed for one part of a mixture, so that its parts do not draw the same episodes."""
    return derive_seed(seed, "part", part)
