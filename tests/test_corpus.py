"""Episodes from a corpus: study sets, permutations, files, and a model trained on one."""

import json
import pickle
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

import biml
from biml.cli.main import main
from biml.episodes.corpus import Corpus, CorpusDataset, read_pairs
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import corpus_type
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import FormatError, UsageError
from biml.evaluation.network import greedy_decode, response_log_probs
from biml.networks.checkpoint import load_model
from biml.networks.registry import build_network
from biml.paths import DataFolders
from biml.rng import generator
from biml.vocabulary import Vocabulary
from release import build_release

WORDS = {"look": "LOOK", "run": "RUN", "walk": "WALK", "left": "LTURN", "right": "RTURN"}
COUNTS = {"": 1, "once": 1, "twice": 2, "thrice": 13}
PAIRS = tuple(
    Example((verb, side, *count.split()), (WORDS[verb], WORDS[side]) * COUNTS[count])
    for verb, side, count in product(("look", "run", "walk"), ("left", "right"), COUNTS)
)
OFTEN = Example(("walk", "left", "often"), ("WALK",))
VERBS, SIDES = ("look", "run", "walk"), ("left", "right")
ACTIONS, TURNS = ("LOOK", "RUN", "WALK"), ("LTURN", "RTURN")
PLAIN = Corpus(PAIRS, n_study=10, n_study_queries=0)
PERMUTED = Corpus(PAIRS, word_groups=(VERBS, SIDES), symbol_groups=(ACTIONS, TURNS))


def undone(episode: Episode) -> list[Example]:
    """All examples in the names of the corpus."""
    if episode.remapping is None:
        return [*episode.study, *episode.queries]
    words = {new: old for old, new in episode.remapping.words.items()}
    symbols = {new: old for old, new in episode.remapping.symbols.items()}
    return [
        Example(tuple(words[w] for w in e.input), tuple(symbols[s] for s in e.output), e.in_study)
        for e in (*episode.study, *episode.queries)
    ]


def test_study_examples_are_other_pairs_of_the_corpus() -> None:
    dataset = CorpusDataset(PLAIN, seed=0)
    for index in range(200):
        episode = dataset[index]
        (query,) = episode.queries
        inputs = {example.input for example in episode.study}
        assert len(inputs) == len(episode.study) == 10
        assert query.input not in inputs
        assert {query, *episode.study} <= set(PAIRS)


@pytest.mark.parametrize("n_queries", [1, 3, 5])
def test_each_pair_is_queried_once_per_epoch_in_a_new_order(n_queries: int) -> None:
    dataset = CorpusDataset(PLAIN, 0, n_queries=n_queries)
    every = [query for index in range(2 * len(dataset)) for query in dataset[index].queries]
    first, second = every[: len(PAIRS)], every[len(PAIRS) : 2 * len(PAIRS)]
    assert len(dataset) == -(-len(PAIRS) // n_queries)
    assert sorted(first) == sorted(second) == sorted(PAIRS)
    assert first != second


def test_episodes_are_pure_and_can_be_sent_to_other_processes() -> None:
    dataset = CorpusDataset(PERMUTED, seed=1)
    again = pickle.loads(pickle.dumps(dataset))
    assert [again[i] for i in reversed(range(20))] == [dataset[i] for i in range(20)][::-1]


def test_words_and_symbols_are_permuted_within_groups_but_never_by_the_identity() -> None:
    dataset, plain, different = CorpusDataset(PERMUTED, seed=1), 0, set()
    for index in range(600):
        episode = dataset[index]
        assert set(undone(episode)) <= {*PAIRS, *(pair._replace(in_study=True) for pair in PAIRS)}
        if episode.remapping is None:
            plain += 1
            continue
        for own, members in (
            (episode.remapping.words, VERBS),
            (episode.remapping.words, SIDES),
            (episode.remapping.symbols, ACTIONS),
            (episode.remapping.symbols, TURNS),
        ):
            old = [member for member in members if member in own]
            new = [own[member] for member in old]
            assert new != list(members)
            assert set(new) <= set(members)
            assert len(set(new)) == len(new)
            different.add(tuple(new))
        assert episode.remapping.words.get("twice", "twice") == "twice"
    assert 10 < plain < 60  # 5% of 600
    assert len([new for new in different if len(new) == 3]) == 2 * 5  # of 6 orders


def test_a_group_with_one_word_is_not_permuted() -> None:
    corpus = Corpus(PAIRS, word_groups=(("look",),), p_permute=1)
    assert corpus.permute(Episode((), PAIRS[:1]), generator(0)).queries == PAIRS[:1]


def test_a_study_example_is_queried_too() -> None:
    for n_queries in (1, 4):
        episode = CorpusDataset(PERMUTED, 1, n_queries=n_queries)[0]
        study_query, *queries = episode.queries
        assert study_query.in_study
        assert not any(query.in_study for query in queries)
        assert len(queries) == n_queries
        assert study_query.input not in [query.input for query in queries]
        assert (study_query.input, study_query.output) in [e[:2] for e in episode.study]


def test_given_pairs_are_in_every_study_set_at_any_position() -> None:
    corpus = replace(PLAIN, n_study=5, given=PAIRS[:1])
    episodes = [CorpusDataset(corpus, 0)[index] for index in range(100)]
    assert all(len(episode.study) == 5 for episode in episodes)
    others = [episode for episode in episodes if episode.queries != PAIRS[:1]]
    assert {episode.study.index(PAIRS[0]) for episode in others} == set(range(5))
    in_tests_only = replace(corpus, given_in_training=False, tests={"test": (OFTEN,)})
    dataset = CorpusDataset(in_tests_only, 0)
    assert not all(PAIRS[0] in dataset[index].study for index in range(20))
    assert PAIRS[0] in in_tests_only.evaluation(0).repeat(0)[0].study


@pytest.mark.parametrize("n_queries", [1, 6])
def test_study_examples_show_the_listed_words_of_all_queries(n_queries: int) -> None:
    listed = {"look", "walk", "left", "thrice", "twice"}
    corpus = replace(PLAIN, n_study=2, shown_words=frozenset(listed))
    dataset = CorpusDataset(corpus, 0, n_queries=n_queries)
    for index in range(100):
        episode = dataset[index]
        shown = {word for example in episode.study for word in example.input}
        wanted = {word for query in episode.queries for word in query.input} & listed
        assert wanted <= shown
        assert 2 <= len(episode.study) <= max(2, len(wanted))
        assert not {e.input for e in episode.study} & {q.input for q in episode.queries}


def test_a_pair_that_alone_has_a_listed_word_is_no_training_query() -> None:
    corpus = replace(PLAIN, train=(*PAIRS, OFTEN), shown_words=frozenset({"often"}))
    assert corpus.training_queries == PAIRS
    assert replace(corpus, shown_words=frozenset()).training_queries == (*PAIRS, OFTEN)
    query = Example(("run", "often"), ("RUN",))
    (episode,) = replace(corpus, tests={"test": (query,)}).evaluation(0).repeat(0)
    assert OFTEN in episode.study


def test_evaluation_samples_study_sets_from_the_corpus_without_remapping() -> None:
    queries = (OFTEN, *PAIRS[:2])
    corpus = replace(PERMUTED, train=PAIRS[2:], tests={"a": queries[:1], "b": queries[1:]})
    evaluation = corpus.evaluation(0, n_study=6)
    first, second = evaluation.repeat(0), evaluation.repeat(1)
    assert evaluation.varies
    assert first != second
    assert [episode.queries for episode in first] == [(query,) for query in queries]
    for episode in first:
        assert episode.remapping is None
        assert len(episode.study) == 6
        assert set(episode.study) <= set(PAIRS[2:])
    assert [e.queries for e in corpus.evaluation(0, ["b"]).repeat(0)] == [(q,) for q in queries[1:]]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_consecutive_test_queries_can_share_a_study_set(n: int) -> None:
    corpus = replace(PERMUTED, train=PAIRS[5:], tests={"test": PAIRS[:5]})
    shared = corpus.evaluation(0, n_study=6).with_shared_study(n).repeat(0)
    assert [query for episode in shared for query in episode.queries] == list(PAIRS[:5])
    assert [len(episode.queries) for episode in shared] == {2: [2, 2, 1], 3: [3, 2], 5: [5]}[n]
    assert all(len(episode.study) == 6 for episode in shared)


def test_no_test_input_may_be_a_training_input() -> None:
    with pytest.raises(UsageError, match=r"2 test inputs.*'look left'"):
        replace(PLAIN, tests={"test": (*PAIRS[:2], OFTEN)})
    corpus = replace(PLAIN, tests={"test": PAIRS[:2]}, allow_overlap=True)
    for episode in corpus.evaluation(0).repeat(0):
        assert episode.queries[0].input not in {example.input for example in episode.study}


def test_without_study_pairs_are_queried_as_they_are() -> None:
    corpus = replace(PERMUTED, shown_words=frozenset(VERBS), given=PAIRS[:1]).without_study()
    dataset = CorpusDataset(corpus, 0)
    assert {dataset[index].queries for index in range(len(PAIRS))} == {(pair,) for pair in PAIRS}
    assert all(dataset[index].study == () for index in range(len(PAIRS)))
    evaluation = replace(corpus, tests={"test": (OFTEN,)}).evaluation(0)
    assert not evaluation.varies
    assert evaluation.repeat(0)[0].study == ()


def test_a_corpus_smaller_than_a_study_set_is_rejected() -> None:
    corpus = Corpus(PAIRS[:5], n_study=4)
    assert len(CorpusDataset(corpus, seed=0)[3].study) == 4
    with pytest.raises(UsageError, match=r"\b5\b.*\b4\b"):
        Corpus(PAIRS[:5], n_study=5)
    with pytest.raises(UsageError, match="has 0 other"):
        Corpus(PAIRS[:1] * 9, n_study=1)
    with pytest.raises(UsageError, match="no further training pair"):
        CorpusDataset(corpus, 0, n_queries=2)[0]


def test_a_word_in_two_permutation_groups_is_rejected() -> None:
    with pytest.raises(UsageError, match="word_groups: 'run'"):
        Corpus(PAIRS, word_groups=(("look", "run"), ("run", "walk")))


@pytest.mark.parametrize(
    "line", ["look left\tLOOK", " look left \tLOOK \tin_distribution\t", "IN: look left OUT: LOOK"]
)
def test_both_formats_of_corpus_files_are_read(tmp_path: Path, line: str) -> None:
    file = tmp_path / "corpus.tsv"
    file.write_text(f"\n{line}\n", "utf-8")
    label = "in_distribution" if "in_" in line else ""
    assert read_pairs(file) == (Example(("look", "left"), ("LOOK",), item=label),)


@pytest.mark.parametrize(
    "line",
    [
        "IN: look",
        "look OUT: LOOK",
        "IN: OUT: LOOK",
        "IN: look OUT:",
        "IN: a OUT: B OUT: C",
        "look\t ",
        "\tLOOK",
    ],
)
def test_error_for_malformed_corpus_lines_gives_their_numbers(tmp_path: Path, line: str) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text(f"IN: look OUT: LOOK\n\n{line}\n", "utf-8")
    with pytest.raises(FormatError, match=r"corpus\.txt, line 3: expected 'IN:"):
        read_pairs(file)
    file.write_text(f"{line}\nIN: look OUT: LOOK\n{line}\n" + f"{line}\n" * 30, "utf-8")
    with pytest.raises(
        FormatError, match=r"(?s)32 errors.*line 1:.*also on lines 3, 4.*and 11 more"
    ):
        read_pairs(file)
    file.write_text("\n", "utf-8")
    with pytest.raises(FormatError, match="no line"):
        read_pairs(file)


@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_a_model_is_trained_and_evaluated_on_a_corpus(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = replace(PERMUTED, train=PAIRS[6:], tests={"test": PAIRS[:6]})
    row = corpus_type("toy", "commands", lambda data: corpus, max_input=3, max_output=26)
    monkeypatch.setitem(EPISODE_TYPES, row.name, row)
    size = ("--emb_size", "16", "--nlayers_decoder", "1", "--workers", "1", "--nsteps", "2")
    train_options = ("--n_queries", "3", "--batch_hold_update", "2")
    train = ("train", "--episode_type", row.name, "--fn_out_model", "net.pt", *size)
    assert main([*train, *train_options, "--preset", preset, "--batch_size", "2"]) == 0
    capsys.readouterr()
    config = load_model("out_models/net.pt").network.config
    assert getattr(config, "max_positions", 27) == 27  # the longest output and its end
    assert main(["eval", "--fn_out_model", "net.pt", "--max", "--ll", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "Accuracy on novel queries" in out
    assert "LOOK LTURN" in out
    assert "3 queries share a study set" in out
    assert main(["eval", "--fn_out_model", "net.pt", "--max", "--n_queries", "4", "--json=-"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["episodes"] == 2
    card = build_release(Path("out_models/net.pt"), "net", DataFolders())["card"]
    assert card["metrics"]["toy"]["queries"] == 6
    assert card["metrics"]["toy"]["error_rate"] == results["error_rate"]
    model = biml.load("net.pt", device="cpu")
    assert set(model.respond([("look", "LOOK")], "walk left").split()) <= set(WORDS.values())
    with pytest.raises(UsageError, match="use the same"):  # "dax" must not become "twice"
        model.respond([("dax", "RED")], "dax")


def test_frequent_sequences_are_tokens_of_their_own() -> None:
    texts = ["( X _ 1 ) AND DOG", "( X _ 2 ) AND CAT", "( X _ 3 ) AND CAT"]
    pairs = tuple(Example((f"w{n}",), tuple(text.split())) for n, text in enumerate(texts))
    corpus = Corpus(pairs, n_study=1, symbol_groups=(("DOG", "CAT"),))
    sequences = corpus.frequent_sequences(2)
    assert sequences == [("(", "X", "_"), (")", "AND")]
    vocabulary = corpus.vocabulary.with_sequences(sequences)
    for pair in pairs:
        ids = vocabulary.output.encode(pair.output)
        assert len(ids) < len(pair.output)
        assert vocabulary.output.decode(ids) == pair.output
    names = (vocabulary.input.names, vocabulary.output.names)
    assert Vocabulary.from_names(*names) == vocabulary  # as a checkpoint keeps it


@pytest.mark.parametrize("arch", ["paper", "pairwise", "staged"])
def test_merged_symbols_have_one_probability_each_in_all_networks(arch: str) -> None:
    pairs = tuple(Example((f"w{n}",), ("(", "X", ")", f"S{n}")) for n in range(30))
    corpus = Corpus(pairs, n_study=2, n_study_queries=0)
    vocabulary = corpus.vocabulary.with_sequences([("(", "X", ")")])
    network = build_network(arch, {"emb_size": 16, "nheads": 2}, vocabulary, seed=0)
    episode = CorpusDataset(corpus, 0)[0]
    ((scores,),) = response_log_probs(network, [episode])
    assert len(scores) == 5  # four symbols and the end
    assert scores[0] < 0
    assert list(scores[1:3]) == [0, 0]
    assert scores[3] < 0
    ((response,),) = greedy_decode(network, [episode], 3)
    assert not any(" " in symbol for symbol in response)
