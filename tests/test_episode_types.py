"""Episode types: the episodes that each presents and what it declares."""

from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import (
    CANONICAL_VOCAB,
    FEW_SHOT,
    FEW_SHOT_GOLD,
    NOVEL_RULES,
    OPEN_ENDED,
    PROBES,
    PUBLISHED_VOCAB,
    VALIDATION,
    EpisodeType,
    gold_episode,
)
from biml.episodes.packed import read_episodes
from biml.episodes.registry import EPISODE_TYPES, episode_type, evaluation_type, tasks_of
from biml.episodes.sampling import MAX_STRING_INPUT, MAX_STRING_OUTPUT
from biml.episodes.text_format import read_episode
from biml.episodes.transforms import remap, undo_remapping
from biml.errors import BimlError, UsageError
from biml.grammar import MetaGrammar
from biml.grammar.meta_grammar import COLOURS
from biml.paths import DataFolders

FOLDS = range(1, 6)
EVALUATED_ONLY = {
    *("novel_rules", "few_shot_gold", "few_shot_human", "few_shot_human_mult10", "human_vanilla"),
    *("open_end_freeform", "probe_human"),
}
NAMES = EVALUATED_ONLY | {
    *("retrieve", "algebraic", "algebraic_noise", "algebraic+biases", "algebraic+slips"),
    *("algebraic+slips+strings", "few_shot_vanilla", "joint", "probe_human_w_pool"),
    *("open_end_human_all", *(f"open_end_human_cross{fold}" for fold in FOLDS)),
    *(f"joint_cross{fold}" for fold in FOLDS),
}
TYPES = {name: row for name, row in EPISODE_TYPES.items() if not row.is_corpus}
"""Those of the human experiments; see `test_scan` and `test_cogs` for the others."""
ROWS = [pytest.param(row, id=name) for name, row in TYPES.items()]
TRAINED = [pytest.param(row, id=row.name) for row in TYPES.values() if row.training]


@pytest.fixture(scope="module")
def data(shared: Path) -> DataFolders:
    return DataFolders(shared, ())


def evaluated(name: str, data: DataFolders, repeat: int = 0) -> list[Episode]:
    return EPISODE_TYPES[name].open_evaluation(data, 1).repeat(repeat)


def trained(name: str, data: DataFolders, n: int, seed: int = 1) -> list[Episode]:
    training = EPISODE_TYPES[name].open_training(data, seed)
    return [training[i] for i in range(n)]


def queries(episodes: list[Episode]) -> list[Example]:
    return [query for episode in episodes for query in episode.queries]


def size(episodes: list[Episode]) -> tuple[int, int]:
    """Responses, and symbols with the end of each."""
    found = queries(episodes)
    return len(found), sum(len(query.output) + 1 for query in found)


def check_vocabulary(row: EpisodeType, episodes: list[Episode]) -> None:
    for episode in episodes:
        for example in (*episode.study, *episode.queries):
            row.vocabulary.input.encode(example.input)
            row.vocabulary.output.encode(example.output)


def copied(episode: Episode) -> list[Example]:
    return [query for query in episode.queries if query.in_study]


def novel(episode: Episode) -> list[Example]:
    return [query for query in episode.queries if not query.in_study]


def pairs(examples: list[Example] | tuple[Example, ...]) -> list[tuple[object, object]]:
    return [(example.input, example.output) for example in examples]


def test_registry_has_every_published_episode_type() -> None:
    assert set(TYPES) == NAMES
    assert {name for name, row in TYPES.items() if not row.training} == EVALUATED_ONLY
    assert all(row.name == name and row.summary for name, row in EPISODE_TYPES.items())


def test_error_for_an_unknown_type_lists_all_names() -> None:
    with pytest.raises(UsageError) as caught:
        episode_type("algebra")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", sorted(EVALUATED_ONLY))
def test_training_on_an_evaluation_type_is_rejected(name: str, data: DataFolders) -> None:
    with pytest.raises(UsageError, match=r"evaluation only.*algebraic\+biases"):
        episode_type(name).open_training(data, 0)


@pytest.mark.parametrize("row", ROWS)
def test_repeats_are_reproducible_and_differ_if_random(row: EpisodeType, data: DataFolders) -> None:
    evaluation = row.open_evaluation(data, 1)
    first = evaluation.repeat(0)
    assert row.open_evaluation(data, 1).repeat(0) == first
    assert (evaluation.repeat(1) != first) == evaluation.varies
    assert (row.open_evaluation(data, 2).repeat(0) != first) == evaluation.varies
    assert {e.remapping is not None for e in first} == {remap in evaluation.transforms}


@pytest.mark.parametrize("row", ROWS)
def test_evaluation_episodes_are_in_the_vocabulary(row: EpisodeType, data: DataFolders) -> None:
    episodes = row.open_evaluation(data, 1).repeat(0)
    check_vocabulary(row, episodes)
    assert all(example.output for e in episodes for example in (*e.study, *e.queries))


@pytest.mark.parametrize("row", TRAINED)
def test_training_episodes_are_reproducible_and_in_the_vocabulary(
    row: EpisodeType, data: DataFolders
) -> None:
    training = row.open_training(data, 3)
    episodes = [training[i] for i in range(12)]
    again = row.open_training(data, 3)
    assert [again[i] for i in reversed(range(12))] == episodes[::-1]
    check_vocabulary(row, episodes)
    sizes = {"few_shot_vanilla": 200, "joint": 300_000, "algebraic+slips+strings": 300_000}
    assert len(training) == sizes.get(row.name.partition("_cross")[0], 100_000)
    if row.name != "few_shot_vanilla":
        other = row.open_training(data, 4)
        assert [other[i] for i in range(12)] != episodes


def test_study_queries_keep_the_targets_of_study_examples(data: DataFolders) -> None:
    for name in ("algebraic", "algebraic_noise", "algebraic+biases", "algebraic+slips"):
        for episode in (*trained(name, data, 40), *evaluated(name, data)):
            assert pairs(copied(episode)) == pairs(episode.study)
            assert (len(episode.study), len(novel(episode))) == (14, 10)


def test_copy_only_episodes_have_study_queries_only(data: DataFolders) -> None:
    for episode in (*trained("retrieve", data, 20), *evaluated("retrieve", data)):
        assert len(episode.queries) == 14
        assert pairs(list(episode.queries)) == pairs(episode.study)
        assert not novel(episode)


@pytest.mark.parametrize("name", ["retrieve", "algebraic", "algebraic+biases", "joint"])
def test_validation_keeps_the_study_order_of_the_data(name: str, data: DataFolders) -> None:
    row = EPISODE_TYPES[name]
    files = row.open_evaluation(data, 0).episodes
    for seed in (1, 2):
        presented = row.open_validation(data, seed)
        assert [episode.study for episode in presented] == [file.study for file in files]
    assert not row.open_evaluation(data, 0).varies


def changed_targets(episodes: list[Episode]) -> list[tuple[int, bool]]:
    """Of each novel query its length, and whether the target differs from the right one."""
    return [
        (len(query.input), query.output != episode.grammar.interpret(query.input))
        for episode in episodes
        if episode.grammar is not None
        for query in novel(episode)
    ]


def share_of_changed_targets(episodes: list[Episode]) -> float:
    return float(np.mean([changed for _, changed in changed_targets(episodes)]))


def test_share_of_corrupted_targets_is_the_published_one(data: DataFolders) -> None:
    assert share_of_changed_targets(trained("algebraic", data, 50)) == 0
    # An answer of about five symbols at 0.01 each; a replacement may be the same symbol.
    assert 0.015 < share_of_changed_targets(trained("algebraic_noise", data, 300)) < 0.07
    # At most 0.2 more; flipped rules and one-to-one answers often equal the algebraic ones.
    assert 0.08 < share_of_changed_targets(trained("algebraic+biases", data, 300)) < 0.25
    for name in ("algebraic", "algebraic_noise", "algebraic+biases", "algebraic+slips", "joint"):
        assert share_of_changed_targets(evaluated(name, data)) == 0


def test_slips_corrupt_long_queries_more_often(data: DataFolders) -> None:
    found = changed_targets(trained("algebraic+slips", data, 600))
    short, long = (np.mean([c for n, c in found if (n > 3) == longer]) for longer in (False, True))
    assert 0.06 < short < 0.16 < long < 0.3


def test_strings_are_longer_than_published_queries_and_have_any_argument(data: DataFolders) -> None:
    strings = trained("algebraic+slips+strings", data, 90)[1::3]
    lengths = set()
    for episode in strings:
        in_study = {example.input for example in episode.study}
        for query in episode.queries:
            right = episode.grammar.interpret(query.input)
            lengths.add((len(query.input), len(right)))
            assert query.input not in in_study
            assert set(right) <= set(episode.grammar.symbols)
    inputs, outputs = ({pair[i] for pair in lengths} for i in (0, 1))
    assert inputs >= set(range(2, MAX_STRING_INPUT + 1))
    assert max(outputs) == MAX_STRING_OUTPUT
    assert {len(example.output) <= 8 for e in strings for example in e.study} == {True}


def test_gold_episode_is_the_published_one(data: DataFolders, shared: Path) -> None:
    published = read_episode(shared / "data_human" / "few_shot" / "val_gold" / "mini_scan.txt")
    episode = EPISODE_TYPES["few_shot_gold"].open_evaluation(data, 0).episodes[0]
    assert set(episode.study) == set(published.study)
    assert episode.queries == published.queries


def test_gold_evaluation_has_a_hundred_remappings(data: DataFolders) -> None:
    episodes = evaluated("few_shot_gold", data)
    assert len(episodes) == 100
    assert len({str(episode.remapping) for episode in episodes}) == 100
    for episode in episodes:
        assert (len(copied(episode)), len(novel(episode))) == (14, 10)
        for query in episode.queries:
            assert query.output == episode.grammar.interpret(query.input)


@pytest.mark.published_data
def test_number_of_human_few_shot_responses(data: DataFolders) -> None:
    assert size(evaluated("few_shot_human", data)) == (217, 990)
    assert size(evaluated("few_shot_human_mult10", data)) == (2170, 9900)
    assert size(evaluated("human_vanilla", data)) == (215, 980)
    assert not any(query.in_study for query in queries(evaluated("few_shot_human", data)))


def test_remapped_responses_can_be_restored(data: DataFolders, shared: Path) -> None:
    files = read_episodes(shared / "data_human" / "few_shot" / "val_behavior")
    for file, shown in zip(files, evaluated("few_shot_human", data), strict=True):
        assert shown.name == file.name
        assert {query.output[0] for query in shown.queries} <= set(COLOURS)
        back = [undo_remapping(shown, query.output) for query in shown.queries]
        assert back == [query.output for query in file.queries]


def test_vanilla_types_have_no_study_examples_and_no_remapping(data: DataFolders) -> None:
    (gold,) = evaluated("few_shot_vanilla", data)
    assert EPISODE_TYPES["few_shot_vanilla"].open_validation(data, 1) == [gold]
    assert gold.queries == gold_episode().queries
    assert size([gold]) == (10, 47)
    (presentation,) = trained("few_shot_vanilla", data, 1)
    assert pairs(copied(presentation)) == pairs(gold_episode().study)
    assert not novel(presentation)
    words = set(EPISODE_TYPES["human_vanilla"].vocabulary.input.symbols)
    for episode in (gold, presentation, *evaluated("human_vanilla", data)):
        assert episode.study == ()
        assert {word for query in episode.queries for word in query.input} <= words


@pytest.mark.parametrize(("folder", "people"), [("all", 29), ("cross1", 6), ("cross5", 5)])
def test_open_ended_responses_are_presented_autoregressively(
    data: DataFolders, shared: Path, folder: str, people: int
) -> None:
    evaluation = EPISODE_TYPES[f"open_end_human_{folder}"].open_evaluation(data, 1)
    assert evaluation.autoregressive
    response_sets = defaultdict(list)
    for episode in evaluation.repeat(0):
        response_sets[episode.name].append(episode)
    files = {e.name: e for e in read_episodes(shared / f"data_human/open_ended_{folder}/val")}
    assert response_sets.keys() == files.keys()
    assert len(response_sets) == people
    for name, parts in response_sets.items():
        answered = [part.queries[0] for part in parts]
        for i, part in enumerate(parts):
            assert len(part.queries) == 1
            assert [pair[:2] for pair in part.study] == [pair[:2] for pair in answered[:i]]
            assert part.queries[0].participant == Path(name).stem
        back = Counter(undo_remapping(parts[0], query.output) for query in answered)
        assert back == Counter(query.output for query in files[name].queries)


def test_open_ended_training_splits_random_participants(data: DataFolders) -> None:
    episodes = trained("open_end_human_all", data, 1400)
    sizes = Counter(len(episode.study) for episode in episodes)
    assert set(sizes) == set(range(7))
    assert all(140 < count < 260 for count in sizes.values())
    assert len({episode.name for episode in episodes}) == 29
    for episode in episodes[:200]:
        assert pairs(copied(episode)) == pairs(episode.study)
        assert len(novel(episode)) == 7 - len(episode.study)
    assert max(len(query.output) for query in queries(episodes)) == 14


@pytest.mark.parametrize("kind", ["open_end_human", "joint"])
def test_held_out_participants_are_not_in_training(data: DataFolders, kind: str) -> None:
    for fold in FOLDS:
        name = f"{kind}_cross{fold}"
        training = EPISODE_TYPES[name].open_training(data, 1)
        # Every third presentation of a joint training is of the open-ended task.
        met = {Path(training[i].name).name for i in range(2, 602, 3)}
        held = {Path(episode.name).name for episode in evaluated(name, data)}
        assert len(met | held) == 29
        assert not met & held


def test_joint_training_has_three_equal_parts(data: DataFolders) -> None:
    episodes = trained("joint", data, 450)
    open_ended = [e for e in episodes if e.grammar is None]
    any_study = episodes[1::3]
    assert len(open_ended) == 150
    assert {len(e.study) for e in episodes[0::3]} == {14}
    assert {len(e.study) for e in any_study} == set(range(15))
    assert all(len(novel(e)) == 10 and len(copied(e)) == len(e.study) for e in any_study)
    assert not {e.grammar for e in episodes[0::3]} & {e.grammar for e in any_study}


def test_freeform_evaluation_has_a_hundred_sets_of_seven_inputs(data: DataFolders) -> None:
    episodes = evaluated("open_end_freeform", data)
    assert len(episodes) == 100
    assert all((len(e.study), len(e.queries)) == (0, 7) for e in episodes)
    assert len({query.input for query in queries(episodes)}) > 100


def test_probe_responses_are_within_the_remapped_pool(data: DataFolders) -> None:
    episodes = evaluated("probe_human", data)
    assert len(episodes) == 12
    assert Counter(len(e.pool or ()) for e in episodes) == {2: 9, 6: 3}
    for episode in episodes:
        assert len(episode.queries) == 220
        assert {s for query in episode.queries for s in query.output} <= set(episode.pool)


def test_pool_is_a_study_example_without_input(data: DataFolders) -> None:
    name = "probe_human_w_pool"
    for episode in (*evaluated(name, data), *trained(name, data, 50)):
        pool, *shown = episode.study
        assert sorted(pool.output) == sorted(episode.pool)
        assert pool.input == ()
        assert all(example.input for example in shown)


@pytest.mark.published_data
def test_probe_training_asks_the_study_examples_but_not_the_pool(data: DataFolders) -> None:
    episodes = trained("probe_human_w_pool", data, 300)
    for episode in episodes:
        assert pairs(copied(episode)) == pairs(episode.study[1:])
        assert len(novel(episode)) == 22
    assert 23.7 < len(queries(episodes)) / len(episodes) < 24.3  # one to three study examples


def test_missing_human_data_names_the_download_command(tmp_path: Path) -> None:
    nothing = DataFolders(tmp_path, ())
    for name in ("few_shot_human", "open_end_human_cross2", "probe_human"):
        with pytest.raises(BimlError, match="biml data download human"):
            EPISODE_TYPES[name].open_evaluation(nothing, 0)
    with pytest.raises(BimlError, match="biml data download human"):
        EPISODE_TYPES["joint"].open_training(nothing, 0)
    EPISODE_TYPES["few_shot_gold"].open_evaluation(nothing, 0)


@pytest.mark.parametrize("row", ROWS)
def test_declared_tasks_have_an_evaluation_in_the_vocabulary(row: EpisodeType) -> None:
    assert bool(row.tasks) == bool(row.training) == bool(row.data_sources) == bool(row.label)
    for task in row.tasks:
        kind = evaluation_type(task, row.vocabulary, trained_on=row.name)
        assert kind is not None
        assert (kind.evaluation_task, kind.vocabulary) == (task, row.vocabulary)
    assert tasks_of(row.name, row.vocabulary) == row.tasks


def test_each_task_has_the_published_evaluation() -> None:
    found = {
        (task, fold): kind.name
        for task in (FEW_SHOT, FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES, OPEN_ENDED, PROBES)
        for fold in (0, 3)
        if (kind := evaluation_type(task, fold=fold))
    }
    assert found == {
        (FEW_SHOT, 0): "few_shot_human",
        (FEW_SHOT_GOLD, 0): "few_shot_gold",
        (VALIDATION, 0): "algebraic",
        (NOVEL_RULES, 0): "novel_rules",
        (OPEN_ENDED, 0): "open_end_human_all",
        (OPEN_ENDED, 3): "open_end_human_cross3",
        (PROBES, 0): "probe_human",
    }
    freeform = evaluation_type(OPEN_ENDED, has_targets=False)
    own = evaluation_type(PROBES, trained_on="probe_human_w_pool")
    vanilla = [evaluation_type(task, CANONICAL_VOCAB) for task in (FEW_SHOT, FEW_SHOT_GOLD)]
    names = [kind.name for kind in (freeform, own, *vanilla) if kind]
    expected = ["open_end_freeform", "probe_human_w_pool", "human_vanilla", "few_shot_vanilla"]
    assert names == expected
    assert evaluation_type(OPEN_ENDED, CANONICAL_VOCAB) is None


def test_models_of_unknown_episode_type_have_the_tasks_of_their_vocabulary() -> None:
    assert tasks_of("", PUBLISHED_VOCAB) == (FEW_SHOT, FEW_SHOT_GOLD, VALIDATION, NOVEL_RULES)
    assert tasks_of("", CANONICAL_VOCAB) == (FEW_SHOT, FEW_SHOT_GOLD)
    assert tasks_of("algebraic", CANONICAL_VOCAB) == ()


@pytest.mark.parametrize("row", ROWS)
def test_types_without_human_data_can_be_used_without_them(
    row: EpisodeType, tmp_path: Path
) -> None:
    nothing = DataFolders(tmp_path, ())
    raised = pytest.raises(BimlError) if row.requirements else nullcontext()
    with raised:
        row.open_evaluation(nothing, 0)
        if row.training:
            row.open_training(nothing, 0)


def test_lengths_are_those_of_the_meta_grammar_if_it_has_longer_ones() -> None:
    evaluation = EPISODE_TYPES["algebraic"].evaluation
    assert EpisodeType("short", "", evaluation, meta_grammar=MetaGrammar()).max_output == 10
    long = EpisodeType("long", "", evaluation, meta_grammar=MetaGrammar(max_output=30, max_input=9))
    assert (long.max_input, long.max_output) == (9, 30)
