"""The Bayes-optimal learner: grammars that fit the study examples, and their posterior."""

from collections import Counter
from random import Random

import pytest

import bayes_optimal
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.sampling import sample_episode
from biml.evaluation.consistent_grammars import (
    Search,
    consistent_grammars,
    right_hand_sides,
    value,
)
from biml.evaluation.readings import find_readings
from biml.grammar import MetaGrammar


def example(words: str, symbols: str) -> Example:
    return Example(tuple(words.split()), tuple(symbols.split()))


def test_right_hand_sides_have_the_probability_of_sampling_them() -> None:
    rng = Random(0)
    drawn: dict[int, Counter] = {1: Counter(), 2: Counter()}
    for _ in range(8000):
        for rule in MetaGrammar().sample_grammar(rng).functions:
            drawn[len(rule.lhs) - 1][tuple(rule.rhs_template)] += 1
    for arity, counts in drawn.items():
        chances = right_hand_sides(arity)
        assert sum(chances.values()) == pytest.approx(1)
        for template, chance in sorted(chances.items(), key=lambda item: -item[1])[:6]:
            share = counts[template] / counts.total()
            assert share == pytest.approx(chance, abs=4 * (chance / counts.total()) ** 0.5)


def test_the_true_grammar_is_among_the_grammars_consistent_with_the_study_examples() -> None:
    for seed in range(12):
        episode = sample_episode(MetaGrammar(), Random(seed))
        shown = {word for each in episode.study for word in each.input}
        queries = [query for query in episode.queries if shown.issuperset(query.input)]
        assert episode.grammar is not None
        true = {
            rule.words[0]: tuple(rule.rhs_template)
            for rule in episode.grammar.functions
            if rule.words[0] in shown
        }
        found = [
            fitting
            for fitting in consistent_grammars(episode.study, [query.input for query in queries])
            if dict(fitting.templates) == true
            and all(
                tree and value(tree, fitting.symbols, true) == query.output
                for tree, query in zip(fitting.trees, queries, strict=True)
            )
        ]
        assert found


def test_confidence_is_the_posterior_probability_of_the_response() -> None:
    study = (example("dax", "RED"), example("wif", "BLUE"), example("dax fep wif", "RED BLUE RED"))
    queries = (
        example("wif fep dax", "BLUE RED BLUE"),
        example("lug", "GREEN"),
        example("dax wif fep wif", "RED BLUE BLUE BLUE"),
    )
    first, unknown, longer = bayes_optimal.respond(Episode(study, queries))
    assert (first.symbols, first.probability) == (("BLUE", "RED", "BLUE"), pytest.approx(1))
    assert unknown.symbols is None
    # The first argument is one word or any string, each as likely: so is where `dax` belongs.
    assert " ".join(longer.symbols) in ("RED BLUE BLUE BLUE", "RED BLUE BLUE RED BLUE")
    assert longer.probability == pytest.approx(0.5)


def test_the_grammar_of_a_reading_gives_the_study_examples_and_the_reading() -> None:
    for seed in range(6):
        episode = sample_episode(MetaGrammar(), Random(seed))
        for query in episode.queries[:3]:
            found = find_readings(episode.study, query.input)
            assert found.complete
            assert found.n_grammars > 0
            for reading in found.readings:
                assert reading.grammar.interpret(query.input) == reading.output
                for each in episode.study:
                    assert reading.grammar.interpret(each.input) == each.output
            total = sum(reading.probability for reading in found.readings)
            assert not found.readings or total == pytest.approx(1)


def test_a_new_word_may_stand_for_any_unused_symbol() -> None:
    study = (example("dax", "RED"), example("wif", "BLUE"), example("dax fep", "RED RED"))
    found = find_readings(study, ("lug", "fep"), ("RED", "BLUE", "PINK", "GREEN"))
    assert found.new_words == ("lug",)
    outputs = {" ".join(reading.output): reading.probability for reading in found.readings}
    assert outputs == pytest.approx({"PINK PINK": 0.5, "GREEN GREEN": 0.5})


def test_contradictory_study_examples_have_no_reading() -> None:
    study = (example("dax", "RED"), example("wif", "RED"))
    assert find_readings(study, ("dax",)).readings == ()
    study = (example("dax", "RED"), example("dax fep", "BLUE"))
    assert find_readings(study, ("dax",)).readings == ()


def test_a_search_ends_at_its_time_limit() -> None:
    gold = gold_episode()
    symbols = ("1", "2", "3", "DAX")
    assert not find_readings(gold.study, gold.queries[0].input, symbols, seconds=-1).complete
    (only,) = find_readings(gold.study, gold.queries[0].input, symbols).readings
    assert (only.output, only.probability) == (gold.queries[0].output, 1)


def test_a_search_says_what_it_has_left() -> None:
    study = gold_episode().study
    search = Search()
    priors = [each.prior for each in consistent_grammars(study, [("DAX",)], search=search)]
    assert search.unsearched == pytest.approx(0)
    query = ("DAX", "thrice")
    whole, stopped = find_readings(study, query), find_readings(study, query, seconds=0)
    assert (whole.complete, whole.unsearched) == (True, 0)
    assert (stopped.complete, stopped.unsearched, stopped.readings) == (False, 1, ())
    assert 0 < sum(priors) < 1
