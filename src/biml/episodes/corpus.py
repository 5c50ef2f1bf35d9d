"""Episodes from a corpus of (input, output) pairs, such as SCAN, instead of a grammar.

The study examples of a query are other pairs of the corpus. Words and symbols may be permuted
within classes, so that their meanings have to be read from the study examples.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from biml.episodes.datasets import EvaluationSet, shuffled_index
from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import (
    add_study_queries,
    limit_study_queries,
    rename,
    symbols_used,
)
from biml.errors import FormatError, UsageError
from biml.io import read_text
from biml.rng import generator
from biml.vocabulary import Vocabulary

Pairs = tuple[Example, ...]

Classes = tuple[tuple[str, ...], ...]
"""Groups of words, or of symbols, that are exchanged among each other."""

_LINE = re.compile(r"IN:\s+(\S.*?)\s+OUT:\s+(\S.*)")


def read_corpus(path: Path) -> Pairs:
    """Read the pairs of a file with lines `IN: jump twice OUT: I_JUMP I_JUMP`."""
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if text := line.strip():
            match = _LINE.fullmatch(text)
            if match is None or "OUT:" in match[2].split():
                problem = f"expected 'IN: words OUT: symbols', found {text[:60]!r}"
                raise FormatError(problem, source=str(path), line=number)
            pairs.append(Example(tuple(match[1].split()), tuple(match[2].split())))
    if not pairs:
        raise FormatError("no line 'IN: words OUT: symbols'", source=str(path))
    return tuple(pairs)


def corpus_vocabulary(pairs: Sequence[Example]) -> Vocabulary:
    """All words and symbols of some pairs, in alphabetical order.

    >>> corpus_vocabulary([Example(("walk", "left"), ("LTURN", "WALK"))]).output.symbols
    ('LTURN', 'WALK')
    """
    words, symbols = symbols_used(Episode((), tuple(pairs)))
    return Vocabulary.from_words_and_symbols(sorted(words), sorted(symbols))


def corpus_lengths(pairs: Sequence[Example]) -> dict[str, int]:
    """Words of the longest input and symbols of the longest output, as options of `EpisodeType`."""
    inputs, outputs = [len(pair.input) for pair in pairs], [len(pair.output) for pair in pairs]
    return {"max_input": max(inputs), "max_output": max(outputs)}


def sample_study(
    episode: Episode, rng: Random, *, pairs: Sequence[Example], n: int, required: Pairs = ()
) -> Episode:
    """Sample `n` study examples with distinct inputs, none of them that of a query.

    The `required` pairs are among them, except where one is queried; all are in random order.
    """
    taken = {query.input for query in episode.queries}
    study = [pair for pair in required if pair.input not in taken]
    taken.update(pair.input for pair in study)
    # Most draws are accepted; a corpus that is hardly larger than a study set is gone through.
    for _ in range(20 * n):
        if len(study) >= n:
            break
        pair = rng.choice(pairs)
        if pair.input not in taken:
            taken.add(pair.input)
            study.append(pair)
    else:
        rest = list({pair.input: pair for pair in pairs if pair.input not in taken}.values())
        study += rng.sample(rest, min(len(rest), n - len(study)))
    if len(study) != n:
        others = f"the corpus has {len(study)} other pairs"
        raise UsageError(f"{n} study examples are needed, but {others}")
    rng.shuffle(study)
    return Episode(tuple(study), episode.queries, name=episode.name)


def permute_classes(
    episode: Episode, rng: Random, *, p: float, words: Classes = (), symbols: Classes = ()
) -> Episode:
    """With probability `p`, permute the words and symbols of each class, never by the identity."""
    if rng.random() >= p:
        return episode
    own_words, own_symbols = symbols_used(episode)
    return rename(episode, _permuted(own_words, words, rng), _permuted(own_symbols, symbols, rng))


def _permuted(own: Sequence[str], classes: Classes, rng: Random) -> dict[str, str]:
    renamed = dict(zip(own, own, strict=True))
    for members in classes:
        permuted = members
        while permuted == members and len(members) > 1:
            permuted = tuple(rng.sample(members, len(members)))
        renamed.update(zip(members, permuted, strict=True))
    return renamed


@dataclass(frozen=True)
class CorpusDataset:
    """Training episodes from a corpus; each pair is the query of one episode per epoch."""

    pairs: Pairs = field(repr=False)
    n_study: int
    seed: int
    required: Pairs = ()  #: are in every study set, except where they are the query
    p_permute: float = 0.0  #: that an episode's words and symbols are permuted within classes
    word_classes: Classes = ()
    symbol_classes: Classes = ()
    n_study_queries: int = 0  #: study examples that are queried too, before the other query
    description: str = "a corpus"

    def __post_init__(self) -> None:
        for name in ("word_classes", "symbol_classes"):
            members = [member for one in getattr(self, name) for member in one]
            if len(set(members)) < len(members):
                twice = max(members, key=members.count)
                raise UsageError(f"{name}: {twice!r} is in them twice; classes must be disjoint")
        self[0]  # reports a corpus that is too small at once

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Episode:
        query = self.pairs[shuffled_index(self.seed, index, len(self.pairs))]
        episode = Episode((), (query,), name=f"corpus episode {index}")
        rng = generator(self.seed, "corpus", index)
        episode = sample_study(
            episode, rng, pairs=self.pairs, n=self.n_study, required=self.required
        )
        episode = permute_classes(
            episode, rng, p=self.p_permute, words=self.word_classes, symbols=self.symbol_classes
        )
        return limit_study_queries(add_study_queries(episode), rng, limit=self.n_study_queries)


def corpus_evaluation(
    queries: Sequence[Example], seed: int, *, pairs: Pairs, n_study: int, required: Pairs = ()
) -> EvaluationSet:
    """An episode for each query, with study examples from a corpus; nothing is permuted."""
    episodes = tuple(Episode((), (q,), name=f"query {n}") for n, q in enumerate(queries, 1))
    study = partial(sample_study, pairs=pairs, n=n_study, required=required)
    return EvaluationSet(episodes, (study,), seed)
