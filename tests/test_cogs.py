"""COGS: reading of its files, conversion of nouns, and the episodes of its types."""

import json
import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import pytest

from biml.episodes.cogs import (
    MAX_INPUT,
    STRUCTURAL,
    as_proper_noun,
    cogs_corpus,
    convert_nouns,
    recombined_corpus,
    show_alone,
)
from biml.episodes.cogs_phrases import Phrase, Sentence, read_facts, write_facts
from biml.episodes.corpus import Corpus, CorpusDataset
from biml.episodes.episode import Episode, Example
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import BimlError
from biml.paths import DataFolders
from biml.rng import generator
from biml.training.setup import resolve_options
from fakes.corpora import PROPER, write_cogs

TYPES = ("cogs_train_targeted", "cogs_iid", "cogs_gen_lex", "cogs_gen_struct")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolders:
    folder = tmp_path_factory.mktemp("corpora")
    write_cogs(folder)
    return DataFolders(folder, ())


@pytest.fixture(scope="module")
def published(shared: Path) -> DataFolders:
    return DataFolders(shared, ())


def example(input: str, output: str) -> Example:
    return Example(tuple(input.split()), tuple(output.split()))


def test_output_tokens_are_upper_case_and_marked_where_they_are_input_words(
    data: DataFolders,
) -> None:
    corpus = cogs_corpus(data)
    by_input = {" ".join(pair.input): " ".join(pair.output) for pair in corpus.train}
    assert by_input["shark"] == "LAMBDA &A &. SHARK ( &A )"
    assert "LIKE &. THEME ( X _ 1 , X _ 3 ) AND &TV ( X _ 3 )" in by_input["Emma liked a TV ."]
    assert corpus.symbol_groups[0] == ("&TV", "CAT", "DOG", "CAKE", "SHARK")
    assert corpus.word_groups[3] == ("sent", "sold")
    assert corpus.symbol_groups[3] == ("SEND", "SELL")


@pytest.mark.published_data
def test_the_published_corpus_has_its_sizes_and_vocabulary(published: DataFolders) -> None:
    corpus = cogs_corpus(published)
    assert len(corpus.train) == 24_155
    sizes = {"dev": 3000, "test": 3000, "lexical": 18_000, "structural": 3000}
    assert {name: len(queries) for name, queries in corpus.tests.items()} == sizes
    pairs = (*corpus.train, *corpus.all_tests)
    words = {word for pair in pairs for word in pair.input}
    symbols = {symbol for pair in pairs for symbol in pair.output}
    assert (len(words), len(symbols)) == (745, 723)
    assert {symbol for symbol in symbols if symbol[0] == "&"} == {"&.", "&A", "&TV"}
    assert set(corpus.vocabulary.input.symbols) == words | symbols
    assert [len(group) for group in corpus.word_groups] == [406, 103, 21, 22]
    assert [len(group) for group in corpus.symbol_groups] == [406, 103, 21, 22]
    for test, longest in (("lexical", (21, 155)), ("structural", (61, 480))):
        queries = corpus.tests[test]
        assert longest == tuple(max(len(query[side]) for query in queries) for side in (0, 1))
    row = EPISODE_TYPES["cogs_train_targeted"]
    assert (row.max_input, row.max_output) == longest
    assert len(corpus.train) - len(corpus.training_queries) == 21
    types = Counter(query.item for query in (*corpus.tests["lexical"], *corpus.tests["structural"]))
    assert set(types.values()) == {1000}
    assert (len(types), len(types.keys() & set(STRUCTURAL))) == (21, 3)


@pytest.mark.published_data
def test_tokens_are_those_of_the_released_network(shared: Path, published: DataFolders) -> None:
    pairs = {(" ".join(p.input), " ".join(p.output)) for p in cogs_corpus(published).train}
    vectors = json.loads((shared / "scale" / "net-scale-cogs.json").read_text())
    assert all(tuple(pair) in pairs for e in vectors["episodes"] for pair in e["study"])


def test_a_noun_becomes_a_proper_one_without_determiner_and_index() -> None:
    symbols = {"cat": "CAT", "Eva": "EVA"}
    convert = partial(as_proper_noun, noun="cat", name="Eva", symbol_of=symbols)
    definite = "* CAT ( X _ 1 ) ; * DOG ( X _ 4 ) ; SEE &. AGENT ( X _ 2 , X _ 1 ) AND "
    assert convert(
        example("The cat saw the dog .", f"{definite}SEE &. THEME ( X _ 2 , X _ 4 )")
    ) == (
        example(
            "Eva saw the dog .",
            "* DOG ( X _ 3 ) ; SEE &. AGENT ( X _ 1 , EVA ) AND SEE &. THEME ( X _ 1 , X _ 3 )",
        )
    )
    twice = "CAT ( X _ 1 ) AND SEE &. AGENT ( X _ 2 , X _ 1 ) AND "
    twice += "SEE &. THEME ( X _ 2 , X _ 4 ) AND CAT ( X _ 4 )"
    assert convert(example("A cat saw a cat .", twice)) == (
        example("Eva saw Eva .", "SEE &. AGENT ( X _ 1 , EVA ) AND SEE &. THEME ( X _ 1 , EVA )")
    )
    assert convert(example("cat", "LAMBDA &A &. CAT ( &A )")) == example("Eva", "EVA")
    other = example("A dog ran .", "DOG ( X _ 1 ) AND RUN &. AGENT ( X _ 2 , X _ 1 )")
    assert convert(other) == other


def test_converted_nouns_get_a_new_name_unless_they_have_a_phrase(data: DataFolders) -> None:
    corpus = cogs_corpus(data)
    (transform,) = corpus.transforms
    always = partial(convert_nouns, **{**transform.keywords, "p": 1.0})
    simple = example(
        "Emma liked a cat .",
        "LIKE &. AGENT ( X _ 1 , EMMA ) AND LIKE &. THEME ( X _ 1 , X _ 3 ) AND CAT ( X _ 3 )",
    )
    converted = always(Episode((simple,), (simple,)), generator(0))
    assert converted.study == converted.queries
    agent, verb, name, _ = converted.queries[0].input
    assert (agent, verb) == ("Emma", "liked")
    assert name in set(PROPER) - {"Emma"}
    (modified,) = corpus.tests["structural"]
    study = (corpus.train[-3], simple)
    kept = always(Episode(study, (modified,)), generator(0))
    assert kept.queries[0].input[:3] == ("A", "cat", "on")  # it has a phrase
    assert "cat" in kept.study[1].input
    assert kept.study[0].input[0] in PROPER  # the shark has none


def test_a_noun_of_a_query_is_shown_by_itself_and_by_no_other_study_example() -> None:
    proper = {"Emma": "EMMA", "Eva": "EVA", "Paula": "PAULA"}
    query = example("Emma ran .", "RUN &. AGENT ( X _ 1 , EMMA )")
    study = (example("Emma slept .", "SLEEP &. AGENT ( X _ 1 , EMMA )"), example("ran", "RUN"))
    nouns = [(proper, example("Paula", "PAULA"))]
    shown = show_alone(Episode(study, (query,)), generator(0), nouns=nouns, p=1.0)
    assert shown.queries == (query,)
    assert [e.output for e in shown.study if "Emma" in e.input] == [("EMMA",)]
    (slept,) = [e for e in shown.study if "slept" in e.input]
    name = slept.input[0]
    assert slept == example(f"{name} slept .", f"SLEEP &. AGENT ( X _ 1 , {name.upper()} )")
    assert name in ("Eva", "Paula")
    assert study[1] in shown.study


def check_study(corpus: Corpus, episode: Episode) -> None:
    """Every listed word of the query is in another sentence of the study set."""
    shown = {word for pair in episode.study for word in pair.input}
    query = episode.queries[-1]
    assert set(query.input) & corpus.shown_words <= shown
    assert query.input not in {pair.input for pair in episode.study}


@pytest.mark.parametrize("name", TYPES)
def test_evaluation_shows_the_listed_words_and_names_the_type(name: str, data: DataFolders) -> None:
    row, corpus = EPISODE_TYPES[name], cogs_corpus(data)
    episodes = row.open_evaluation(data, 0).repeat(0)
    known = set(corpus.train)
    for episode in episodes:
        check_study(corpus, episode)
        assert len(episode.study) == (18 if name == "cogs_gen_struct" else 8)
        assert set(episode.study) <= known
        assert episode.remapping is None
    items = {episode.queries[0].item for episode in episodes}
    lexical = {"prim_to_subj_common", "prim_to_subj_proper", "prim_to_obj_common"}
    in_distribution = {"in_distribution"}
    expected = [in_distribution, in_distribution, lexical, {"obj_pp_to_subj_pp"}]
    assert items == expected[TYPES.index(name)]


def test_training_permutes_words_within_their_lists(data: DataFolders) -> None:
    row, corpus = EPISODE_TYPES["cogs_train_targeted"], cogs_corpus(data)
    dataset = row.open_training(data, 0)
    assert len(dataset) == len(corpus.train) - 3  # the primitives are nowhere else
    tests = {query[:2] for query in corpus.all_tests}
    permuted, converted = 0, 0
    for index in range(400):
        episode = dataset[index]
        assert [query.in_study for query in episode.queries] == [True, False]
        assert len(episode.study) == 8
        check_study(corpus, episode)
        if episode.remapping is None:
            assert not tests & {e[:2] for e in (*episode.study, *episode.queries)}
            continue
        permuted += 1
        for mapping, groups in (
            (episode.remapping.words, corpus.word_groups),
            (episode.remapping.symbols, corpus.symbol_groups),
        ):
            for old, new in mapping.items():
                group = next((group for group in groups if old in group), (old,))
                assert new in group
        original = {old: new for new, old in episode.remapping.words.items()}
        for pair in episode.study:
            words = tuple(original[word] for word in pair.input)
            converted += words not in {pair.input for pair in corpus.train}
    assert 360 < permuted < 396
    assert 0 < converted < 400 * 8 * 0.1


@pytest.mark.parametrize("name", TYPES)
def test_vanilla_types_have_no_study_examples(name: str, data: DataFolders) -> None:
    row = EPISODE_TYPES[f"{name.removesuffix('_targeted')}_vanilla"]
    assert all(episode.study == () for episode in row.open_evaluation(data, 0).repeat(0))
    if row.training:
        dataset = row.open_training(data, 0)
        assert len(dataset) == len(cogs_corpus(data).train)
        assert dataset[0].study == ()
        assert dataset[0].queries[0] in cogs_corpus(data).train


def test_the_order_of_generalisation_queries_does_not_depend_on_the_file(
    data: DataFolders, tmp_path: Path
) -> None:
    other = tmp_path / "cogs"
    shutil.copytree(data.require("cogs"), other)
    parts = [other / f"gen_{name}.tsv" for name in ("structural", "lexical")]
    (other / "gen.tsv").write_text("".join(part.read_text() for part in parts))
    for part in parts:
        part.unlink()
    assert cogs_corpus(DataFolders(tmp_path, ())).tests == cogs_corpus(data).tests


def test_missing_files_are_named_all_at_once(data: DataFolders, tmp_path: Path) -> None:
    with pytest.raises(BimlError, match="biml data download cogs"):
        EPISODE_TYPES["cogs_iid"].open_evaluation(DataFolders(tmp_path, ()), 0)
    other = tmp_path / "cogs"
    shutil.copytree(data.require("cogs"), other)
    (other / "vocab_proper_nouns.txt").unlink()
    (other / "dev.tsv").unlink()
    with pytest.raises(BimlError, match=r"dev\.tsv, vocab_proper_nouns\.txt.*biml data"):
        EPISODE_TYPES["cogs_iid"].open_vocabulary(DataFolders(tmp_path, ()))


def test_options_not_given_have_the_published_values() -> None:
    options = resolve_options({"episode_type": "cogs_train_targeted"})
    assert (options["batch_size"], options["nepochs"]) == (40, 300)


ATE = "EAT &. AGENT ( X _ 1 , EMMA ) AND EAT &. THEME ( X _ 1 , X _ 3 ) AND "
SAID = "SAY &. AGENT ( X _ 1 , EMMA ) AND SAY &. CCOMP ( X _ 1 , "
CAT_IN_BOX = (
    "* CAT ( X _ 1 ) ; CAT &. NMOD &. IN ( X _ 1 , X _ 4 ) AND BOX ( X _ 4 ) "
    "AND RUN &. AGENT ( X _ 5 , X _ 1 )"
)


@pytest.mark.parametrize(
    ("host", "place", "other", "phrase", "expected"),
    [
        (
            ("Emma ate a cake .", f"{ATE}CAKE ( X _ 3 )"),
            Phrase(2, 4, 3, False),
            ("The cat in a box ran .", CAT_IN_BOX),
            Phrase(0, 5, 1, False),
            (
                "Emma ate the cat in a box .",
                f"* CAT ( X _ 3 ) ; {ATE}CAT &. NMOD &. IN ( X _ 3 , X _ 6 ) AND BOX ( X _ 6 )",
            ),
        ),
        (
            ("Emma said that Noah ran .", f"{SAID}X _ 4 ) AND RUN &. AGENT ( X _ 4 , NOAH )"),
            Phrase(3, 5, 4, True),
            ("A cat ran .", "CAT ( X _ 1 ) AND RUN &. AGENT ( X _ 2 , X _ 1 )"),
            Phrase(0, 3, 2, True),
            (
                "Emma said that a cat ran .",
                f"{SAID}X _ 5 ) AND CAT ( X _ 4 ) AND RUN &. AGENT ( X _ 5 , X _ 4 )",
            ),
        ),
    ],
    ids=["noun phrase", "clause"],
)
def test_phrase_takes_the_place_of_another(host, place, other, phrase, expected) -> None:
    sentences = [Sentence(tuple(w.split()), read_facts(f.split())) for w, f in (host, other)]
    for sentence, one in zip(sentences, (place, phrase), strict=True):
        assert one in sentence.phrases
    new = sentences[0].substitute(place, sentences[1], phrase)
    assert (" ".join(new.words), " ".join(write_facts(new.facts))) == expected


def test_name_takes_the_place_of_a_noun_phrase() -> None:
    form = (
        "* GIRL ( X _ 2 ) ; GIVE &. RECIPIENT ( X _ 0 , X _ 2 ) AND GIVE &. THEME ( X _ 0 , X _ 4 )"
    )
    given = Sentence(
        ("Give", "the", "girl", "a", "cake"),
        read_facts(f"{form} AND CAKE ( X _ 4 )".split()),
    )
    new = given.with_name(Phrase(1, 3, 2, False), "Ann", "ANN")
    expected = (
        "GIVE &. RECIPIENT ( X _ 0 , ANN ) AND GIVE &. THEME ( X _ 0 , X _ 3 ) AND CAKE ( X _ 3 )"
    )
    assert (" ".join(new.words), " ".join(write_facts(new.facts))) == ("Give Ann a cake", expected)


@pytest.mark.published_data
def test_logical_forms_of_all_sentences_are_written_as_they_were_read(
    published: DataFolders,
) -> None:
    corpus = cogs_corpus(published)
    for pair in (*corpus.train, *corpus.all_tests):
        if len(pair.input) > 1:
            assert write_facts(read_facts(pair.output)) == pair.output


@pytest.mark.published_data
def test_recombined_queries_are_no_test_inputs_and_keep_to_the_longest(
    published: DataFolders,
) -> None:
    corpus = recombined_corpus(published)
    tests = {query.input for query in corpus.all_tests}
    rng, known = Random(0), {pair.input for pair in corpus.train}
    queries = [corpus.recombined(query, rng) for query in corpus.train[:1000]]
    assert sum(query.input not in known for query in queries) > 300
    assert not tests.intersection(query.input for query in queries)
    assert max(len(query.input) for query in queries) <= MAX_INPUT
    # No name is the second object of a verb in a training sentence.
    pairs = re.compile(r"(gave|sent|sold|lended) [A-Z]\w+ [A-Z]\w+ ")
    assert not any(pairs.search(" ".join(pair.input)) for pair in corpus.train)
    assert any(pairs.search(" ".join(query.input)) for query in queries)


@pytest.mark.published_data
def test_labels_follow_a_permutation(published: DataFolders) -> None:
    corpus = recombined_corpus(published)
    nouns = {symbol for group in corpus.symbol_groups[:2] for symbol in group}
    dataset = CorpusDataset(corpus, 0, n_queries=2, with_labels=True)
    for index in range(20):
        episode = dataset[index]
        labels = episode.grammar_labels
        assert labels is not None
        for examples, sources in ((episode.study, labels.study), (episode.queries, labels.queries)):
            for example, of_one in zip(examples, sources, strict=True):
                for symbol, at in zip(example.output, of_one, strict=True):
                    if at >= 0 and symbol.isdigit():
                        assert int(symbol) == at
                    if at >= 0 and example.input[at] in labels.rules and symbol in nouns:
                        assert labels.rules[example.input[at]].rhs == (symbol,)
