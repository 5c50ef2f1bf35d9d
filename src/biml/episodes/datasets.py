"""Training episodes by index and evaluation episodes by repeat, both pure functions of a seed.

Every random choice has a generator named by seed and index (`biml.rng`), so that episodes do not
depend on the order or the process in which they are read.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from random import Random
from typing import Protocol

from biml.episodes.episode import Episode
from biml.episodes.packed import EpisodeFolderDataset, read_episodes
from biml.episodes.sampling import sample_episode
from biml.episodes.transforms import (
    DETERMINISTIC,
    Transform,
    add_grammar_labels,
    apply_transforms,
    autoregressive_episodes,
    remap,
)
from biml.errors import BimlError
from biml.grammar import GOLD, Grammar, MetaGrammar, isomorphic
from biml.grammar.grammar import CanonicalRule
from biml.grammar.meta_grammar import COLOURS, WORDS, has_held_out_rule
from biml.io import read_text
from biml.paths import DataFolders
from biml.rng import derive_seed, generator

EPISODES_PER_EPOCH = 100_000
"""Training episodes of an epoch (paper, Methods)."""

VALIDATION_EPISODES = 200

VALIDATION_SEED = 0
"""Drawn validation sets have one seed for all runs, so that runs can be compared."""

HeldOut = frozenset[frozenset[CanonicalRule]]
"""Grammars excluded from training, by `Grammar.canonical()`."""

HOLDOUT_FOLDER = "apart"
"""Folder of `data_algebraic` whose grammars are held out of training under any renaming."""

SPEC_FILE = "meta-grammar.json"
"""File of `data_algebraic` with the meta-grammar that `biml generate` drew it from."""

EpisodeSampler = Callable[[MetaGrammar, Random, str], Episode]
"""Draws a grammar and an episode of it; the text is the episode's name."""

_MAX_SAMPLING_TRIES = 1000


class EpisodeDataset(Protocol):
    """Training episodes by index, endless: `dataset[i]` is defined for every i ≥ 0.

    `len(dataset)` episodes count as one epoch. A `for` loop over a dataset does not end.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Episode: ...

    @property
    def description(self) -> str:
        """Where the episodes come from, such as a folder."""


@dataclass(frozen=True)
class StreamDataset:
    """Freshly sampled episodes.

    Never with a grammar of `held_out`, nor under any renaming with one of `held_out_isomorphic` or
    the gold grammar, nor with one of the 26 held-out rules (`has_held_out_rule`).
    """

    meta_grammar: MetaGrammar
    seed: int
    held_out: HeldOut = field(default=frozenset(), repr=False)
    held_out_isomorphic: tuple[Grammar, ...] = field(default=(), repr=False)
    sampler: EpisodeSampler = field(default=sample_episode, repr=False)
    description: str = "an endless stream of sampled episodes"

    def __len__(self) -> int:
        return EPISODES_PER_EPOCH

    def __getitem__(self, index: int) -> Episode:
        rng, name = generator(self.seed, "train", index), f"stream episode {index}"
        excluded = (self.held_out, self.held_out_isomorphic)
        return sample_with_exclusions(
            self.meta_grammar,
            rng,
            name,
            *excluded,
            allow_held_out_rules=False,
            sampler=self.sampler,
        )


@dataclass(frozen=True)
class FolderDataset:
    """The episodes of a folder, each once per epoch, in a new random order each epoch."""

    folder: EpisodeFolderDataset
    seed: int

    @property
    def description(self) -> str:
        return f"{self.folder.path}, {len(self):,} episodes"

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> Episode:
        return self.folder[shuffled_index(self.seed, index, len(self))]


def shuffled_index(seed: int, index: int, n: int) -> int:
    """The item at an index where all n items come once per epoch, each epoch in a new order."""
    epoch, position = divmod(index, n)
    return _epoch_order(seed, epoch, n)[position]


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, n: int) -> "array[int]":
    return array("L", generator(seed, "epoch", epoch).sample(range(n), n))


@dataclass(frozen=True)
class RandomChoiceDataset:
    """One of a few episodes at random, such as those of human participants."""

    episodes: Sequence[Episode]
    seed: int
    description: str = ""
    episodes_per_epoch: int = EPISODES_PER_EPOCH

    def __len__(self) -> int:
        return self.episodes_per_epoch

    def __getitem__(self, index: int) -> Episode:
        return generator(self.seed, "any", index).choice(self.episodes)


@dataclass(frozen=True)
class TransformedDataset:
    """The episodes of another dataset after some transforms, with fresh random draws per index."""

    source: EpisodeDataset
    transforms: tuple[Transform, ...]
    seed: int
    stream: str = (
        "present"  #: names the random draws; transforms on top of others need another name
    )

    @property
    def description(self) -> str:
        return self.source.description

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Episode:
        rng = generator(self.seed, self.stream, index)
        return apply_transforms(self.transforms, self.source[index], rng)


def transform_further(dataset: EpisodeDataset, transform: Transform, seed: int) -> EpisodeDataset:
    """Apply one more transform, with random draws of its own."""
    return TransformedDataset(dataset, (transform,), seed, stream="further")


def with_grammar_labels(dataset: EpisodeDataset) -> EpisodeDataset:
    """Add the labels of the auxiliary losses to each episode that has a grammar."""
    return transform_further(dataset, add_grammar_labels, seed=0)


@dataclass(frozen=True)
class InterleavedDataset:
    """Episodes of several datasets in turn, so many of which count as one epoch."""

    parts: tuple[EpisodeDataset, ...]
    episodes_per_epoch: int

    @property
    def description(self) -> str:
        return " + ".join(dict.fromkeys(part.description for part in self.parts))

    def __len__(self) -> int:
        return self.episodes_per_epoch

    def __getitem__(self, index: int) -> Episode:
        turn, part = divmod(index, len(self.parts))
        return self.parts[part][turn]


@dataclass(frozen=True)
class SequentialDataset:
    """Several datasets one after another, such as the stages of a curriculum and what follows."""

    parts: tuple[tuple[EpisodeDataset, int | None], ...]
    """Each with the first index that is no longer its own; None for the last."""

    @property
    def description(self) -> str:
        before = len(self.parts) - 1
        stages = f"{before} curriculum stage{'s' * (before > 1)}"
        last = self.parts[-1][0].description
        return f"{last}, after {stages}" if before else last

    def __len__(self) -> int:
        return len(self.parts[-1][0])

    def __getitem__(self, index: int) -> Episode:
        return next(part for part, end in self.parts if end is None or index < end)[index]


def mixture_seed(seed: int, part: str) -> int:
    """A seed for one part of a mixture, so that its parts do not draw the same episodes."""
    return derive_seed(seed, "part", part)


@dataclass(frozen=True)
class EvaluationSet:
    """Episodes of an evaluation, presented anew with fresh orders and names in each repeat."""

    episodes: tuple[Episode, ...]  #: as the data hold them
    transforms: tuple[Transform, ...]
    seed: int
    query_repeats: int = 1  #: times that each query of an episode is presented in one repeat
    autoregressive: bool = False
    """Each query is presented alone, with the earlier ones as study examples, in parts of the
    episode's name, which is one participant's response set."""
    is_imported: bool = False  #: responses of an imported experiment, not of the published data
    description: str = ""  #: where the episodes come from, if that depends on `data_human`

    @property
    def varies(self) -> bool:
        """Whether one repeat differs from the next."""
        return not DETERMINISTIC.issuperset(self.transforms)

    def repeat(self, index: int, part: slice = slice(None)) -> list[Episode]:
        """The presented episodes of one repeat, or a part of them, given seed and index.

        Each is the same whatever the part.
        """
        presented: list[Episode] = []
        for number in range(len(self.episodes))[part]:
            rng = generator(self.seed, "evaluate", index, number)
            episode = apply_transforms(self.transforms, self.episodes[number], rng)
            episode = replace(episode, queries=episode.queries * self.query_repeats)
            presented += autoregressive_episodes(episode) if self.autoregressive else (episode,)
        return presented

    def evenly_spaced(self, n: int) -> "EvaluationSet":
        """The same with at most `n` of its episodes."""
        every, n = self.episodes, min(n, len(self.episodes))
        return replace(self, episodes=tuple([every[i * len(every) // n] for i in range(n)]))

    def with_shared_study(self, n: int) -> "EvaluationSet":
        """The same with `n` consecutive episodes of a corpus as one.

        Their queries share a study set, which a network reads once.
        """
        groups = [self.episodes[start : start + n] for start in range(0, len(self.episodes), n)]
        shared = [
            replace(group[0], queries=tuple(query for one in group for query in one.queries))
            for group in groups
        ]
        return replace(self, episodes=tuple(shared))

    def in_original_names(self) -> "EvaluationSet":
        """The same without remapping to the published words and symbols."""
        kept = tuple(t for t in self.transforms if getattr(t, "func", t) is not remap)
        return replace(self, transforms=kept)


def sample_with_exclusions(
    meta: MetaGrammar,
    rng: Random,
    name: str = "",
    held_out: HeldOut = frozenset(),
    held_out_isomorphic: Sequence[Grammar] = (),
    allow_held_out_rules: bool = True,
    sampler: EpisodeSampler = sample_episode,
) -> Episode:
    """Draw an episode whose grammar is not the gold grammar and not held out; see `StreamDataset`.

    A BimlError says that the meta-grammar hardly draws any other grammar.
    """
    for _ in range(_MAX_SAMPLING_TRIES):
        episode = sampler(meta, rng, name)
        grammar = episode.grammar
        assert grammar is not None
        if not allow_held_out_rules and has_held_out_rule(grammar):
            continue
        if any(_isomorphic(grammar, other) for other in held_out_isomorphic):
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
    return _isomorphic(grammar, GOLD)


def _isomorphic(a: Grammar, b: Grammar) -> bool:
    # Nearly all differ in the sizes of their rules already, which costs nothing to find.
    return _rule_sizes(a) == _rule_sizes(b) and isomorphic(a, b)


def _rule_sizes(grammar: Grammar) -> set[tuple[int, int]]:
    return {(len(rule.lhs), len(rule.rhs)) for rule in grammar.rules}


def canonical_grammars(episodes: Iterable[Episode]) -> HeldOut:
    """The grammars of some episodes, to hold them out."""
    return frozenset(e.grammar.canonical() for e in episodes if e.grammar is not None)


def holdout_grammars(data: DataFolders) -> tuple[Grammar, ...]:
    """The grammars of `data_algebraic/apart`, where there is such a folder."""
    folder = data.get("data_algebraic")
    if folder is None or not (folder / HOLDOUT_FOLDER).is_dir():
        return ()
    return tuple(e.grammar for e in read_episodes(folder / HOLDOUT_FOLDER) if e.grammar is not None)


# Training and evaluation both read it.
@lru_cache(maxsize=4)
def sample_validation_set(
    meta: MetaGrammar, seed: int, count: int = VALIDATION_EPISODES
) -> tuple[Episode, ...]:
    """Draw validation episodes, with generators that no training episode uses."""
    rngs = [generator(seed, "validation", i) for i in range(count)]
    names = [f"validation episode {i}" for i in range(count)]
    return tuple(map(partial(sample_with_exclusions, meta), rngs, names))


def validation_episodes(data: DataFolders, meta: MetaGrammar | None = None) -> tuple[Episode, ...]:
    """The validation episodes of a meta-grammar.

    Those of the published one are read from `data_algebraic/val` where there is such a folder.
    """
    folder = data.get("data_algebraic")
    if meta is not None or folder is None:
        return sample_validation_set(meta or MetaGrammar(), VALIDATION_SEED)
    return read_episodes(folder / "val", words=WORDS, symbols=COLOURS)


def training_episodes(
    data: DataFolders, seed: int, meta: MetaGrammar | None = None
) -> EpisodeDataset:
    """The training episodes of a meta-grammar, without the grammars of its validation episodes.

    Those of the published one are read from `data_algebraic/train` where there is such a folder.
    """
    folder = data.get("data_algebraic")
    if meta is not None or folder is None:
        held_out = canonical_grammars(validation_episodes(data, meta))
        apart = holdout_grammars(data)
        return StreamDataset(meta or MetaGrammar(), seed, held_out, held_out_isomorphic=apart)
    train = EpisodeFolderDataset.open(
        folder / "train", words=WORDS, symbols=COLOURS, progress=data.progress
    )
    return FolderDataset(train, seed)


def spec_json(meta: MetaGrammar) -> str:
    """The content of `SPEC_FILE`."""
    return json.dumps(asdict(meta), indent=2) + "\n"


def matches_published_spec(data: DataFolders) -> bool:
    """Whether the validation episodes are the published ones or sampled alike.

    Decided by `SPEC_FILE`, or without it by the numbers of episodes, rules and examples and by the
    longest input, output and right-hand side.
    """
    meta, episodes = MetaGrammar(), validation_episodes(data)
    if len(episodes) != VALIDATION_EPISODES:
        return False
    folder = data.get("data_algebraic")
    if folder is not None and (folder / SPEC_FILE).is_file():
        return read_text(folder / SPEC_FILE) == spec_json(meta)
    grammars = [episode.grammar for episode in episodes if episode.grammar]
    examples = [example for e in episodes for example in (*e.study, *e.queries)]
    rules = [rule for grammar in grammars for rule in grammar.functions]
    return (
        {(len(e.study), len(e.queries)) for e in episodes} == {(meta.n_study, meta.n_query)}
        and len(grammars) == len(episodes)
        and {(len(g.primitives), len(g.functions)) for g in grammars}
        == {(meta.n_primitives, meta.n_functions)}
        and max(len(example.input) for example in examples) == meta.max_input
        and max(len(example.output) for example in examples) == meta.max_output
        # The longest are so rare that 200 episodes may have none.
        and meta.max_rhs - 1 <= max(len(rule.rhs) for rule in rules) <= meta.max_rhs
    )
