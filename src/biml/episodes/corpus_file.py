"""Corpora of your own: a TOML file names their files, and says how episodes are made of them.

    train = "train.tsv"
    n_study = 6
    shown_words = ["walk", "jump"]

    [tests]
    longer = "longer.tsv"

    [[permute]]
    words = ["walk", "jump"]
    symbols = ["WALK", "JUMP"]

The files have lines `IN: words OUT: symbols`, or `words TAB symbols`. A list of words may be the
name of a file instead. The keys (`KEYS`) are mostly fields of `Corpus`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biml import plugins
from biml.episodes.corpus import Corpus, Pairs, read_numbered_pairs
from biml.episodes.episode import Example
from biml.episodes.episode_type import EpisodeType, corpus_type
from biml.episodes.registry import EPISODE_TYPES
from biml.episodes.scan import FAST_OPTIONS
from biml.errors import FormatError, did_you_mean, merge_errors
from biml.io import read_text

KEYS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "summary": (str,),
    "train": (str,),
    "tests": (dict,),
    "n_study": (int,),
    "shown_words": (list, str),
    "given": (list,),
    "given_in_training": (bool,),
    "permute": (list,),
    "p_permute": (float, int),
    "n_study_queries": (int,),
    "by_parts": (bool,),
    "max_input": (int,),
    "max_output": (int,),
}
"""The keys of a corpus file and the types of their values."""

_CORPUS_KEYS = ("n_study", "given_in_training", "p_permute", "n_study_queries")

_MAX_VALUES = {"p_permute": 1}

_SIDES = (("word", "max_input"), ("symbol", "max_output"))
"""What the two sides of a pair consist of, and the key of their longest."""


def register_corpus(path: str | Path, *, allow_overlap: bool = False) -> EpisodeType:
    """Make an episode type of a corpus file, which every command and function knows from then on.

    Its name is the `name` in the file, or that of the file.

    Args:
        allow_overlap: accept test inputs that are training inputs too.
    Raises:
        FormatError: lists everything that is wrong with the file, or with those that it names.
    """
    path = Path(path)
    row = _CorpusFile(path).episode_type(allow_overlap)
    plugins.register(EPISODE_TYPES, "episode type", row.name, row, by=f"corpus {path.name}")
    return row


def register_corpus_of_model(info: Mapping[str, Any]) -> None:
    """Register the corpus that a model was trained on, if it was and the file is still there."""
    options = info.get("options") or {}
    if (file := options.get("corpus")) and Path(file).is_file():
        register_corpus(file, allow_overlap=bool(options.get("allow_overlap")))


class _CorpusFile:
    """A corpus file with the files that it names, and the errors found in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = read_text(path)
        self.n_overlapping = 0
        self.errors: list[FormatError] = []
        try:
            self.table = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(f"not a corpus file in TOML: {error}", source=str(path)) from None
        self.check_keys()
        self.raise_errors()
        self.tests: dict[str, str] = self.table["tests"]
        self.files = {"train": self.table["train"], **self.tests}
        self.pairs = {"train": self.read_file("train")}
        tables = self.table.get("permute", [])
        self.groups = [self.read_group(number, table) for number, table in enumerate(tables)]
        self.shown_words = self.words("shown_words", self.table.get("shown_words", []))
        self.given = self.table.get("given", [])
        self.check_groups()
        self.raise_errors()  # as more errors would follow from these
        self.pairs |= {test: self.read_file(test) for test in self.tests}

    def episode_type(self, allow_overlap: bool) -> EpisodeType:
        self.check_study_sets()
        for test in self.tests:
            self.check_test(test, allow_overlap)
        self.raise_errors()
        train = tuple(self.pairs["train"].values())
        by_input = {" ".join(pair.input): pair for pair in train}
        corpus = Corpus(
            train,
            {test: _with_items(self.pairs[test].values(), test) for test in self.tests},
            shown_words=frozenset(self.shown_words),
            given=tuple([by_input[given] for given in self.given]),
            word_groups=tuple([words for words, _ in self.groups]),
            symbol_groups=tuple([symbols for _, symbols in self.groups]),
            allow_overlap=allow_overlap,
            description=f"the corpus {self.path}",
            **{key: self.table[key] for key in _CORPUS_KEYS if key in self.table},
        )
        every = (*corpus.train, *corpus.all_tests)
        name = self.table.get("name", self.path.stem)
        summary = self.table.get("summary", f"the corpus {self.path.name}")
        if self.n_overlapping:
            summary += (
                f"; {self.n_overlapping} of {len(corpus.all_tests)} test inputs are trained on"
            )
        return corpus_type(
            name,
            summary,
            lambda data: corpus,
            by_parts=self.table.get("by_parts", False),
            max_input=max(len(pair.input) for pair in every),
            max_output=max(len(pair.output) for pair in every),
            n_validation=200,
            tests_training=self.n_overlapping > 0,
            data_sources=(f"the corpus {self.path.name}",),
            label=name,
            training_defaults={"paper": {"arch": "pairwise"}, "fast": FAST_OPTIONS},
        )

    def raise_errors(self) -> None:
        if self.errors:
            raise merge_errors(self.errors)

    def error(self, key: str, problem: str, number: int = 0) -> None:
        """Note an error at the line of a key, or of its occurrence of that number."""
        at_key = re.compile(rf'\s*\[*\s*"?{re.escape(key)}\b')
        lines = [n for n, line in enumerate(self.text.splitlines(), 1) if at_key.match(line)]
        line = lines[number] if number < len(lines) else None
        self.errors.append(FormatError(problem, source=str(self.path), line=line))

    def line_error(self, name: str, line: int | None, problem: str) -> None:
        """Note an error in the training file or the file of a test."""
        source = str(self.path.parent / self.files[name])
        self.errors.append(FormatError(problem, source=source, line=line))

    def check_keys(self) -> None:
        for key, value in self.table.items():
            kinds = KEYS.get(key)
            if kinds is None:
                hint = did_you_mean(key, KEYS) or f"there are {', '.join(KEYS)}"
                self.error(key, f"unknown key {key}; {hint}")
            elif type(value) not in kinds:
                expected = " or ".join(kind.__name__ for kind in kinds)
                self.error(key, f"{key} is {value!r}, but must be of type {expected}")
            elif isinstance(value, int | float) and not 0 <= value <= _MAX_VALUES.get(key, value):
                self.error(key, f"{key} is {value}, but must be at least 0 (p_permute: at most 1)")
        for key, example in (
            ("train", 'train = "train.tsv"'),
            ("tests", '[tests] new = "new.tsv"'),
        ):
            if not self.table.get(key):
                self.error(key, f"{key} is missing; write, for example, {example}")
        tests = self.table.get("tests")
        for test, file in tests.items() if isinstance(tests, dict) else ():
            if not isinstance(file, str) or test == "train":
                self.error(
                    test, f"{test} = {file!r}: give each test a file, and a name (not train)"
                )

    def read_file(self, name: str) -> dict[int, Example]:
        """The pairs of the training or a test file by line."""
        path = self.path.parent / self.files[name]
        if not path.is_file():
            self.error(name, f"there is no file {path}; correct its name, relative to this file")
            return {}
        pairs = read_numbered_pairs(path, self.errors)
        for side, (kind, limit) in enumerate(_SIDES):
            for line, pair in pairs.items():
                if len(pair[:2][side]) > (longest := self.table.get(limit, len(pair[:2][side]))):
                    problem = f"{len(pair[:2][side])} {kind}s, more than {limit} = {longest} allows"
                    self.line_error(name, line, f"{problem}; raise it, or remove this line")
        return pairs

    def words(self, key: str, value: Any, number: int = 0) -> tuple[str, ...]:
        """A list of words, or the words of the file that it names."""
        if isinstance(value, str):
            path = self.path.parent / value
            if path.is_file():
                return tuple(read_text(path).split())
            self.error(key, f"there is no word list {path}; correct its name", number)
        elif isinstance(value, list) and all(
            isinstance(w, str) and w.split() == [w] for w in value
        ):
            return tuple(value)
        else:
            self.error(key, f"{key} must be a list of words without blanks, or a file", number)
        return ()

    def read_group(self, number: int, table: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words and symbols of a table `[[permute]]`."""
        if not isinstance(table, dict) or set(table) != {"words", "symbols"}:
            self.error("permute", "write [[permute]] with both words and symbols", number)
            return (), ()
        words, symbols = (self.words(key, table[key], number) for key in ("words", "symbols"))
        if words and symbols and len(words) != len(symbols):
            sizes = f"{len(words)} words, but {len(symbols)} symbols"
            self.error("permute", f"the group has {sizes}; list as many of both", number)
        return words, symbols

    def check_groups(self) -> None:
        for side, (kind, _) in enumerate(_SIDES):
            members = [member for group in self.groups for member in group[side]]
            if twice := [m for m in dict.fromkeys(members) if members.count(m) > 1]:
                listed = f"{kind}s {' '.join(twice)}"
                self.error("permute", f"the groups have the {listed} twice; leave each in one")

    def check_study_sets(self) -> None:
        inputs = {" ".join(pair.input) for pair in self.pairs["train"].values()}
        if missing := [given for given in self.given if given not in inputs]:
            listed = ", ".join(map(repr, missing))
            self.error("given", f"no training pair has the input {listed}; correct or remove it")
        n_study = self.table.get("n_study", Corpus.n_study)
        if n_study >= len(inputs):
            needed = f"{n_study} study examples are needed, but each query has"
            self.error(
                "n_study", f"{needed} {len(inputs) - 1} other training inputs; lower n_study"
            )

    def check_test(self, test: str, allow_overlap: bool) -> None:
        """Note words and symbols that training cannot show, and inputs that it has."""
        train, queries = self.pairs["train"].values(), self.pairs[test]
        known = [{token for pair in train for token in pair[:2][side]} for side in (0, 1)]
        for side, (kind, _) in enumerate(_SIDES):
            known[side].update(token for group in self.groups for token in group[side])
            for line, query in queries.items():
                unknown = [
                    token for token in dict.fromkeys(query[:2][side]) if token not in known[side]
                ]
                if unknown:
                    problem = f"no training pair has the {kind} {' '.join(unknown)}"
                    self.line_error(test, line, f"{problem}; add one, or remove this line")
        for word in known[0].intersection(self.shown_words):
            inputs = {pair.input for pair in train if word in pair.input}
            for line, query in queries.items():
                if word in query.input and inputs <= {query.input}:
                    problem = f"no other training pair can show the word {word}"
                    self.line_error(test, line, f"{problem}; add one, or remove this line")
        trained = {pair.input for pair in train}
        overlap = [
            f"{' '.join(q.input)!r} (line {n})" for n, q in queries.items() if q.input in trained
        ]
        self.n_overlapping += len(overlap)
        if overlap and not allow_overlap:
            named = ", ".join(overlap[:5]) + (" …" if len(overlap) > 5 else "")
            problem = f"{len(overlap)} of {len(queries)} inputs are training inputs too: {named}"
            self.line_error(test, None, f"{problem}; remove them, or give --allow_overlap")


def _with_items(queries: Iterable[Example], name: str) -> Pairs:
    """The queries, with the test's name where they have no label."""
    return tuple([query._replace(item=query.item or name) for query in queries])
