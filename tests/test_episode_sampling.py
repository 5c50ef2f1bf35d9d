"""Sampled episodes: sizes, limits, outputs and the distribution of inputs."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from biml.episodes.episode import Episode
from biml.episodes.sampling import sample_episode, sample_examples
from biml.errors import BimlError
from biml.grammar import GOLD, Grammar, MetaGrammar
from biml.rng import generator
from reference_interpreter import interpret
from reference_interpreter import sample_episode as sample_reference_episode

META = MetaGrammar()
N = 1500


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [sample_episode(META, generator(3, i)) for i in range(N)]


def test_episodes_have_14_study_and_10_query_examples_all_different(
    episodes: list[Episode],
) -> None:
    for episode in episodes:
        assert (len(episode.study), len(episode.queries)) == (14, 10)
        assert len({example.input for example in (*episode.study, *episode.queries)}) == 24
        assert not any(query.in_study for query in episode.queries)


def test_inputs_and_outputs_have_at_most_eight_items(episodes: list[Episode]) -> None:
    lengths = [(len(e.input), len(e.output)) for ep in episodes for e in (*ep.study, *ep.queries)]
    assert max(length for length, _ in lengths) == 8
    assert max(length for _, length in lengths) == 8
    assert min(length for _, length in lengths) == 1


def test_outputs_agree_with_the_reference_interpreter(episodes: list[Episode]) -> None:
    for episode in episodes[:300]:
        assert episode.grammar is not None
        for example in (*episode.study, *episode.queries):
            assert example.output == interpret(episode.grammar, example.input)
            assert example.output == episode.grammar.interpret(example.input)


def test_episodes_depend_on_the_seed_alone() -> None:
    episode = sample_episode(META, Random(5), name="stream episode 5")
    assert episode == sample_episode(META, Random(5), name="stream episode 5")
    assert episode.name == "stream episode 5"
    assert episode != sample_episode(META, Random(6))


def test_example_lengths_are_distributed_as_in_the_reference_sampler(
    episodes: list[Episode],
) -> None:
    def shares(several: list[Episode]) -> list[tuple[Counter[int], int]]:
        examples = [e for episode in several for e in (*episode.study, *episode.queries)]
        sides = ([len(e.input) for e in examples], [len(e.output) for e in examples])
        return [(Counter(side), len(side)) for side in sides]

    plainly = [sample_reference_episode(META, generator(4, i)) for i in range(400)]
    for (ours, n), (theirs, m) in zip(shares(episodes), shares(plainly), strict=True):
        for length in range(1, 9):
            p = ours[length] / n
            error = (p * (1 - p) * (1 / n + 1 / m)) ** 0.5
            # Examples of one episode vary together, hence more than the usual few errors.
            assert abs(p - theirs[length] / m) < 8 * error


def test_productions_are_equally_likely() -> None:
    # X becomes a primitive (4 of them), f on a primitive, or a concatenation, each with 1/3.
    grammar = Grammar.parse(
        "dax -> RED\nwif -> BLUE\nfep -> PINK\nlug -> GREEN\nu1 f -> [u1] [u1]\nu1 x1 -> [u1] [x1]"
    )
    one = replace(META, n_study=0, n_query=1)
    first = [sample_examples(grammar, one, generator(5, i))[0].input for i in range(6000)]
    counts = Counter(first)
    kept = 1 - _share_rejected()
    for word in ("dax", "wif", "fep", "lug"):
        assert abs(counts[(word,)] / 6000 - 1 / 12 / kept) < 0.018
        assert abs(counts[(word, "f")] / 6000 - 1 / 12 / kept) < 0.018
    pairs = sum(count for words, count in counts.items() if len(words) == 2 and words[1] != "f")
    assert abs(pairs / 6000 - 1 / 9 / kept) < 0.02


def _share_rejected() -> float:
    """Probability that one of the productions above grows over 8 words or 8 symbols.

    n concatenations precede a primitive (n + 1 words and symbols) or f on one (n + 2).
    """
    return sum(1 / 3 * (1 / 3) ** n * ((n + 1 > 8) + (n + 2 > 8)) for n in range(60))


def test_study_and_queries_are_split_at_random(episodes: list[Episode]) -> None:
    # Short inputs are met first; without a shuffle they would all be study examples.
    study = sum(len(e.input) == 1 for episode in episodes for e in episode.study)
    queries = sum(len(e.input) == 1 for episode in episodes for e in episode.queries)
    assert abs(study / (study + queries) - 14 / 24) < 0.03


def test_numbers_of_examples_can_be_changed() -> None:
    meta = MetaGrammar(n_functions=1, max_input=5, max_output=4, n_study=3, n_query=5)
    episode = sample_episode(meta, Random(0))
    assert (len(episode.study), len(episode.queries)) == (3, 5)
    assert all(len(e.input) <= 5 and len(e.output) <= 4 for e in (*episode.study, *episode.queries))


def test_large_vocabularies_and_grammars_can_be_sampled() -> None:
    meta = MetaGrammar(
        words=tuple(f"w{i}" for i in range(100)),
        symbols=tuple(f"s{i}" for i in range(90)),
        n_primitives=80,
        n_functions=6,
        n_study=40,
    )
    assert len(sample_episode(meta, Random(1)).study) == 40


def test_a_grammar_with_few_inputs_gives_all_of_them() -> None:
    grammar = Grammar.parse("dax -> RED\nu1 lug -> [u1] [u1]")
    inputs = {example.input for example in sample_examples(grammar, META, Random(0))}
    assert inputs == {("dax",), ("dax", "lug")}
    assert sample_examples(Grammar.parse("u1 lug -> [u1]"), META, Random(0)) == []


def test_a_meta_grammar_without_enough_inputs_is_an_error() -> None:
    with pytest.raises(BimlError, match="24 different inputs of at most 1 words"):
        sample_episode(MetaGrammar(max_input=1), Random(0))


def test_examples_of_any_grammar_can_be_sampled() -> None:
    examples = sample_examples(GOLD, META, Random(2))
    assert len(examples) == 24
    assert all(GOLD.interpret(example.input) == example.output for example in examples)
