"""Curriculum: stages of easier episodes, hard episodes, and late biases."""

from random import Random

import pytest

from biml.episodes.curriculum import STAGES, STUDY_QUERIES_KEPT
from biml.episodes.datasets import canonical_grammars, is_gold_grammar, validation_episodes
from biml.episodes.episode import Episode
from biml.episodes.registry import EPISODE_TYPES, episode_type
from biml.episodes.sampling import MAX_SIMPLE_LENGTH, sample_single_function_episode
from biml.grammar import MetaGrammar
from biml.paths import DataFolders

CLEAN = 18000
AFTER_STAGES = sum(stage.n_episodes for stage in STAGES)


def curriculum(name: str = "algebraic+biases"):
    return episode_type(name).open_curriculum(DataFolders(), 0, CLEAN)


@pytest.mark.parametrize(
    ("index", "functions", "words"),
    [(0, 1, 4), (599, 1, 4), (600, 1, 3), (3599, 1, 3), (3600, 3, 3)],
)
def test_stages_have_fewer_functions_and_shorter_inputs(
    index: int, functions: int, words: int
) -> None:
    episode = curriculum()[index]
    assert episode.grammar is not None
    assert len(episode.grammar.functions) == functions
    assert max(len(example.input) for example in episode.study) <= words


def test_targets_are_correct_until_biases_begin() -> None:
    source = curriculum()

    def wrong(indices: range) -> int:
        episodes = [source[index] for index in indices]
        return sum(
            query.output != episode.grammar.interpret(query.input)
            for episode in episodes
            for query in episode.queries
            if episode.grammar
        )

    assert wrong(range(AFTER_STAGES, AFTER_STAGES + 40)) == 0
    assert wrong(range(CLEAN, CLEAN + 40)) > 20


def test_last_part_interleaves_plain_training_with_hard_episodes() -> None:
    source = curriculum()
    plain = episode_type("algebraic+biases").open_training(DataFolders(), 0)
    assert len(source) == len(plain)
    wrong = [0, 0, 0]
    for number in range(CLEAN // 3, CLEAN // 3 + 30):
        usual, long, deduced = (source[3 * number + kind] for kind in range(3))
        assert usual == plain[number]
        assert all(len(query.input) > MAX_SIMPLE_LENGTH for query in long.queries)
        assert max(len(query.input) for query in deduced.queries) <= MAX_SIMPLE_LENGTH
        for kind, episode in enumerate((usual, long, deduced)):
            assert episode.grammar is not None
            for query in episode.queries:
                if query.output != episode.grammar.interpret(query.input):
                    assert not query.in_study
                    wrong[kind] += 1
    assert min(wrong) > 10


def test_types_without_corruptions_have_no_late_part() -> None:
    source = curriculum("algebraic")
    for end in (CLEAN, CLEAN + 3000):
        usual, long, deduced = (source[end + kind] for kind in range(3))
        assert sum(query.in_study for query in usual.queries) == STUDY_QUERIES_KEPT
        assert all(len(query.input) > MAX_SIMPLE_LENGTH for query in long.queries)
        assert max(len(query.input) for query in deduced.queries) <= MAX_SIMPLE_LENGTH


def test_stages_end_where_biases_begin() -> None:
    kind = episode_type("algebraic+biases")
    source = kind.open_curriculum(DataFolders(), 0, 1000, 15000)
    plain = kind.open_training(DataFolders(), 0)
    assert source[1002].study == plain[334].study
    assert all(len(source[index].study) == 8 for index in (0, 100, 600))


def test_grammars_of_validation_and_gold_are_held_out_of_every_stage() -> None:
    held = canonical_grammars(validation_episodes(DataFolders()))
    source = curriculum()
    for first in (0, 600, AFTER_STAGES, CLEAN):
        for index in range(first, first + 50):
            grammar = source[index].grammar
            assert grammar is not None
            assert grammar.canonical() not in held
            assert not is_gold_grammar(grammar)


def test_types_without_grammars_have_no_curriculum(shared) -> None:
    data = DataFolders(shared)
    for name in ("few_shot_vanilla", "open_end_human_all"):
        kind = EPISODE_TYPES[name]
        assert kind.open_curriculum(data, 0, CLEAN)[3] == kind.open_training(data, 0)[3]


def test_single_function_episodes_query_unseen_uses_of_their_functions() -> None:
    meta = MetaGrammar(n_functions=2)
    for seed in range(20):
        episode = sample_single_function_episode(meta, Random(seed))
        grammar = episode.grammar
        assert grammar is not None
        study = {example.input for example in episode.study}
        assert {rule.lhs for rule in grammar.primitives} <= study
        functions = {word for rule in grammar.functions for word in rule.words}
        for query in episode.queries:
            assert query.input not in study
            assert len(functions.intersection(query.input)) == 1
            assert query.output == grammar.interpret(query.input)


def after_stages(kind: int) -> list[Episode]:
    source = curriculum()
    return [source[AFTER_STAGES + 3 * turn + kind] for turn in range(20)]


def test_algebraic_episodes_keep_a_few_study_queries() -> None:
    for episode in after_stages(0):
        assert sum(query.in_study for query in episode.queries) == STUDY_QUERIES_KEPT
        assert sum(not query.in_study for query in episode.queries) == 10


def test_long_query_episodes_have_long_novel_queries() -> None:
    for episode in after_stages(1):
        assert all(
            len(query.input) > MAX_SIMPLE_LENGTH and not query.in_study for query in episode.queries
        )
        assert episode.grammar is not None
        assert {r.lhs for r in episode.grammar.primitives} <= {e.input for e in episode.study}
        assert not {e.input for e in episode.study} & {q.input for q in episode.queries}


def test_inference_episodes_query_primitives_absent_as_single_study_examples() -> None:
    alone = 0
    for episode in after_stages(2):
        grammar = episode.grammar
        assert grammar is not None
        shown, queried = ({e.input for e in part} for part in (episode.study, episode.queries))
        assert len(episode.study) == 14
        assert not shown & queried
        primitives = {rule.lhs for rule in grammar.primitives}
        assert primitives <= shown | queried
        alone += len(primitives & queried)
        functions = {word for rule in grammar.functions for word in rule.words}
        for query in episode.queries:
            assert len(query.input) == 1 or len(functions.intersection(query.input)) == 1
            assert query.output == grammar.interpret(query.input)
        assert max(len(query.input) for query in episode.queries) <= MAX_SIMPLE_LENGTH
    assert alone > 20


def test_stages_are_shortened_in_short_runs() -> None:
    kind = episode_type("algebraic")
    run = 4000
    source = kind.open_curriculum(DataFolders(), 0, run, run)
    assert len(source[round(0.31 * run)].study) == 14
    functions = []
    for index in (0, round(0.15 * run), round(0.29 * run)):
        grammar = source[index].grammar
        assert grammar is not None
        functions.append(len(grammar.functions))
    assert functions == [1, 1, 3]


def test_curriculum_of_copy_only_has_study_queries_only() -> None:
    source = curriculum("retrieve")
    for index in (0, AFTER_STAGES, CLEAN):
        assert all(query.in_study for query in source[index].queries)
