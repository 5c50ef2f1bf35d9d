"""COGS (Kim & Linzen 2020): sentences and their logical forms, and how episodes are made of them.

Output tokens are upper-cased as published; those that are input words too get a `&` before them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random

from biml.episodes.cogs_phrases import PhraseSubstitution, read_facts
from biml.episodes.corpus import Corpus, read_pairs
from biml.episodes.episode import Episode, Example, GrammarLabels
from biml.episodes.episode_type import WITHOUT_STUDY, EpisodeType, corpus_type
from biml.episodes.scan import BENCHMARK_MODELS, FAST_OPTIONS
from biml.errors import BimlError
from biml.grammar import Rule
from biml.io import read_text
from biml.paths import DataFolders
from biml.rng import generator

STRUCTURAL = ("cp_recursion", "obj_pp_to_subj_pp", "pp_recursion")
"""Generalisation types with new structures; the 18 others have known words in new positions."""

WORD_LISTS = ("common_nouns", "proper_nouns", "verbs_infinitive", "verbs_dative_input")
SYMBOL_LISTS = (*WORD_LISTS[:3], "verbs_dative_output")
"""Files `vocab_NAME.txt`; symbols are upper-cased."""

N_STUDY, N_STUDY_STRUCTURAL = 8, 18

MAX_INPUT, MAX_OUTPUT = 61, 480
"""Tokens of the longest sentence and logical form, in the structural generalisation set."""

MAX_RECOMBINED = 55
"""Words of the longest recombined sentence: its indices up to 54 are output symbols of COGS."""

P_CONVERT_NOUN = 0.01

P_SHOWN_ALONE = 0.2

MODIFIER = "&. NMOD"
"""Stands between a noun and the preposition of its phrase."""


def cogs_corpus(data: DataFolders) -> Corpus:
    """COGS with the published way to make episodes; test sets dev, test, lexical and structural."""
    return _read_corpus(data.require("cogs"))


@lru_cache(maxsize=2)
def _read_corpus(folder: Path) -> Corpus:
    whole = (folder / "gen.tsv").is_file()
    generalisation = ("gen.tsv",) if whole else ("gen_lexical.tsv", "gen_structural.tsv")
    names = ("train.tsv", "dev.tsv", "test.tsv", *generalisation)
    lists = {name: f"vocab_{name}.txt" for name in (*WORD_LISTS, *SYMBOL_LISTS)}
    if missing := [file for file in (*names, *lists.values()) if not (folder / file).is_file()]:
        raise BimlError(
            f"{folder}: lacks {', '.join(missing)}; fetch them with `biml data download cogs`, or "
            "add them with `biml data import`"
        )
    files = [read_pairs(folder / name) for name in names]
    words = {word for pairs in files for pair in pairs for word in pair.input}
    symbol_of = SymbolNames(words)
    train, dev, test, *parts = (
        tuple([pair._replace(output=symbol_of.all(pair.output)) for pair in pairs])
        for pairs in files
    )
    # In an order that does not depend on the publisher of these files.
    queries = sorted(query for part in parts for query in part)
    generator(0, "COGS").shuffle(queries)
    word_groups = tuple(_read_list(folder / lists[name]) for name in WORD_LISTS)
    symbol_groups = tuple(symbol_of.all(_read_list(folder / lists[name])) for name in SYMBOL_LISTS)
    nouns, names_of_people = word_groups[:2]
    meanings = {
        word: Rule((word,), (symbol,))
        for words, symbols in zip(word_groups, symbol_groups, strict=True)
        for word, symbol in zip(words, symbols, strict=True)
    }
    return Corpus(
        train,
        {
            "dev": dev,
            "test": test,
            "lexical": tuple([query for query in queries if query.item not in STRUCTURAL]),
            "structural": tuple([query for query in queries if query.item in STRUCTURAL]),
        },
        n_study=N_STUDY,
        shown_words=frozenset(word for group in word_groups for word in group),
        word_groups=word_groups,
        symbol_groups=symbol_groups,
        transforms=(
            partial(
                convert_nouns,
                nouns=frozenset(nouns),
                names=names_of_people,
                symbol_of={word: symbol_of[word] for word in (*nouns, *names_of_people)},
            ),
        ),
        label=partial(label_episode, meanings=meanings),
        description=f"COGS in {folder}",
    )


@lru_cache(maxsize=2)
def recombined_corpus(data: DataFolders) -> Corpus:
    """The same with half of the training queries made of phrases of several sentences.

    Study sets also show all verbs (in each form), and the symbols of all verbs are permuted, so
    that their meanings are read from the study examples. Some show a noun by itself.
    """
    corpus = cogs_corpus(data)
    groups = zip(corpus.word_groups, corpus.symbol_groups, strict=True)
    common, proper, *_ = (dict(zip(*group, strict=True)) for group in groups)
    nouns = [
        (symbols, alone[0])
        for symbols in (common, proper)
        if (alone := [pair for pair in corpus.train if " ".join(pair.input) in symbols])
    ]
    sentences = [
        (pair.input, read_facts(pair.output)) for pair in corpus.train if len(pair.input) > 1
    ]
    words = {words[fact.word] for words, facts in sentences for fact in facts}
    symbols = {fact.predicate[0] for _, facts in sentences for fact in facts}
    verbs = symbols.difference(*corpus.symbol_groups)
    return replace(
        corpus,
        shown_words=corpus.shown_words | words,
        symbol_groups=(*corpus.symbol_groups, tuple(sorted(verbs))),
        transforms=(*corpus.transforms, partial(show_alone, nouns=nouns)),
        recombine=PhraseSubstitution(corpus.train, MAX_RECOMBINED, proper),
    )


def show_alone(
    episode: Episode,
    rng: Random,
    *,
    nouns: Sequence[tuple[Mapping[str, str], Example]],
    p: float = P_SHOWN_ALONE,
) -> Episode:
    """With probability `p`, show one noun of the queries by itself, in no other study example.

    Study examples with it get another noun of its list.

    Args:
        nouns: of each list the symbols by word, and a training pair of one such noun alone.
    """
    queried = dict.fromkeys(word for query in episode.queries for word in query.input)
    known = [(words, *row) for row in nouns if (words := [w for w in queried if w in row[0]])]
    if not known or rng.random() >= p:
        return episode
    words, symbols, alone = rng.choice(known)
    noun = rng.choice(words)
    used = {word for example in (*episode.study, *episode.queries) for word in example.input}
    other = rng.choice([word for word in symbols if word not in used])
    study = [_with_noun(example, noun, other, symbols) for example in episode.study]
    shown = _with_noun(alone, alone.input[0], noun, symbols)
    study.insert(rng.randint(0, len(study)), shown)
    return replace(episode, study=tuple(study))


def _with_noun(example: Example, old: str, new: str, symbols: Mapping[str, str]) -> Example:
    if old not in example.input:
        return example
    return example._replace(
        input=tuple([new if word == old else word for word in example.input]),
        output=tuple([symbols[new] if s == symbols[old] else s for s in example.output]),
    )


def _read_list(path: Path) -> tuple[str, ...]:
    return tuple(read_text(path).split())


class SymbolNames(dict[str, str]):
    """The name of an output token in episodes, given all input words.

    >>> SymbolNames({".", "A", "TV"}).all(("tv", ".", "theme"))
    ('&TV', '&.', 'THEME')
    """

    def __init__(self, words: set[str]) -> None:
        self._words = words

    def __missing__(self, token: str) -> str:
        upper = token.upper()
        name = self[token] = f"&{upper}" if upper in self._words else upper
        return name

    def all(self, tokens: Sequence[str]) -> tuple[str, ...]:
        return tuple([self[token] for token in tokens])


def label_episode(episode: Episode, *, meanings: Mapping[str, Rule]) -> GrammarLabels:
    """Label an episode by its logical forms: the words of indices, predicates and names.

    The meaning of a word of the lists is its symbol.
    """
    words = dict.fromkeys(word for example in episode.study for word in example.input)
    return GrammarLabels(
        tuple([source_words(e.input, e.output) for e in episode.study]),
        tuple([source_words(e.input, e.output) for e in episode.queries]),
        {word: meanings[word] for word in words if word in meanings},
    )


@lru_cache(maxsize=30_000)
def source_words(words: tuple[str, ...], form: tuple[str, ...]) -> tuple[int, ...]:
    """The word that each symbol of a logical form stands for; -1 for punctuation.

    >>> form = "* CAT ( X _ 1 ) ; RUN &. AGENT ( X _ 2 , EVA )"
    >>> source_words(("The", "cat", "ran", "."), tuple(form.split()))
    (-1, 1, -1, -1, -1, 1, -1, -1, 2, -1, 2, -1, -1, -1, 2, -1, -1, -1)
    """
    spelled = {word.upper(): position for position, word in enumerate(words)}
    if len(words) == 1:  # a primitive
        return tuple([spelled.get(symbol, -1) for symbol in form])
    sources = []
    for at, symbol in enumerate(form):
        source = -1
        if symbol.isdigit():
            source = int(symbol)
        elif form[at + 1 : at + 4] == ("(", "X", "_"):
            source = int(form[at + 4])
        elif form[at + 1 : at + 2] == ("&.",) and "(" in form[at:]:
            source = int(form[form.index("(", at) + 3])
        elif symbol.isalpha() and (at == 0 or form[at - 1] == ","):
            source = spelled.get(symbol, -1)
        sources.append(source if source < len(words) else -1)
    return tuple(sources)


def convert_nouns(
    episode: Episode,
    rng: Random,
    *,
    nouns: frozenset[str],
    names: Sequence[str],
    symbol_of: Mapping[str, str],
    p: float = P_CONVERT_NOUN,
) -> Episode:
    """Turn each common noun with probability `p` into a proper noun that the episode lacks.

    A noun that has a prepositional phrase anywhere stays, as no proper noun of COGS has one.
    """
    examples = (*episode.study, *episode.queries)
    used = dict.fromkeys(word for example in examples for word in example.input)
    chosen = [word for word in used if word in nouns and rng.random() < p]
    free = [name for name in names if name not in used]
    new_names = rng.sample(free, min(len(free), len(chosen)))
    for noun, name in zip(chosen, new_names, strict=False):
        phrase = f"{symbol_of[noun]} {MODIFIER}"
        if not any(phrase in " ".join(example.output) for example in examples):
            convert = partial(as_proper_noun, noun=noun, name=name, symbol_of=symbol_of)
            study, queries = (tuple(map(convert, e)) for e in (episode.study, episode.queries))
            episode = replace(episode, study=study, queries=queries)
    return episode


def as_proper_noun(
    example: Example, *, noun: str, name: str, symbol_of: Mapping[str, str]
) -> Example:
    """Turn a common noun into a proper one, without determiner; later indices count down.

    >>> form = "CAT ( X _ 1 ) AND RUN &. AGENT ( X _ 2 , X _ 1 )"
    >>> pair = Example(("A", "cat", "ran", "."), tuple(form.split()))
    >>> symbols = {"cat": "CAT", "Eva": "EVA"}
    >>> converted = as_proper_noun(pair, noun="cat", name="Eva", symbol_of=symbols)
    >>> " ".join(converted.input), " ".join(converted.output)
    ('Eva ran .', 'RUN &. AGENT ( X _ 1 , EVA )')
    """
    at = [position for position, word in enumerate(example.input) if word == noun]
    if not at or len(example.input) == 1:
        return example._replace(input=(name,), output=(symbol_of[name],)) if at else example
    output = " ".join(example.output)
    for position in at:
        clause = f"{symbol_of[noun]} ( X _ {position} )"
        for whole in (f"* {clause} ; ", f"{clause} AND ", f" AND {clause}"):
            output = output.replace(whole, "")

    def reindexed(match: re.Match[str]) -> str:
        index = int(match[1])
        return symbol_of[name] if index in at else f"X _ {index - sum(i < index for i in at)}"

    words = [name if word == noun else word for word in example.input]
    kept = [word for position, word in enumerate(words, 1) if position not in at]
    symbols = re.sub(r"X _ (\d+)", reindexed, output).split()
    return example._replace(input=tuple(kept), output=tuple(symbols))


_FAST_COGS = {
    **FAST_OPTIONS,
    "nlayers_encoder": 4,
    "nlayers_query": 3,
    "nlayers_decoder": 4,
    "emb_size": 128,
    "merge_symbols": 16,
    "n_queries": 4,
    "nepochs": 12,
    "aux_loss_weight": 0.3,
}
_TEST_SETS = {
    "cogs_train_targeted": ("dev", N_STUDY, "the training sentences, and the development set"),
    "cogs_iid": ("test", N_STUDY, "the test set"),
    "cogs_gen_lex": ("lexical", N_STUDY, "lexical generalisation, 18 types"),
    "cogs_gen_struct": (
        "structural",
        N_STUDY_STRUCTURAL,
        "structural generalisation, 3 types",
    ),
}
"""The test set of each, the size of its study sets, and a summary."""


def _cogs_type(name: str, *, uses_study: bool = True, recombined: bool = False) -> EpisodeType:
    test, n_study, summary = _TEST_SETS[name]
    is_trained = test == "dev"
    plain = name.removesuffix("_targeted")
    suffix = "+phrases" if recombined else "" if uses_study else "_vanilla"
    details = "" if uses_study else WITHOUT_STUDY
    if recombined:
        details = f", study sets show verbs too{', phrases are recombined' if is_trained else ''}"
    return corpus_type(
        f"{plain}{suffix}" if suffix else name,
        f"COGS, {summary}{details}",
        recombined_corpus if recombined else cogs_corpus,
        tests=(test,),
        n_study=n_study,
        is_trained=is_trained,
        uses_study=uses_study,
        max_input=MAX_INPUT,
        max_output=MAX_OUTPUT,
        test_types=[f"{other}{suffix}" for other in _TEST_SETS if "train" not in other],
        has_labels=True,
        n_validation=300,
        requirements=("cogs",),
        data_sources=("COGS",) if is_trained else (),
        label=("BIML" if uses_study else "Basic seq2seq") if is_trained else "",
        paper_model=BENCHMARK_MODELS[uses_study] if is_trained else "",
        training_defaults={
            "paper": {"arch": "pairwise", "batch_size": 40, "nepochs": 300},
            "fast": _FAST_COGS | ({"n_queries": 2, "nepochs": 5} if recombined else {}),
        },
    )


COGS_TYPES = (
    *(_cogs_type(name) for name in _TEST_SETS),
    *(_cogs_type(name, recombined=True) for name in _TEST_SETS),
    *(_cogs_type(name, uses_study=False) for name in _TEST_SETS),
)
