"""Episode transforms; random shares are compared within 5 standard errors."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from biml.episodes.episode import Episode, Example
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import read_episode
from biml.episodes.transforms import (
    add_biases,
    add_noise,
    add_slips,
    add_study_queries,
    remap,
    shuffle_study,
    subsample_study,
    swap_random_arguments,
    undo_remapping,
)
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar, MetaGrammar, isomorphic
from biml.grammar.meta_grammar import COLOURS, GOLD_QUERIES, GOLD_STUDY, WORDS
from biml.grammar.perturbations import SlipRates
from biml.rng import generator


def answered(grammar: Grammar, inputs: tuple[str, ...]) -> tuple[Example, ...]:
    split = [tuple(text.split()) for text in inputs]
    return tuple(Example(words, grammar.interpret(words)) for words in split)


GOLD_EPISODE = Episode(answered(GOLD, GOLD_STUDY), answered(GOLD, GOLD_QUERIES), grammar=GOLD)
PLAIN = sample_episode(MetaGrammar(), Random(0))


def near(count: int, n: int, p: float) -> bool:
    return abs(count / n - p) < 5 * (p * (1 - p) / n) ** 0.5


def test_shuffling_study_examples_changes_their_order_only() -> None:
    shuffled = shuffle_study(PLAIN, Random(1))
    assert shuffled.study != PLAIN.study
    assert sorted(shuffled.study) == sorted(PLAIN.study)
    assert replace(shuffled, study=PLAIN.study) == PLAIN


def test_subsampled_study_sizes_are_uniform() -> None:
    kept = [subsample_study(PLAIN, generator(1, i), max_n=14).study for i in range(3000)]
    numbers = Counter(map(len, kept))
    assert all(near(numbers[n], 3000, 1 / 15) for n in range(15))
    assert all(near(sum(e in study for study in kept), 3000, 0.5) for e in PLAIN.study)
    assert all(list(study) == [e for e in PLAIN.study if e in study] for study in kept)


def slipped(words: str, rates: SlipRates, draws: int, grammar: Grammar = GOLD) -> Counter[str]:
    """What so many queries with the same words are answered by."""
    query = Example(tuple(words.split()), grammar.interpret(words.split()))
    episode = Episode(GOLD_EPISODE.study, (query,) * 20, grammar=grammar)
    return Counter(
        " ".join(q.output)
        for i in range(draws // 20)
        for q in add_slips(episode, generator(9, i), rates, symbols=GOLD.symbols).queries
    )


def test_functions_are_perturbed_independently() -> None:
    n, found = 20_000, slipped("2 after 3 surround DAX", SlipRates(0, 0.1, 0), 20_000)
    assert found.keys() == {"3 DAX 3 2", "DAX 3 DAX 2", "2 3 DAX 3", "2 DAX 3 DAX"}
    assert near(found["DAX 3 DAX 2"], n, 0.1 * 0.9)
    assert near(found["2 3 DAX 3"], n, 0.1 * 0.9)
    assert near(found["2 DAX 3 DAX"], n, 0.1 * 0.1)


def test_a_substituted_word_has_one_symbol_throughout_a_query() -> None:
    n, found = 20_000, slipped("DAX surround DAX after DAX thrice", SlipRates(0.2, 0, 0), 20_000)
    assert found.keys() == {" ".join([symbol] * 6) for symbol in GOLD.symbols}
    for symbol in ("1", "2", "3"):
        assert near(found[" ".join([symbol] * 6)], n, 0.2 / 4)


def test_longer_queries_get_one_to_one_targets_more_often() -> None:
    n, rates = 20_000, SlipRates(0, 0, 0.05)
    short, longer = slipped("DAX thrice", rates, n), slipped("3 after DAX thrice", rates, n)
    assert near(n - short["DAX DAX DAX"], n, 1 - 0.95**2)
    assert near(n - longer["DAX DAX DAX 3"], n, 1 - 0.95**4)
    assert {len(answer.split()) for answer in longer if answer != "DAX DAX DAX 3"} == {4}


def test_slips_keep_study_queries_and_the_length_limit() -> None:
    presented = add_study_queries(PLAIN)
    certain = SlipRates(1, 1, 0)
    changed = add_slips(presented, Random(0), certain)
    assert changed.queries[:14] == presented.queries[:14]
    assert [q.input for q in changed.queries] == [q.input for q in presented.queries]
    grammar = Grammar.parse("a -> A\nb -> B B B\nu1 f u2 -> [u1] [u2] [u2] [u2] [u2]")
    assert slipped("b f a", SlipRates(0, 1, 0), 20, grammar) == {"B B B A A A A": 20}


def test_slips_need_a_grammar() -> None:
    with pytest.raises(UsageError, match=r"new\.txt.*grammar"):
        add_slips(Episode((), (), name="new.txt"), Random(0))


@pytest.mark.parametrize("bounds", [(-1, 3), (4, 3), (15, 15)])
def test_impossible_study_sizes_are_rejected(bounds: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="of the 14 study examples"):
        subsample_study(PLAIN, Random(0), min_n=bounds[0], max_n=bounds[1])


def test_study_queries_come_before_the_others() -> None:
    presented = add_study_queries(PLAIN)
    assert [query.in_study for query in presented.queries] == [True] * 14 + [False] * 10
    assert [q[:2] for q in presented.queries[:14]] == [e[:2] for e in PLAIN.study]
    assert presented.queries[14:] == PLAIN.queries
    assert presented.study == PLAIN.study


def test_study_queries_have_neither_biases_nor_noise() -> None:
    presented = add_study_queries(PLAIN)
    changed = add_noise(add_biases(presented, Random(0), p=1.0), Random(0), 1.0, ["?"])
    assert changed.queries[:14] == presented.queries[:14]
    assert all(a != b for a, b in zip(changed.queries[14:], presented.queries[14:], strict=True))
    assert [q.input for q in changed.queries] == [q.input for q in presented.queries]


def test_biases_have_the_published_probabilities() -> None:
    # `u1 surround u2` flips to `2 1 2`; its one-to-one translation has a random middle.
    surround = Example(("1", "surround", "2"), ("1", "2", "1"))
    episode = replace(GOLD_EPISODE, queries=(surround,) * 20)
    outputs = Counter(
        query.output
        for i in range(1000)
        for query in add_biases(episode, generator(2, i), symbols=GOLD.symbols).queries
    )
    n = 20_000
    assert outputs.keys() == {
        ("1", "2", "1"),
        ("2", "1", "2"),
        *[("1", middle, "2") for middle in GOLD.symbols],
    }
    assert near(outputs["2", "1", "2"], n, 0.2 * 0.5 * 0.5)
    for middle in GOLD.symbols:
        assert near(outputs["1", middle, "2"], n, 0.2 * 0.5 / 4)


def test_one_to_one_uses_one_word_study_examples_only() -> None:
    study = (
        Example(("1",), ("1",)),
        Example(("2", "3"), ("2", "3")),
        Example(("DAX",), ("3", "3")),
    )
    query = Example(("1", "2", "DAX", "1"), ("1",))
    episode = Episode(study, (query,), grammar=GOLD)
    seen = set()
    for i in range(300):
        output = add_biases(episode, generator(3, i), p=1.0, symbols=("A", "B")).queries[0].output
        if len(output) == 4 and output[1] in "AB":
            seen.add(output)
    assert seen == {("1", two, dax, "1") for two in "AB" for dax in "AB"}


@pytest.mark.parametrize("throughout", [False, True])
def test_one_to_one_symbols_of_a_repeated_new_word(throughout: bool) -> None:
    """Biases draw one for each occurrence, as published; slips one for the whole query."""
    grammar = Grammar.parse("a -> A A A")
    episode = Episode((), (Example(("a", "a"), ("A",)),) * 20, grammar=grammar)
    outputs = Counter(
        query.output
        for i in range(300)
        for query in (
            add_slips(episode, generator(4, i), SlipRates(0, 0, 1), symbols=("A", "B"))
            if throughout
            else add_biases(episode, generator(4, i), p=1.0, symbols=("A", "B"))
        ).queries
        if query.output != ("a", "a")  # which the grammar leaves as it is
    )
    n = outputs.total()
    pairs = [("A", "A"), ("B", "B"), *([] if throughout else [("A", "B"), ("B", "A")])]
    assert outputs.keys() == set(pairs)
    assert all(near(outputs[pair], n, 1 / len(pairs)) for pair in pairs)


def test_swapped_rules_exchange_the_arguments_of_binary_functions() -> None:
    flipped = Counter(swap_random_arguments(GOLD, generator(5, i)) for i in range(2000))
    assert len(flipped) == 4
    assert all(near(count, 2000, 1 / 4) for count in flipped.values())
    for grammar in flipped:
        assert [str(rule) for rule in grammar.rules if rule not in GOLD.rules] == [
            text
            for text in ("u1 surround u2 -> [u2] [u1] [u2]", "x1 after x2 -> [x1] [x2]")
            if text in str(grammar)
        ]


def test_a_swapped_output_that_is_too_long_is_not_used() -> None:
    grammar = Grammar.parse("a -> A\nb -> B B B\nu1 f u2 -> [u1] [u2] [u2] [u2] [u2]")
    query = Example(("b", "f", "a"), grammar.interpret(("b", "f", "a")))
    episode = Episode((), (query,), grammar=grammar)
    outputs = {add_biases(episode, generator(6, i), 1.0).queries[0].output for i in range(200)}
    assert query.output in outputs
    assert max(map(len, outputs)) <= 8


def test_biases_need_the_grammar() -> None:
    with pytest.raises(UsageError, match="need the episode's grammar"):
        add_biases(replace(PLAIN, grammar=None), Random(0))


def test_noise_never_removes_the_first_symbol() -> None:
    target = ("RED", "RED", "RED")
    episode = Episode((), (Example(("dax",), target),) * 100)
    noisy = [
        query.output
        for i in range(400)
        for query in add_noise(episode, generator(7, i), 0.07).queries
    ]
    n = len(noisy)
    p = 0.07
    assert min(map(len, noisy)) == 1
    firsts = Counter(symbols[0] for symbols in noisy)
    assert all(near(firsts[colour], n, p / 6) for colour in COLOURS if colour != "RED")
    assert near(sum(len(s) == 1 for s in noisy), n, p / 7)
    assert near(sum(len(s) == 2 for s in noisy), n, (1 - p / 7) * p / 7)
    seconds = Counter(symbols[1] for symbols in noisy if len(symbols) > 1)
    assert all(near(seconds[c], n, p / 7) for c in COLOURS if c != "RED")


def test_noise_has_probability_one_percent_by_default() -> None:
    episode = Episode((), (Example(("dax",), ("RED",) * 8),) * 100)
    changed = sum(
        query.output[0] != "RED"
        for i in range(300)
        for query in add_noise(episode, generator(8, i)).queries
    )
    assert near(changed, 30_000, 0.01 * 5 / 6)


def test_remapping_replaces_words_and_symbols_everywhere_and_is_invertible(shared: Path) -> None:
    folder = shared / "data_human"
    paths = [
        *(folder / "few_shot").rglob("*.txt"),
        *folder.glob("data_behavior_probes/val/*.txt"),
        *folder.glob("open_ended_all/*/*.txt"),
    ]
    assert len(paths) > 40
    for number, path in enumerate(paths):
        episode = read_episode(path)
        mapped = remap(episode, Random(number), WORDS, COLOURS)
        for before, after in zip(
            (*episode.study, *episode.queries), (*mapped.study, *mapped.queries), strict=True
        ):
            assert set(after.input) <= set(WORDS)
            assert set(after.output) <= set(COLOURS)
            assert undo_remapping(mapped, after.output) == before.output
        assert (mapped.pool is None) == (episode.pool is None)
        if episode.pool:
            assert undo_remapping(mapped, mapped.pool or ()) == episode.pool
        if episode.grammar:
            assert mapped.grammar is not None
            assert isomorphic(mapped.grammar, episode.grammar)
            for example in (*mapped.study, *mapped.queries):
                assert mapped.grammar.interpret(example.input) == example.output


def test_undefined_action_in_a_file_is_one_more_symbol() -> None:
    episode = Episode((), (Example(("1",), ("1", "undefined_action")),))
    mapped = remap(episode, Random(0), WORDS, COLOURS)
    assert set(mapped.queries[0].output) <= set(COLOURS)
    assert undo_remapping(mapped, mapped.queries[0].output) == ("1", "undefined_action")


def test_unused_colours_become_undefined_action() -> None:
    mapped = remap(GOLD_EPISODE, Random(0), WORDS, COLOURS)
    shown = undo_remapping(mapped, COLOURS)
    assert Counter(shown) == Counter([*GOLD.symbols, "undefined_action", "undefined_action"])
    assert undo_remapping(GOLD_EPISODE, ("1", "PINK")) == ("1", "PINK")


def test_remappings_are_uniform() -> None:
    mapped = [remap(GOLD_EPISODE, generator(9, i), WORDS, COLOURS) for i in range(3000)]
    assert all(m.remapping is not None for m in mapped)
    words = Counter(m.remapping.words["thrice"] for m in mapped if m.remapping)
    colours = Counter(m.remapping.symbols["DAX"] for m in mapped if m.remapping)
    assert all(near(words[word], 3000, 1 / 9) for word in WORDS)
    assert all(near(colours[colour], 3000, 1 / 6) for colour in COLOURS)


def test_remapping_to_too_few_words_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"7 words .*more than the 5"):
        remap(GOLD_EPISODE, Random(0), WORDS[:5], COLOURS)
    with pytest.raises(UsageError, match="4 symbols"):
        remap(GOLD_EPISODE, Random(0), WORDS, COLOURS[:3])
