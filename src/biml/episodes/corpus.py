"""Corpora of (input, output) pairs, such as SCAN and COGS, and episodes made of them.

The study examples of a query are other training pairs of the corpus. In training, words and symbols
are permuted within groups, so that their meanings have to be read from the study examples.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from math import factorial
from pathlib import Path
from random import Random
from sys import intern

from biml.episodes.datasets import EvaluationSet, shuffled_index
from biml.episodes.episode import Episode, Example, GrammarLabels, Remapping
from biml.episodes.parts import CLOSE, OPEN, decompose, to_symbols
from biml.episodes.transforms import Transform, apply_transforms, rename, symbols_used
from biml.errors import FormatError, UsageError, merge_errors
from biml.grammar import Rule
from biml.io import read_text
from biml.rng import generator
from biml.vocabulary import Vocabulary

Pairs = tuple[Example, ...]

Groups = tuple[tuple[str, ...], ...]
"""Groups of words, or of symbols, that are permuted among each other."""

_LINE = re.compile(r"IN:\s+(\S.*?)\s+OUT:\s+(\S.*)")

_MAX_TRIES = 20


@dataclass(frozen=True, eq=False)
class Corpus:
    """Training pairs, test sets, and how episodes are made of them.

    Study examples are training pairs with other inputs than the queries of their episode. No test
    input may be a training input. So no test query is trained on or in a study set.

    Attributes:
        train: the training pairs; an input may occur several times.
        tests: the queries of each test set.
        n_study: study examples of an episode; more where `shown_words` need them.
        shown_words: those that a study example has to show if a query has them. A training pair
            that alone has one of them is no query.
        given: training pairs that are in every study set, except where they are the query.
        given_in_training: whether they are in those of training episodes too.
        word_groups, symbol_groups: permuted in training, inputs and outputs independently.
        p_permute: that an episode is permuted.
        transforms: of training episodes, before the permutation.
        recombine: makes another query of a training query, with random draws. One that happens to
            be a test input is not used.
        label: gives the labels of auxiliary losses for an episode that is not permuted.
        by_parts: whether queries are answered by parts; see `biml.episodes.parts`.
        n_study_queries: study examples of a training episode that are queried too.
        allow_overlap: whether test inputs may be training inputs.
        description: where it comes from.
    """

    train: Pairs = field(repr=False)
    tests: Mapping[str, Pairs] = field(default_factory=dict, repr=False)
    n_study: int = 10
    shown_words: frozenset[str] = frozenset()
    given: Pairs = ()
    given_in_training: bool = True
    word_groups: Groups = ()
    symbol_groups: Groups = ()
    p_permute: float = 0.95
    transforms: tuple[Transform, ...] = ()
    n_study_queries: int = 1
    allow_overlap: bool = False
    recombine: Callable[[Example, Random], Example] | None = None
    label: Callable[[Episode], GrammarLabels] | None = None
    by_parts: bool = False
    description: str = "a corpus"

    def __post_init__(self) -> None:
        for name in ("word_groups", "symbol_groups"):
            members = [member for group in getattr(self, name) for member in group]
            if len(set(members)) < len(members):
                twice = max(members, key=members.count)
                raise UsageError(f"{name}: {twice!r} is in them twice; groups must be disjoint")
        inputs = {pair.input for pair in self.train}
        if len(inputs) <= self.n_study:
            others = f"the corpus has {max(0, len(inputs) - 1)} others for each query"
            raise UsageError(f"{self.n_study} study examples are needed, but {others}")
        overlap = [q for queries in self.tests.values() for q in queries if q.input in inputs]
        if overlap and not self.allow_overlap:
            raise UsageError(
                f"{len(overlap)} test inputs are training inputs too, such as "
                f"{' '.join(overlap[0].input)!r}; remove them from one of the two"
            )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """All words and symbols, in alphabetical order.

        >>> pairs = (Example(("walk", "left"), ("LTURN", "WALK")), Example(("walk",), ("WALK",)))
        >>> Corpus(pairs, n_study=1).vocabulary.output.symbols
        ('LTURN', 'WALK')
        """
        words, symbols = symbols_used(Episode(self.train, self.all_tests))
        words += [word for group in self.word_groups for word in group]
        symbols += [symbol for group in self.symbol_groups for symbol in group]
        words, symbols = sorted(set(words)), sorted(set(symbols))
        phrases = [OPEN, *words, CLOSE] if self.by_parts else []
        if shared := set(phrases).intersection(symbols):
            raise UsageError(f"answers by parts: {min(shared)!r} must not be an output symbol")
        return Vocabulary.from_words_and_symbols(words, [*symbols, *phrases])

    def frequent_sequences(self, n: int) -> list[tuple[str, ...]]:
        """The sequences of output symbols that save most tokens if each becomes one.

        They are runs of symbols that are neither permuted nor numbers nor rare (in less than 5% of
        the outputs), such as names.
        """
        uses = Counter(symbol for pair in self.train for symbol in set(pair.output))
        permuted = {symbol for group in self.symbol_groups for symbol in group}
        joined = {s for s, n in uses.items() if 20 * n >= len(self.train) and not s.isdigit()}
        joined -= permuted
        count: Counter[tuple[str, ...]] = Counter()
        for pair in self.train:
            for is_joined, run in groupby(pair.output, joined.__contains__):
                if is_joined:
                    count[tuple(run)] += 1
        saved = {run: (len(run) - 1) * times for run, times in count.items() if len(run) > 1}
        return sorted(saved, key=lambda run: (-saved[run], run))[:n]

    @cached_property
    def all_tests(self) -> Pairs:
        return tuple(query for queries in self.tests.values() for query in queries)

    @cached_property
    def training_queries(self) -> Pairs:
        """The training pairs whose `shown_words` are in other training pairs as well."""
        if not self.shown_words:
            return self.train
        pairs_with = self._pairs_with
        rare = {word for word, pairs in pairs_with.items() if len({p.input for p in pairs}) < 2}
        return tuple([pair for pair in self.train if rare.isdisjoint(pair.input)])

    @cached_property
    def _pairs_with(self) -> Mapping[str, Sequence[Example]]:
        """The training pairs that show each of `shown_words`."""
        pairs_with: dict[str, list[Example]] = defaultdict(list)
        for pair in self.train:
            for word in self.shown_words.intersection(pair.input):
                pairs_with[word].append(pair)
        return pairs_with

    def without_study(self) -> "Corpus":
        """The same pairs without study examples and permutations (basic seq2seq)."""
        return replace(
            self,
            n_study=0,
            shown_words=frozenset(),
            given=(),
            word_groups=(),
            symbol_groups=(),
            transforms=(),
        )

    def add_study(
        self, episode: Episode, rng: Random, *, n: int | None = None, given: Pairs | None = None
    ) -> Episode:
        """Add study examples with distinct inputs, none of them that of a query, in random order.

        They are the `given` pairs, one for each of `shown_words` that the queries have and no pair
        before shows, and random ones up to `n`.
        """
        n = self.n_study if n is None else n
        taken = {query.input for query in episode.queries}
        study: list[Example] = []
        shown: set[str] = set()

        def add(pair: Example) -> None:
            study.append(pair)
            taken.add(pair.input)
            shown.update(pair.input)

        for pair in self.given if given is None else given:
            if pair.input not in taken:
                add(pair)
        if self.shown_words:
            for word in (word for query in episode.queries for word in query.input):
                if word in self.shown_words and word not in shown:
                    add(_choose(self._pairs_with.get(word, ()), taken, rng, f"with {word!r} "))
        while len(study) < n:
            add(_choose(self.train, taken, rng))
        rng.shuffle(study)
        return replace(episode, study=tuple(study))

    @cached_property
    def showing_all(self) -> "Corpus":
        """The same with study sets that show every word of the queries that is permuted."""
        words = frozenset(word for group in self.word_groups for word in group)
        return replace(self, shown_words=self.shown_words | words)

    def recombined(self, query: Example, rng: Random) -> Example:
        new = self.recombine(query, rng) if self.recombine else query
        return query if new.input in self._test_inputs else new

    @cached_property
    def _test_inputs(self) -> frozenset[tuple[str, ...]]:
        return frozenset(query.input for query in self.all_tests)

    def answer_by_parts(self, queries: Iterable[Example], rng: Random) -> Pairs:
        """The queries with targets in parts, without those where these are ambiguous.

        A third of the queries are replaced by a phrase that their target quotes, another third by a
        phrase that the target of such a phrase quotes, so that short queries are learned as well.
        """
        answered: dict[Example, None] = {}
        for query in queries:
            level = rng.randint(0, 2)
            parts = decompose(query.input, query.output, self.outputs)
            while level and (phrases := [p for p in parts or () if not isinstance(p, str)]):
                phrase = rng.choice(phrases)
                query, level = Example(phrase, self.outputs[phrase]), level - 1
                parts = decompose(query.input, query.output, self.outputs)
            if parts is not None:
                answered[query._replace(output=to_symbols(parts))] = None
        return tuple(answered)

    @cached_property
    def outputs(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        return {pair.input: pair.output for pair in self.train}

    def permute(self, episode: Episode, rng: Random, p: float | None = None) -> Episode:
        """With probability `p_permute`, permute words and symbols, no group by the identity.

        `p` replaces that probability.
        """
        groups = (self.word_groups, self.symbol_groups)
        if not any(groups) or rng.random() >= (self.p_permute if p is None else p):
            return episode
        words, symbols = map(_permutation, symbols_used(episode), groups, (rng, rng))
        # Responses by parts quote words.
        return rename(episode, words, symbols | words if self.by_parts else symbols)

    def evaluation(
        self, seed: int, tests: Iterable[str] | None = None, *, n_study: int | None = None
    ) -> EvaluationSet:
        """An episode for each query of some test sets (by default all); nothing is permuted.

        Without study examples (`without_study`) it does not vary between repeats.
        """
        queries = [query for name in tests or self.tests for query in self.tests[name]]
        episodes = tuple(Episode((), (q,), name=f"query {n}") for n, q in enumerate(queries, 1))
        transforms = (partial(self.add_study, n=n_study),) if self.n_study else ()
        return EvaluationSet(episodes, transforms, seed)


def _choose(
    pairs: Sequence[Example], taken: Container[object], rng: Random, kind: str = ""
) -> Example:
    """A random pair with an input that is not taken yet."""
    for _ in range(_MAX_TRIES if pairs else 0):
        pair = rng.choice(pairs)
        if pair.input not in taken:
            return pair
    rest = [pair for pair in pairs if pair.input not in taken]
    if not rest:
        raise UsageError(f"there is no further training pair {kind}for a study set")
    return rng.choice(rest)


def _permutation(used: Sequence[str], groups: Groups, rng: Random) -> dict[str, str]:
    """New names of the used words (or symbols) if each group is permuted."""
    renamed = dict(zip(used, used, strict=True))
    for group in groups:
        members = [member for member in group if member in renamed]
        if not members or len(group) < 2:
            continue
        images = rng.sample(group, len(members))
        # The other members, as many as they are, might keep their places as well.
        while images == members and not rng.randrange(factorial(len(group) - len(members))):
            images = rng.sample(group, len(members))
        renamed.update(zip(members, images, strict=True))
    return renamed


@dataclass(frozen=True)
class CorpusDataset:
    """Training episodes from a corpus; each pair is queried once per epoch."""

    corpus: Corpus
    seed: int
    n_queries: int = 1
    """Novel queries that share a study set; if several, it shows all words that are permuted."""
    n_study: int | None = None  #: by default that of the corpus
    with_labels: bool = False  #: of auxiliary losses, where the corpus has them

    @property
    def description(self) -> str:
        return self.corpus.description

    @property
    def queries(self) -> Pairs:
        """The training pairs that are queried."""
        return (self.corpus.showing_all if self.n_queries > 1 else self.corpus).training_queries

    def __len__(self) -> int:
        return -(-len(self.queries) // self.n_queries)

    def __getitem__(self, index: int) -> Episode:
        corpus, pairs = self.corpus, self.queries
        first = index * self.n_queries
        queries = tuple(
            pairs[shuffled_index(self.seed, first + number, len(pairs))]
            for number in range(self.n_queries)
        )
        rng = generator(self.seed, "corpus", index)
        if corpus.recombine:
            queries = tuple(corpus.recombined(query, rng) for query in queries)
        if corpus.by_parts:
            queries = corpus.answer_by_parts(queries, rng)
        episode = Episode((), queries, name=f"corpus episode {index}")
        given = corpus.given if corpus.given_in_training else ()
        p_permute = None
        if self.n_queries > 1:
            # What no study example shows is known only where nothing is permuted.
            p_permute = float(rng.random() < corpus.p_permute)
        shown = corpus.showing_all if p_permute else corpus
        episode = shown.add_study(episode, rng, n=self.n_study, given=given)
        episode = apply_transforms(corpus.transforms, episode, rng)
        labels = corpus.label(episode) if self.with_labels and corpus.label else None
        episode = corpus.permute(episode, rng, p_permute)
        n_study = len(episode.study)
        copied = rng.sample(range(n_study), min(corpus.n_study_queries, n_study))
        again = [episode.study[number]._replace(in_study=True) for number in copied]
        if labels is not None:
            labels = GrammarLabels(
                labels.study,
                (*(labels.study[number] for number in copied), *labels.queries),
                renamed_rules(labels.rules, episode.remapping),
            )
        return replace(episode, queries=(*again, *episode.queries), grammar_labels=labels)


def renamed_rules(rules: Mapping[str, Rule], remapping: Remapping | None) -> Mapping[str, Rule]:
    """Rules under the names of a permuted episode."""
    if remapping is None:
        return rules
    words, symbols = remapping.words, remapping.symbols
    return {
        words[word]: Rule((words[word],), (symbols.get(rule.rhs[0], rule.rhs[0]),))
        for word, rule in rules.items()
        if word in words
    }


def read_pairs(path: Path) -> Pairs:
    """Read a file of lines `IN: words OUT: symbols`, or `words TAB symbols TAB label`.

    The label, if any, is the pair's `item`. A FormatError lists all malformed lines.
    """
    errors: list[FormatError] = []
    pairs = read_numbered_pairs(path, errors)
    if errors:
        raise merge_errors(errors)
    return tuple(pairs.values())


def read_numbered_pairs(path: Path, errors: list[FormatError]) -> dict[int, Example]:
    """The same by line number; errors are added to a list."""
    pairs: dict[int, Example] = {}
    n_before = len(errors)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                pairs[number] = _parse_pair(line)
            except ValueError as error:
                errors.append(FormatError(str(error), source=str(path), line=number))
    if not pairs and len(errors) == n_before:
        errors.append(FormatError("no line 'IN: words OUT: symbols'", source=str(path)))
    return pairs


def _parse_pair(line: str) -> Example:
    text, label = line.strip(), ""
    input: Sequence[str]
    output: Sequence[str]
    if text.startswith("IN:"):
        match = _LINE.fullmatch(text)
        input, output = (match[1].split(), match[2].split()) if match else ((), ())
    else:
        words, symbols, label, *_ = (*line.split("\t"), "", "", "")
        input, output = words.split(), symbols.split()
    if not input or not output or "OUT:" in output:
        form = "'IN: words OUT: symbols', or words and symbols with a tab between them"
        raise ValueError(f"expected {form}, found {text[:60]!r}")
    # Interned, as a corpus has many more tokens than different ones.
    return Example(
        tuple(map(intern, input)), tuple(map(intern, output)), item=intern(label.strip())
    )
