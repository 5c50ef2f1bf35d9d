"""Episodes from a corpus: study sets, permutations, files, and a model trained on one."""

import pickle
from itertools import product
from pathlib import Path

import pytest

from biml.cli.main import main
from biml.episodes.corpus import (
    CorpusDataset,
    corpus_evaluation,
    corpus_lengths,
    corpus_vocabulary,
    permute_classes,
    read_corpus,
)
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import EpisodeType
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import FormatError, UsageError
from biml.networks.checkpoint import load_model
from biml.rng import generator

WORDS = {"look": "LOOK", "run": "RUN", "walk": "WALK", "left": "LTURN", "right": "RTURN"}
COUNTS = {"": 1, "once": 1, "twice": 2, "thrice": 13}
PAIRS = tuple(
    Example((verb, side, *count.split()), (WORDS[verb], WORDS[side]) * COUNTS[count])
    for verb, side, count in product(("look", "run", "walk"), ("left", "right"), COUNTS)
)
VERBS, SIDES = ("look", "run", "walk"), ("left", "right")
ACTIONS, TURNS = ("LOOK", "RUN", "WALK"), ("LTURN", "RTURN")
PERMUTED = CorpusDataset(
    PAIRS, 10, 1, p_permute=0.95, word_classes=(VERBS, SIDES), symbol_classes=(ACTIONS, TURNS),
    n_study_queries=1,
)  # fmt: skip


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
    dataset = CorpusDataset(PAIRS, 10, seed=0)
    for index in range(200):
        episode = dataset[index]
        (query,) = episode.queries
        inputs = {example.input for example in episode.study}
        assert len(inputs) == len(episode.study) == 10
        assert query.input not in inputs
        assert {query, *episode.study} <= set(PAIRS)


def test_each_pair_is_queried_once_per_epoch_in_a_new_order() -> None:
    dataset = CorpusDataset(PAIRS, 3, seed=0)
    n = len(dataset)
    first, second = ([dataset[e * n + i].queries[0] for i in range(n)] for e in range(2))
    assert n == len(PAIRS)
    assert sorted(first) == sorted(second) == sorted(PAIRS)
    assert first != second


def test_episodes_are_pure_and_can_be_sent_to_other_processes() -> None:
    again = pickle.loads(pickle.dumps(PERMUTED))
    assert [again[i] for i in reversed(range(20))] == [PERMUTED[i] for i in range(20)][::-1]


def test_words_and_symbols_are_permuted_within_classes_but_never_by_the_identity() -> None:
    plain = 0
    for index in range(600):
        episode = PERMUTED[index]
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
            new = [own[member] for member in members]
            assert new != list(members)
            assert sorted(new) == sorted(members)
        assert episode.remapping.words.get("twice", "twice") == "twice"
    assert 10 < plain < 60  # 5% of 600


def test_a_class_with_one_word_is_not_permuted() -> None:
    episode = permute_classes(Episode((), PAIRS[:1]), generator(0), p=1, words=(("look",),))
    assert episode.queries == PAIRS[:1]


def test_study_queries_can_be_added_to_corpus_episodes() -> None:
    study_query, query = PERMUTED[0].queries
    assert study_query.in_study
    assert not query.in_study
    assert (study_query.input, study_query.output) in [e[:2] for e in PERMUTED[0].study]


def test_required_pairs_are_in_every_study_set_at_any_position() -> None:
    dataset = CorpusDataset(PAIRS, 5, seed=0, required=PAIRS[:1])
    positions = set()
    for index in range(100):
        episode = dataset[index]
        assert len(episode.study) == 5
        if episode.queries != PAIRS[:1]:
            positions.add(episode.study.index(PAIRS[0]))
    assert positions == set(range(5))


def test_evaluation_samples_study_sets_from_the_corpus_without_remapping() -> None:
    queries = (Example(("walk", "left", "often"), ("WALK",)), *PAIRS[:2])
    evaluation = corpus_evaluation(queries, 0, pairs=PAIRS, n_study=6, required=PAIRS[2:3])
    first, second = evaluation.repeat(0), evaluation.repeat(1)
    assert evaluation.varies
    assert first != second
    assert [episode.queries for episode in first] == [(query,) for query in queries]
    for episode in first:
        assert episode.remapping is None
        assert PAIRS[2] in episode.study
        assert set(episode.study) <= set(PAIRS) - set(episode.queries)


def test_a_corpus_smaller_than_a_study_set_is_rejected() -> None:
    assert len(CorpusDataset(PAIRS[:5], 4, seed=0)[3].study) == 4
    with pytest.raises(UsageError, match=r"\b5\b.*\b4\b"):
        CorpusDataset(PAIRS[:5], 5, seed=0)
    with pytest.raises(UsageError, match="has 0 other"):
        CorpusDataset(PAIRS[:1] * 9, 1, seed=0)


def test_a_word_in_two_permutation_classes_is_rejected() -> None:
    with pytest.raises(UsageError, match="word_classes: 'run'"):
        CorpusDataset(PAIRS, 5, seed=0, word_classes=(("look", "run"), ("run", "walk")))


@pytest.mark.parametrize(
    "line", ["IN: look", "look OUT: LOOK", "IN: OUT: LOOK", "IN: look OUT:", "IN: a OUT: B OUT: C"]
)
def test_error_for_a_malformed_corpus_line_gives_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text(f"IN: look OUT: LOOK\n\n{line}\n", "utf-8")
    with pytest.raises(FormatError, match=r"corpus\.txt, line 3: expected 'IN:"):
        read_corpus(file)
    file.write_text("\n", "utf-8")
    with pytest.raises(FormatError, match="no line"):
        read_corpus(file)


@pytest.mark.published_data
def test_published_splits_of_scan_make_episodes(shared: Path) -> None:
    folder = shared / "scan" / "add_prim_split"
    train, test = (read_corpus(folder / f"tasks_{n}_addprim_jump.txt") for n in ("train", "test"))
    assert (len(train), len(test)) == (14_670, 7_706)
    assert corpus_lengths([*train, *test]) == {"max_input": 9, "max_output": 48}
    vocabulary = corpus_vocabulary([*train, *test])
    assert len(vocabulary.output.symbols) == 6
    jump = Example(("jump",), ("I_JUMP",))
    words = ("look", "run", "jump", "walk", "left", "right")
    dataset = CorpusDataset(
        train, 10, 0, p_permute=0.95, word_classes=(words,),
        symbol_classes=(vocabulary.output.symbols,), n_study_queries=1,
    )  # fmt: skip
    episodes = [dataset[i] for i in range(300)]
    assert all((len(e.study), len(e.queries)) == (10, 2) for e in episodes)
    assert 0.9 < sum(e.remapping is not None for e in episodes) / 300 < 0.99
    evaluation = corpus_evaluation(test[:50], 0, pairs=train, n_study=10, required=(jump,))
    for episode in evaluation.repeat(0):
        assert jump in episode.study
        assert set(episode.study) <= set(train)


@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_a_model_is_trained_and_evaluated_on_a_corpus(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = EpisodeType(
        "toy_corpus",
        "commands to actions",
        training=lambda data, seed: PERMUTED,
        evaluation=lambda data, seed: corpus_evaluation(PAIRS[:6], seed, pairs=PAIRS, n_study=10),
        vocabulary=corpus_vocabulary(PAIRS),
        **corpus_lengths(PAIRS),
    )
    monkeypatch.setitem(EPISODE_TYPES, row.name, row)
    size = ("--emb_size", "16", "--nlayers_decoder", "1", "--workers", "1", "--nsteps", "2")
    train = ("train", "--episode_type", row.name, "--fn_out_model", "net.pt", *size)
    assert main([*train, "--preset", preset, "--batch_size", "2"]) == 0
    capsys.readouterr()
    config = load_model("out_models/net.pt").network.config
    assert getattr(config, "max_positions", 27) == 27  # the longest output and its end
    assert main(["eval", "--fn_out_model", "net.pt", "--max", "--ll", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "Accuracy on novel queries" in out
    assert "LOOK LTURN" in out
