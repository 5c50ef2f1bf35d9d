"""SCAN: its grammar, the splits, and the episodes of their types."""

from collections import Counter
from pathlib import Path

import pytest

from biml.episodes.corpus import read_pairs
from biml.episodes.episode import Example
from biml.episodes.registry import EPISODE_TYPES
from biml.episodes.scan import SCAN_GRAMMAR, SCAN_VOCAB, SPLITS, scan_corpus, scan_pairs, scan_split
from biml.episodes.transforms import undo_remapping
from biml.paths import DataFolders
from biml.training.setup import resolve_options

SIZES = {
    "simple": (16_728, 4_182),
    "addprim_jump": (14_670, 7_706),
    "addprim_left": (21_890, 1_208),
    "around_right": (15_225, 4_476),
    "opposite_right": (15_225, 4_476),
    "length": (16_990, 3_920),
}
FILES = {
    "simple": "simple_split/tasks_{}_simple.txt",
    "addprim_jump": "add_prim_split/tasks_{}_addprim_jump.txt",
    "addprim_left": "add_prim_split/tasks_{}_addprim_turn_left.txt",
    "around_right": "template_split/tasks_{}_template_around_right.txt",
    "opposite_right": "template_split/tasks_{}_template_opposite_right.txt",
    "length": "length_split/tasks_{}_length.txt",
}


@pytest.fixture
def nothing(tmp_path: Path) -> DataFolders:
    return DataFolders(tmp_path, ())


def test_the_grammar_has_20_rules_and_gives_20910_commands() -> None:
    assert len(SCAN_GRAMMAR.rules) == 20
    pairs = scan_pairs()
    assert len(set(pairs)) == len({pair.input for pair in pairs}) == 20_910
    assert {word for pair in pairs for word in pair.input} == set(SCAN_GRAMMAR.words)
    assert (len(SCAN_GRAMMAR.words), len(SCAN_VOCAB.output.symbols)) == (13, 6)
    assert all(pair.output == SCAN_GRAMMAR.interpret(pair.input) for pair in pairs[::500])
    assert (max(len(p.input) for p in pairs), max(len(p.output) for p in pairs)) == (9, 48)


@pytest.mark.parametrize("name", SPLITS)
def test_splits_have_the_published_sizes_without_data(name: str, nothing: DataFolders) -> None:
    train, test = scan_split(name, nothing)
    assert (len(train), len(test)) == SIZES[name]
    assert not {pair.input for pair in train} & {pair.input for pair in test}
    assert {*train, *test} <= set(scan_pairs())


@pytest.mark.published_data
@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_the_published_files(name: str, shared: Path) -> None:
    files = [shared / "scan" / FILES[name].format(part) for part in ("train", "test")]
    for pairs, file in zip(scan_split(name, DataFolders(shared, ())), files, strict=True):
        assert Counter(pairs) == Counter(read_pairs(file))


def test_the_simple_split_is_read_where_it_is_found(tmp_path: Path, nothing: DataFolders) -> None:
    description = scan_corpus("simple", nothing).description
    assert "at random" in description
    assert "biml data download scan" in description
    assert "at random" not in scan_corpus("length", nothing).description
    folder = tmp_path / "found" / "scan" / "simple_split"
    folder.mkdir(parents=True)
    lines = [f"IN: {verb} OUT: I_{verb.upper()}\n" for verb in ("look", "run", "walk", "jump")]
    (folder / "tasks_test_simple.txt").write_text("".join(lines[:1]))
    (folder / "tasks_train_simple.txt").write_text("".join(lines[1:]))
    train, test = scan_split("simple", DataFolders(tmp_path / "found", ()))
    assert (len(train), test) == (3, (Example(("look",), ("I_LOOK",)),))


@pytest.mark.parametrize("name", SPLITS)
def test_episodes_have_ten_study_examples_and_permuted_words(
    name: str, nothing: DataFolders
) -> None:
    row = EPISODE_TYPES[f"{name}_actions"]
    train, test = scan_split(name, nothing)
    known, held_out = set(train), set(test)
    dataset = row.open_training(nothing, 3)
    assert len(dataset) == len(train)
    permuted = 0
    for index in range(100):
        episode = dataset[index]
        study_query, query = episode.queries
        assert (study_query.in_study, query.in_study) == (True, False)
        assert len(episode.study) == 10
        permuted += episode.remapping is not None
        if episode.remapping is None:
            assert {query, *episode.study} <= known - held_out
        else:
            words = {new: old for old, new in episode.remapping.words.items()}
            assert all(words[w] == w for w in words if w in ("turn", "and", "twice", "around"))
            original = tuple(words[word] for word in query.input)
            assert Example(original, undo_remapping(episode, query.output)) in known
    assert 85 < permuted < 100
    evaluation = row.open_evaluation(nothing, 3)
    assert [episode.queries[0] for episode in evaluation.episodes] == list(test)
    presented = evaluation.evenly_spaced(50).repeat(0)
    assert all(len(set(e.study)) == 10 and set(e.study) <= known for e in presented)
    assert all(e.remapping is None and len(e.queries) == 1 for e in presented)
    assert len(row.open_validation(nothing, 3)) == 200


@pytest.mark.parametrize(("name", "phrase"), [("jump", "jump"), ("left", "turn left")])
def test_the_added_primitive_is_in_every_study_set_of_the_test(
    name: str, phrase: str, nothing: DataFolders
) -> None:
    row = EPISODE_TYPES[f"addprim_{name}_actions"]
    positions = set()
    for episode in row.open_evaluation(nothing, 0).evenly_spaced(200).repeat(0):
        (at,) = [i for i, e in enumerate(episode.study) if " ".join(e.input) == phrase]
        positions.add(at)
        assert f" {phrase} " in f" {' '.join(episode.queries[0].input)} "
    assert positions == set(range(10))
    dataset = row.open_training(nothing, 0)
    shown = [any(len(e.input) == len(phrase.split()) for e in dataset[i].study) for i in range(100)]
    assert not all(shown)


@pytest.mark.parametrize("name", SPLITS)
def test_vanilla_types_have_no_study_examples(name: str, nothing: DataFolders) -> None:
    row = EPISODE_TYPES[f"{name}_actions_vanilla"]
    dataset = row.open_training(nothing, 0)
    assert len(dataset) == SIZES[name][0]
    for episode in (dataset[0], dataset[1], *row.open_evaluation(nothing, 0).repeat(0)[:2]):
        assert episode.study == ()
        assert len(episode.queries) == 1
    assert not row.uses_study


def test_options_not_given_have_the_published_values() -> None:
    options = resolve_options({"episode_type": "length_actions"})
    assert (options["batch_size"], options["nepochs"]) == (200, 200)
    assert resolve_options({"episode_type": "length_actions", "nepochs": 3})["nepochs"] == 3
    fast = resolve_options({"episode_type": "length_actions", "preset": "fast"})
    assert (fast["arch"], fast["n_queries"]) == ("staged", 8)
