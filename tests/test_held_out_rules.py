"""Held-out rules: their episodes, and their exclusion from training."""

from collections import Counter
from hashlib import sha256
from itertools import product
from pathlib import Path
from random import Random

import pytest

from biml.cli.main import main
from biml.episodes import datasets
from biml.episodes.curriculum import curriculum_stages
from biml.episodes.datasets import StreamDataset, sample_validation_set
from biml.episodes.episode import Episode
from biml.episodes.generate import DatasetSpec, generate
from biml.episodes.packed import read_episodes
from biml.episodes.registry import episode_type
from biml.episodes.sampling import sample_novel_rule_episode, sample_novel_rule_episodes
from biml.episodes.text_format import format_episode
from biml.grammar import Grammar, MetaGrammar
from biml.grammar.grammar import Rule
from biml.grammar.meta_grammar import HELD_OUT_PATTERNS, has_held_out_rule, with_rhs_pattern
from biml.grammar.perturbations import all_argument_swaps
from biml.paths import DataFolders
from biml.rng import generator

LONG = MetaGrammar(p_stop=0.0)
"""Right-hand sides always have 8 symbols, so that held-out rules are frequent."""


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return episode_type("novel_rules").open_evaluation(DataFolders(), 3).repeat(0)


def held_out(grammar: Grammar | None) -> set[str]:
    """Held-out patterns among the rules of a grammar, worked out from its text."""
    assert grammar is not None
    found = set()
    for rule in grammar.functions:
        names = {f"[{variable}]": str(i + 1) for i, variable in enumerate(rule.variables)}
        found.add("".join(names[item] for item in rule.rhs))
    return found & set(HELD_OUT_PATTERNS)


def test_the_26_patterns_are_sampled_with_a_fixed_seed() -> None:
    patterns = ["".join(p) for p in product("12", repeat=8) if "1" in p]
    of_two = [pattern for pattern in patterns if "2" in pattern]
    drawn = generator(0, "novel rules").sample(["1" * 8, *of_two], 26)
    assert tuple(sorted(drawn)) == HELD_OUT_PATTERNS


def test_each_rule_has_five_different_episodes(episodes: list[Episode]) -> None:
    assert len(episodes) == 130
    assert Counter(pattern for e in episodes for pattern in held_out(e.grammar)) == Counter(
        dict.fromkeys(HELD_OUT_PATTERNS, 5)
    )
    assert len({format_episode(episode) for episode in episodes}) == 130


def test_queries_apply_the_rule_to_all_pairs_of_primitives(episodes: list[Episode]) -> None:
    for episode in episodes:
        assert episode.grammar is not None
        primitives = {rule.words[0] for rule in episode.grammar.primitives}
        assert len({query.input for query in episode.queries}) == 16
        (function,) = {query.input[1] for query in episode.queries}
        (rule,) = [r for r in episode.grammar.functions if r.words == (function,)]
        assert held_out(Grammar((rule,)))
        for query in episode.queries:
            assert {query.input[0], query.input[2]} <= primitives
            assert query.output == episode.grammar.interpret(query.input)
            assert len(query.output) == 8


def test_the_study_set_determines_every_primitive_and_the_rule(episodes: list[Episode]) -> None:
    for episode in episodes:
        assert episode.grammar is not None
        study = {example.input: example.output for example in episode.study}
        assert len(study) == len(episode.study) == 14
        assert all((rule.words[0],) in study for rule in episode.grammar.primitives)
        function = episode.queries[0].input[1]
        telling = [w for w in study if w[1:-1] == (function,) and w[0] != w[-1] and len(w) == 3]
        assert len(telling) >= 2
        assert all(study[w] == episode.grammar.interpret(w) for w in study)


def test_queries_that_are_study_examples_are_marked(episodes: list[Episode]) -> None:
    for episode in episodes:
        shown = {example.input for example in episode.study}
        assert all(query.in_study == (query.input in shown) for query in episode.queries)
        assert 2 <= sum(query.in_study for query in episode.queries) <= 12


def test_the_seed_changes_only_the_order_of_study_examples() -> None:
    kind, data = episode_type("novel_rules"), DataFolders()
    one, other = (kind.open_evaluation(data, seed) for seed in (1, 2))
    assert one.episodes == other.episodes == sample_novel_rule_episodes()
    assert one.repeat(0) != one.repeat(1) != other.repeat(1)


def test_a_rule_with_one_argument_has_four_queries() -> None:
    episode = sample_novel_rule_episode("11111111", Random(4))
    assert len(episode.queries) == 4
    assert sum(query.in_study for query in episode.queries) >= 2


def test_patterns_match_any_words_and_kinds_of_variables() -> None:
    for left in ("u1 lug u2", "u1 dax x1", "x1 fep u1", "x1 wif x2"):
        rule = Rule(tuple(left.split()), ("RED",) * 8)
        assert not has_held_out_rule(Grammar((rule,)))
        for pattern in HELD_OUT_PATTERNS:
            assert has_held_out_rule(Grammar((with_rhs_pattern(rule, pattern),)))


def test_training_episodes_never_have_a_held_out_rule(tmp_path: Path) -> None:
    free = [sample_validation_set(LONG, 1, 40)]
    assert any(held_out(episode.grammar) for episode in free[0])

    stream = StreamDataset(LONG, 5)
    assert not any(held_out(stream[i].grammar) for i in range(400))
    generate(DatasetSpec(200, 1, seed=2, meta_grammar=LONG), tmp_path / "set", workers=1)
    written = read_episodes(tmp_path / "set" / "train")
    assert not any(held_out(episode.grammar) for episode in written)


def test_curriculum_stages_exclude_held_out_rules_too(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = []
    monkeypatch.setattr(datasets, "has_held_out_rule", lambda grammar: queries.append(grammar))
    for part, end in curriculum_stages(DataFolders(), 0):
        assert part[end - 1].grammar is queries.pop()


def test_biased_targets_follow_no_held_out_rule() -> None:
    """Biases exchange the arguments of rules, so mirror images are held out as well."""
    stream = StreamDataset(LONG, 6)
    for index in range(200):
        grammar = stream[index].grammar
        assert grammar is not None
        assert not any(map(held_out, all_argument_swaps(grammar)))


def test_the_sampled_validation_set_never_changes() -> None:
    text = "".join(map(format_episode, sample_validation_set(MetaGrammar(), 0)))
    assert sha256(text.encode()).hexdigest().startswith("d20e8c30b877aad45c31ac894d0ec23f")


def test_the_command_line_evaluates_held_out_rules(tmp_path: Path, capsys) -> None:
    from biml.networks import checkpoint
    from fakes.networks import small_network

    checkpoint.save_checkpoint(
        tmp_path / "toy.pt", checkpoint.checkpoint_of(small_network(), "algebraic")
    )
    where = ["--dir_model", str(tmp_path), "--fn_out_model", "toy.pt"]
    assert main(["eval", *where, "--max", "--episode_type", "novel_rules", "--episodes", "4"]) == 0
    output = capsys.readouterr().out
    assert "greedy responses" in output
    assert "over 4 episodes" in output
