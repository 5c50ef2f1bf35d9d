"""Presenting episodes: what is done to an episode of a source before a network sees it."""

import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import Protocol

from biml.episodes.episode import Episode
from biml.episodes.packed import EpisodeFolderDataset, read_episodes
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import Respondents
from biml.episodes.transforms import Transform, add_grammar_labels, apply_transforms
from biml.errors import BimlError
from biml.grammar import GOLD, Grammar, MetaGrammar, isomorphic
from biml.grammar.grammar import CanonicalRule
from biml.grammar.meta_grammar import COLOURS, WORDS, has_held_out_rule
from biml.io import read_text
from biml.paths import DataFolders
from biml.rng import derive_seed, generator

PER_EPOCH = 100_000
"""Training episodes of an epoch (paper, Methods)."""

VALIDATION_EPISODES = 200

VALIDATION_SEED = 0
"""The validation set that is drawn where no folder holds one is the same for every training seed,
so that runs can be compared."""

HeldOut = frozenset[frozenset[CanonicalRule]]
"""Grammars that must not be met in training, by `Grammar.canonical()`."""

HOLDOUT_FOLDER = "apart"
"""The folder of `data_algebraic` with episodes of one's own, whose grammars are held out of
training whatever their words and symbols are called."""

SPEC_FILE = "meta-grammar.json"
"""The file of `data_algebraic` that says how `biml generate` drew it."""

EpisodeSampler = Callable[[MetaGrammar, Random, str], Episode]
"""Draws a grammar and an episode of it, given what to call it in messages."""

_MAX_SAMPLING_TRIES = 1000


class EpisodeDataset(Protocol):
    """Episodes by number, the same whoever asks and in whatever order.

    Attributes:
        per_epoch: how many make an epoch.
        origin: where they come from, for people.
    """

    @property
    def per_epoch(self) -> int: ...

    @property
    def origin(self) -> str: ...

    def episode(self, index: int) -> Episode:
        """The index-th episode since the start of training."""
        ...


def canonical_grammars(episodes: Iterable[Episode]) -> HeldOut:
    """What to exclude from training, given the validation episodes."""
    return frozenset(e.grammar.canonical() for e in episodes if e.grammar is not None)


def sample_with_exclusions(
    meta: MetaGrammar,
    seed: int,
    *path: int | str,
    held_out: HeldOut = frozenset(),
    held_out_isomorphic: Sequence[Grammar] = (),
    allow_held_out_rules: bool = True,
    sampler: EpisodeSampler = sample_episode,
    name: str = "",
) -> Episode:
    """An episode whose grammar is neither held out nor the gold grammar under any renaming.

    Args:
        meta: the distribution of grammars.
        seed, path: name the generator.
        held: grammars that are held out.
        apart: grammars that are held out under any renaming, as the gold grammar is.
        novel: whether it may have the rules that are held out from training (`grammar.novel`).
        draw: draws grammar and episode.
        name: what to call the episode in messages.

    Raises:
        BimlError: the meta-grammar hardly draws any other grammars.
    """
    rng = generator(seed, *path)
    for _ in range(_MAX_SAMPLING_TRIES):
        episode = sampler(meta, rng, name)
        grammar = episode.grammar
        assert grammar is not None
        if not allow_held_out_rules and has_held_out_rule(grammar):
            continue
        if any(same_rule_sizes(grammar, a) and isomorphic(grammar, a) for a in held_out_isomorphic):
            continue
        if not is_gold_grammar(grammar) and grammar.canonical() not in held_out:
            return episode
    raise BimlError(
        f"{_MAX_SAMPLING_TRIES} grammars drawn in a row are held out from training; "
        "allow the meta-grammar more words, symbols or functions"
    )


def is_gold_grammar(grammar: Grammar) -> bool:
    """Whether the grammar is that of the human few-shot task under some renaming.

    >>> is_gold_grammar(GOLD)
    True
    """
    # Nearly every grammar differs from it in the sizes of its rules already, which costs nothing.
    return _rule_sizes(grammar) == _GOLD_RULE_SIZES and isomorphic(grammar, GOLD)


def same_rule_sizes(a: Grammar, b: Grammar) -> bool:
    """Whether their rules have the same sizes, without which no renaming makes them the same."""
    return _rule_sizes(a) == _rule_sizes(b)


def _rule_sizes(grammar: Grammar) -> set[tuple[int, int]]:
    return {(len(rule.lhs), len(rule.rhs)) for rule in grammar.rules}


_GOLD_RULE_SIZES = _rule_sizes(GOLD)


@dataclass(frozen=True)
class StreamDataset:
    """Freshly drawn episodes without end.

    Attributes:
        meta: the distribution of grammars; any, so that a curriculum can change it.
        seed: of the whole stream.
        held: grammars that are never drawn; the gold grammar never is, nor are the rules that are
            held out from training (`grammar.novel`).
        apart: grammars that are never drawn under any renaming.
        draw: draws grammar and episode.
    """

    meta_grammar: MetaGrammar
    seed: int
    held_out: HeldOut = field(default=frozenset(), repr=False)
    per_epoch: int = PER_EPOCH
    held_out_isomorphic: tuple[Grammar, ...] = field(default=(), repr=False)
    sampler: EpisodeSampler = field(default=sample_episode, repr=False)

    @property
    def origin(self) -> str:
        return "an endless stream of drawn episodes"

    def episode(self, index: int) -> Episode:
        return sample_with_exclusions(
            self.meta_grammar,
            self.seed,
            "train",
            index,
            held_out=self.held_out,
            held_out_isomorphic=self.held_out_isomorphic,
            allow_held_out_rules=False,
            sampler=self.sampler,
            name=f"stream episode {index}",
        )


@dataclass(frozen=True)
class FolderDataset:
    """The episodes of a folder, each once an epoch, in an order of its own for each epoch."""

    folder: EpisodeFolderDataset
    seed: int

    @property
    def per_epoch(self) -> int:
        return len(self.folder)

    @property
    def origin(self) -> str:
        return f"{self.folder.path}, {len(self.folder):,} episodes"

    def episode(self, index: int) -> Episode:
        epoch, place = divmod(index, len(self.folder))
        return self.folder[_epoch_order(self.seed, epoch, len(self.folder))[place]]


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, n: int) -> "array[int]":
    return array("L", generator(seed, "epoch", epoch).sample(range(n), n))


@dataclass(frozen=True)
class RandomChoiceDataset:
    """One of a few episodes at random, such as one participant's."""

    episodes: Sequence[Episode]
    seed: int
    per_epoch: int = PER_EPOCH
    origin: str = ""

    def episode(self, index: int) -> Episode:
        return generator(self.seed, "any", index).choice(self.episodes)


# Opening training and evaluation both need it, and it is the same for all.
@lru_cache(maxsize=4)
def sample_validation_set(
    meta: MetaGrammar, seed: int, count: int = VALIDATION_EPISODES
) -> tuple[Episode, ...]:
    """Validation episodes, each from a generator of its own that no training episode uses."""
    return tuple(
        sample_with_exclusions(meta, seed, "validation", i, name=f"validation episode {i}")
        for i in range(count)
    )


def holdout_grammars(data: DataFolders) -> tuple[Grammar, ...]:
    """Grammars that a generated set holds out: those of `data_algebraic/apart`, where there is one.

    Raises:
        FormatError: a file in it is malformed.
    """
    folder = data.get("data_algebraic")
    if folder is None or not (folder / HOLDOUT_FOLDER).is_dir():
        return ()
    return tuple(e.grammar for e in read_episodes(folder / HOLDOUT_FOLDER) if e.grammar is not None)


def validation_episodes(data: DataFolders) -> tuple[Episode, ...]:
    """`data_algebraic/val` where there is one, else the fixed drawn set."""
    folder = data.get("data_algebraic")
    if folder is None:
        return sample_validation_set(MetaGrammar(), VALIDATION_SEED)
    return read_episodes(folder / "val", words=WORDS, symbols=COLOURS)


def spec_json(meta: MetaGrammar) -> str:
    """What `DRAWN` says of a meta-grammar."""
    return json.dumps(asdict(meta), indent=2) + "\n"


def matches_published_spec(data: DataFolders) -> bool:
    """Whether the validation episodes can be the published ones or others that are drawn alike.

    `biml generate` leaves word of how it drew them. Without that they are told by how many there
    are, of how many rules and examples, and the longest input, output and right side.
    """
    meta, episodes = MetaGrammar(), validation_episodes(data)
    folder = data.get("data_algebraic")
    if folder is not None and (folder / SPEC_FILE).is_file():
        return len(episodes) == VALIDATION_EPISODES and read_text(folder / SPEC_FILE) == spec_json(
            meta
        )
    shapes = {_episode_sizes(episode) for episode in episodes}
    examples = [example for e in episodes for example in (*e.study, *e.queries)]
    rules = [rule for e in episodes if e.grammar for rule in e.grammar.functions]
    return (
        len(episodes) == VALIDATION_EPISODES
        and shapes == {(meta.n_study, meta.n_query, meta.n_primitives, meta.n_functions)}
        and max(len(example.input) for example in examples) == meta.max_input
        and max(len(example.output) for example in examples) == meta.max_output
        # The longest are so rare that 200 episodes may have none.
        and meta.max_rhs - 1 <= max(len(rule.rhs) for rule in rules) <= meta.max_rhs
    )


def _episode_sizes(episode: Episode) -> tuple[int, ...]:
    grammar = episode.grammar
    rules = (len(grammar.primitives), len(grammar.functions)) if grammar else ()
    return (len(episode.study), len(episode.queries), *rules)


def training_episodes(data: DataFolders, seed: int) -> EpisodeDataset:
    """`data_algebraic/train` where there is one, else the stream without the validation set's."""
    folder = data.get("data_algebraic")
    if folder is not None:
        train = EpisodeFolderDataset.open(
            folder / "train", words=WORDS, symbols=COLOURS, report=data.report
        )
        return FolderDataset(train, seed)
    return StreamDataset(MetaGrammar(), seed, canonical_grammars(validation_episodes(data)))


# === Presenting episodes: what is done to an episode of a source before a network sees it.


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


def mixture_seed(seed: int, part: str) -> int:
    """A seed for one part of a mixture, so that its parts do not draw the same episodes."""
    return derive_seed(seed, "part", part)


# === biml.episodes.transforms


def with_grammar_labels(episodes: TrainingEpisodes) -> TrainingEpisodes:
    """Training episodes with what their grammars tell."""
    return Further(episodes, lambda episode, _: add_grammar_labels(episode), seed=0)
