"""Answers by parts: targets written with quoted phrases, and responses put together from them."""

from dataclasses import replace
from random import Random

import pytest
import torch

from biml.episodes.corpus import Corpus, CorpusDataset
from biml.episodes.corpus_file import register_corpus
from biml.episodes.episode import Episode, Example
from biml.episodes.parts import decompose, respond_by_parts, to_parts, to_symbols
from biml.episodes.registry import episode_type
from biml.episodes.scan import SCAN_GRAMMAR, scan_split
from biml.errors import UsageError
from biml.evaluation.network import greedy_decode, response_log_probs, teacher_forced_exact_match
from biml.networks.registry import build_network
from biml.paths import DataFolders


def pair(words: str, symbols: str) -> Example:
    return Example(tuple(words.split()), tuple(symbols.split()))


@pytest.fixture(scope="module")
def scan_outputs() -> dict[tuple[str, ...], tuple[str, ...]]:
    train, _ = scan_split("length", DataFolders(None))
    return {example.input: example.output for example in train}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("walk around left", "L WALK L WALK L WALK L WALK"),
        ("look left twice and jump", "[ look left twice ] JUMP"),
        ("walk around left after jump twice", "[ jump twice ] [ walk around left ]"),
        ("run opposite left thrice", "[ run opposite left ] " * 3),
        ("turn around left twice", "[ turn around left ] [ turn around left ]"),
    ],
)
def test_decomposition_has_the_fewest_parts(scan_outputs, command, expected):
    words = tuple(command.split())
    expected = expected.replace("L ", "I_TURN_LEFT ").replace("WALK", "I_WALK")
    expected = expected.replace("JUMP", "I_JUMP")
    assert to_symbols(decompose(words, scan_outputs[words], scan_outputs)) == tuple(
        expected.split()
    )


def test_ambiguous_decomposition_is_none(scan_outputs):
    words = ("jump", "and", "jump", "twice")
    assert decompose(words, scan_outputs[words], scan_outputs) is None


def test_decomposition_uses_training_outputs_only(scan_outputs):
    words = ("walk", "around", "left", "thrice")
    assert words not in scan_outputs  # longer than all training outputs
    longer = (*words, "and", "run")
    parts = decompose(longer, SCAN_GRAMMAR.interpret(longer), scan_outputs)
    assert words not in (parts or ())


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("A [ b c ] A", ("A", ("b", "c"), "A")),
        ("", ()),
        ("[ b ]", (("b",),)),
        ("[ b", None),
        ("b ]", None),
        ("[ ]", None),
        ("[ b [ c ] ]", None),
        ("[ a b c ]", None),  # the query itself
        ("[ b a ]", None),  # no phrase of the query
    ],
)
def test_response_quotes_only_shorter_phrases_of_its_query(response, parts):
    assert to_parts(response.split(), ("a", "b", "c")) == parts


def test_responses_are_put_together_and_phrases_answered_once():
    rules = {
        "a twice": "[ a ] [ a ]",
        "a twice and b": "[ a twice ] [ b ]",
        "a": "A",
        "b": "B B",
        "b twice": "[ b twice ]",  # quotes itself: no response
    }
    answered: list[str] = []

    def respond(episodes):
        texts = [[" ".join(query.input) for query in e.queries] for e in episodes]
        answered.extend(text for of_one in texts for text in of_one)
        return [[tuple(rules[text].split()) for text in of_one] for of_one in texts]

    queries = tuple(pair(text, "") for text in ("a twice and b", "b twice", "a twice and b"))
    (responses,) = respond_by_parts(respond, [Episode((), queries)], 10)
    assert responses == [("A", "A", "B", "B"), (), ("A", "A", "B", "B")]
    assert sorted(answered) == ["a", "a twice", "a twice and b", "b", "b twice"]
    (cut,) = respond_by_parts(respond, [Episode((), queries[:1])], 3)
    assert cut == [("A", "A", "B")]


def test_training_episodes_quote_permuted_words():
    kind = episode_type("length_actions+parts")
    dataset = replace(kind.open_training(DataFolders(None), 0), n_queries=8)
    n_quoted = 0
    for index in range(20):
        for query in dataset[index].queries:
            parts = to_parts(query.output, query.input)
            assert parts is not None
            n_quoted += any(not isinstance(part, str) for part in parts)
        for example in dataset[index].study:
            assert "[" not in example.output
    assert n_quoted > 20


def test_study_set_of_several_queries_shows_their_permuted_words():
    kind = episode_type("addprim_jump_actions")
    dataset = replace(kind.open_training(DataFolders(None), 0), n_queries=8)
    for index in range(30):
        episode = dataset[index]
        if episode.remapping is None:
            continue
        shown = {word for example in episode.study for word in example.input}
        assert {word for query in episode.queries for word in query.input} - shown <= {
            "and", "after", "around", "opposite", "twice", "thrice", "turn",
        }  # fmt: skip


def test_network_by_parts_has_responses_but_no_probabilities():
    pairs = (pair("a", "A"), pair("b", "B"), pair("a b", "A B"), pair("b a", "B A"))
    corpus = Corpus(pairs, {"test": ()}, n_study=2, by_parts=True, n_study_queries=0)
    torch.manual_seed(0)
    network = build_network("staged", {"emb_size": 16, "nheads": 2}, corpus.vocabulary, seed=0)
    episode = CorpusDataset(corpus, 0)[0]
    responses = greedy_decode(network, [episode], 6)
    exact = teacher_forced_exact_match(network, [episode], 6)
    assert exact == [
        [r == query.output for r, query in zip(responses[0], episode.queries, strict=True)]
    ]
    with pytest.raises(UsageError, match="--max"):
        response_log_probs(network, [episode])


def test_words_that_are_symbols_too_are_refused():
    pairs = (pair("a", "a"), pair("b", "B"))
    with pytest.raises(UsageError, match="'a'"):
        _ = Corpus(pairs, n_study=1, by_parts=True).vocabulary


def test_short_queries_are_trained_too(scan_outputs):
    train = tuple(Example(words, output) for words, output in scan_outputs.items())
    corpus = Corpus(train, n_study=10, by_parts=True)
    queries = corpus.answer_by_parts(Random(0).sample(train, 300), Random(0))
    assert sum(len(query.input) <= 4 for query in queries) > 60


def test_corpus_file_asks_for_answers_by_parts(tmp_path):
    lines = [f"{a} {b}\t{a.upper()} {b.upper()}" for a in "abcd" for b in "abcd"]
    (tmp_path / "train.tsv").write_text("\n".join(lines), "utf-8")
    (tmp_path / "test.tsv").write_text("a b c\tA B C\n", "utf-8")
    file = tmp_path / "parts.toml"
    file.write_text('train = "train.tsv"\nby_parts = true\n[tests]\nlong = "test.tsv"\n', "utf-8")
    row = register_corpus(file)
    assert row.open_vocabulary(DataFolders(None)).output.symbols[4:] == (*"[abcd", "]")
