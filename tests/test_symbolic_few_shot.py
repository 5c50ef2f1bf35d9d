"""Symbolic few-shot models: published log-likelihoods, and brute force."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.registry import episode_type
from biml.episodes.transforms import add_biases, add_slips
from biml.errors import UsageError
from biml.evaluation.likelihood import apply_lapse, likelihood, score_responses, token_scores
from biml.evaluation.registry import SYMBOLIC, symbolic_model
from biml.evaluation.symbolic import (
    BiasOracle,
    OpenEndedBiasModel,
    Oracle,
    ResponseMixture,
    SlipOracle,
)
from biml.grammar import GOLD, Grammar
from biml.grammar.perturbations import SlipRates, all_argument_swaps, iconic_grammar
from biml.paths import DataFolders
from biml.rng import generator

SMALL = Grammar.parse(
    """
    a -> A
    b -> B
    u1 g -> [u1] [u1]
    x1 f x2 -> [x2] [x1]
    u1 h u2 -> [u1] [u2] [u2]
    u1 x1 -> [u1] [x1]
    """
)
STUDY = (Example(("a",), ("A",)), Example(("b",), ("B",)), Example(("a", "g"), ("A", "A")))
SYMBOLS = ("A", "B", "C")


def episode(*queries: str, symbols: str = "A") -> Episode:
    queried = tuple(Example(tuple(q.split()), tuple(symbols.split())) for q in queries)
    return Episode(STUDY, queried, grammar=SMALL)


@pytest.fixture(scope="module")
def human(shared: Path) -> EvaluationSet:
    return episode_type("few_shot_human").open_evaluation(DataFolders(shared), 0)


@pytest.mark.published_data
def test_the_oracle_has_the_published_likelihood_of_the_human_responses(
    human: EvaluationSet,
) -> None:
    found = likelihood(token_scores(score_responses(Oracle(), human, repeats=2)), 0.13)
    assert found.n_symbols == 990
    assert found.mean == pytest.approx(-536.1, abs=0.05)
    assert found.sd == pytest.approx(0)


@pytest.mark.published_data
def test_biases_increase_the_likelihood_of_human_responses(human: EvaluationSet) -> None:
    scores = token_scores(score_responses(BiasOracle(), human))
    assert likelihood(scores, 0.05).mean == pytest.approx(-363.2, abs=0.05)


@pytest.mark.published_data
def test_slips_increase_the_likelihood_of_human_responses_further(human: EvaluationSet) -> None:
    scores = token_scores(score_responses(SlipOracle(), human))
    assert likelihood(scores, 0.04).mean == pytest.approx(-340.0, abs=0.1)


def test_without_biases_the_mixture_equals_the_oracle_even_after_errors(
    human: EvaluationSet,
) -> None:
    episodes = human.repeat(0)
    plain = Oracle().log_prob(episodes)
    mixed = BiasOracle(p=0).log_prob(episodes)
    for a, b in zip(plain, mixed, strict=True):
        np.testing.assert_allclose(np.concatenate(a), np.concatenate(b))


def test_after_an_error_the_posterior_is_the_limit_of_rare_lapses() -> None:
    answers = {("A",): 0.5, ("B", "A", "A"): 0.2, ("A", "B", "B", "A"): 0.2, ("B",): 0.1}
    mixture, rate = ResponseMixture(answers, ("A", "B")), 1e-7

    def chances(answer: tuple[str, ...], place: int) -> np.ndarray:
        """Of A, B and the end, without a lapse."""
        if place > len(answer):
            return np.full(3, 1 / 3)
        return np.eye(3)[2 if place == len(answer) else "AB".index(answer[place])]

    for begun in (begun for length in range(6) for begun in product((0, 1), repeat=length)):
        believed = {
            answer: weight
            * np.prod([(1 - rate) * chances(answer, i)[n] + rate / 3 for i, n in enumerate(begun)])
            for answer, weight in answers.items()
        }
        expected = sum(p * chances(answer, len(begun)) for answer, p in believed.items())
        np.testing.assert_allclose(
            mixture(begun), expected / sum(believed.values()), atol=1e-4, err_msg=str(begun)
        )


def test_patterns_are_the_mixture_of_all_their_responses() -> None:
    patterns = {("A", None, "B", None): 0.5, ("B", None): 0.3, ("A", "A", "B"): 0.2}
    responses: Counter[tuple[str, ...]] = Counter()
    for pattern, weight in patterns.items():
        every = list(product(*[symbol or SYMBOLS for symbol in pattern]))
        for response in every:
            responses[response] += weight / len(every)
    short, long = ResponseMixture(patterns, SYMBOLS), ResponseMixture(responses, SYMBOLS)
    # Number 3 is the end, 4 a symbol that is no choice.
    for begun in (begun for length in range(6) for begun in product(range(5), repeat=length)):
        np.testing.assert_allclose(short(begun), long(begun), err_msg=str(begun))


def test_biased_responses_to_many_unknown_words_are_not_enumerated() -> None:
    grammar, colours = Grammar.parse("a -> A\nu1 x1 -> [u1]"), tuple("ABCDEFGHI")
    query = Example(tuple("aghkghkg"), ("A",) * 8)
    ((scored,),) = BiasOracle(symbols=colours).log_prob([Episode(STUDY, (query,), grammar)])
    assert exp(scored.sum()) == pytest.approx(0.1 / 9**7)


def test_the_oracle_is_uniform_past_the_end_of_the_gold_output() -> None:
    ((scored,),) = Oracle(symbols=SYMBOLS).log_prob([episode("a g", symbols="A A B C")])
    np.testing.assert_allclose(np.exp(scored), [1, 1, 0, 1 / 4, 1 / 4])
    assert apply_lapse(scored, 0.2, 4)[3] == pytest.approx(np.log(1 / 4))


def test_the_oracle_predicts_the_gold_symbol_after_any_prefix() -> None:
    ((scored,),) = Oracle(symbols=SYMBOLS).log_prob([episode("a g", symbols="C A")])
    np.testing.assert_allclose(np.exp(scored), [0, 1, 1])


@pytest.mark.parametrize("query", ["a f b", "a h b", "b g f a", "a h b f b g", "a g f b g", "a"])
def test_the_mixture_of_biased_responses_matches_brute_force(query: str) -> None:
    words = tuple(query.split())
    model = BiasOracle(symbols=SYMBOLS)
    answers = model.response_distribution(episode(query), words)
    assert sum(answers.values()) == pytest.approx(1)

    weight = Counter({SMALL.interpret(words): 0.8})
    translations = list(product(*[{"a": "A", "b": "B"}.get(w, SYMBOLS) for w in words]))
    for translation in translations:
        weight[translation] += 0.1 / len(translations)
    for f, h in product(("[x2] [x1]", "[x1] [x2]"), ("[u1] [u2] [u2]", "[u2] [u1] [u1]")):
        text = str(SMALL).replace("[x2] [x1]", f).replace("[u1] [u2] [u2]", h)
        weight[Grammar.parse(text).interpret(words)] += 0.1 / 4
    assert answers == pytest.approx(weight)


@pytest.mark.parametrize("query", ["a f b", "b h a", "a g", "a", "b g f a"])
def test_the_mixture_of_slips_matches_brute_force(query: str) -> None:
    words, rates = tuple(query.split()), SlipRates(0.3, 0.2, 0.1)
    answers = SlipOracle(symbols=SYMBOLS, rates=rates).response_distribution(episode(query), words)
    assert sum(answers.values()) == pytest.approx(1)

    weight: Counter[tuple[str, ...]] = Counter()
    kept = 0.9 ** len(words)
    unknown = [w for w in dict.fromkeys(words) if w not in "ab"]
    for drawn in product(SYMBOLS, repeat=len(unknown)):
        meaning = {"a": "A", "b": "B", **dict(zip(unknown, drawn, strict=True))}
        weight[tuple(meaning[w] for w in words)] += (1 - kept) / 3 ** len(unknown)
    for a, b, f, h in product(SYMBOLS, SYMBOLS, (False, True), (False, True)):
        chance = kept
        for symbol, own in ((a, "A"), (b, "B")):
            chance *= 0.3 / 3 + 0.7 * (symbol == own)
        for flipped in (f, h):
            chance *= 0.2 if flipped else 0.8
        text = str(SMALL).replace("a -> A", f"a -> {a}").replace("b -> B", f"b -> {b}")
        text = text.replace("[x2] [x1]", "[x1] [x2]") if f else text
        text = text.replace("[u1] [u2] [u2]", "[u2] [u1] [u1]") if h else text
        weight[Grammar.parse(text).interpret(words)] += chance
    assert answers == pytest.approx(weight)


MANY = "\n".join(f"w{i} -> S{i}" for i in range(8)) + "\nx1 g x2 -> [x2] [x1]\nu1 x1 -> [u1] [x1]"


@pytest.mark.parametrize("model", [SlipOracle, BiasOracle])
def test_a_query_of_many_unknown_words_is_exact_and_quick(model: type[Oracle]) -> None:
    symbols = tuple(f"S{i}" for i in range(8))
    words = ("w0", "w1", "w2", "w3", "g", "w4", "w5", "w6", "w0")
    right = Grammar.parse(MANY).interpret(words)
    grammar = Grammar.parse(MANY)
    answers = [(symbol,) for symbol in symbols]
    queries = tuple(Example(words, output) for output in (right, *answers))
    shown = Episode((), queries, grammar=grammar)
    ((scored, *begun),) = model(symbols=symbols, max_output=9).log_prob([shown])
    assert np.exp(scored.sum()) > 0.5
    assert sum(np.exp(one[0]) for one in begun) == pytest.approx(1)


def test_a_query_with_too_many_readings_is_an_error() -> None:
    grammar = Grammar.parse("\n".join(f"w{i} -> A" for i in range(20)))
    words = tuple(f"w{i}" for i in range(20))
    shown = Episode((), (Example(words, ("A",)),), grammar=grammar)
    with pytest.raises(UsageError, match=r"20 words.*readings"):
        SlipOracle(symbols=("A", "B")).log_prob([shown])
    twice = replace(shown, queries=(Example(words + words, ("A",)),), grammar=SMALL)
    with pytest.raises(UsageError, match=r"40 words.*readings"):
        SlipOracle(symbols=("A", "B")).log_prob([twice])


def test_without_slips_the_mixture_is_the_gold_response_only() -> None:
    model = SlipOracle(symbols=SYMBOLS, rates=SlipRates(0, 0, 0))
    assert model.response_distribution(episode("a h b"), ("a", "h", "b")) == {("A", "B", "B"): 1}


def test_perturbed_outputs_that_are_too_long_fall_back_to_the_gold_output() -> None:
    rates, shown = SlipRates(0, 0.25, 0), episode("a h b")
    answers = SlipOracle(symbols=SYMBOLS, rates=rates).response_distribution(shown, ("a", "h", "b"))
    assert answers == pytest.approx({("A", "B", "B"): 0.75, ("B", "A", "A"): 0.25})
    short = SlipOracle(symbols=SYMBOLS, rates=rates, max_output=2)
    assert short.response_distribution(shown, ("a", "h", "b")) == {("A", "B", "B"): 1}


def test_symbol_probabilities_multiply_to_response_probabilities_that_sum_to_one() -> None:
    one_episode = episode("a f b")
    answers = BiasOracle(symbols=SYMBOLS).response_distribution(one_episode, ("a", "f", "b"))
    total = 0.0
    for length in range(4):
        for response in product(SYMBOLS, repeat=length):
            scored = replace(one_episode, queries=(Example(("a", "f", "b"), response),))
            ((log_prob,),) = BiasOracle(symbols=SYMBOLS).log_prob([scored])
            assert len(log_prob) == length + 1
            assert exp(log_prob.sum()) == pytest.approx(answers.get(response, 0))
            total += exp(log_prob.sum())
    assert total == pytest.approx(1)


def test_argument_reversed_outputs_that_are_too_long_fall_back_to_the_gold_output() -> None:
    one_episode = episode("a h b")
    answers = BiasOracle(symbols=SYMBOLS, max_output=2).response_distribution(
        one_episode, ("a", "h", "b")
    )
    assert answers["A", "B", "B"] == pytest.approx(0.8 + 0.1 + 0.1 / 3)
    assert ("B", "A", "A") not in answers


@pytest.mark.parametrize(
    ("change", "model"),
    [
        pytest.param(add_biases, BiasOracle(symbols=GOLD.symbols), id="biases"),
        pytest.param(add_slips, SlipOracle(symbols=GOLD.symbols), id="slips"),
    ],
)
def test_the_mixture_agrees_with_sampled_training_targets(change: Any, model: Oracle) -> None:
    """Each answer's frequency in 20,000 draws is within 5 standard errors."""
    draws, rng = 20_000, generator(0, "biases")
    # Repeats of one query are changed one by one, and each unknown word anew for each of them.
    words = ("2", "after", "3", "surround", "DAX")
    right = Example(words, GOLD.interpret(words))
    episode = replace(gold_episode(), queries=(right,) * draws)
    drawn = Counter(q.output for q in change(episode, rng, symbols=GOLD.symbols).queries)
    answers = model.response_distribution(gold_episode(), words)
    assert set(drawn) <= set(answers)
    for answer, p in answers.items():
        assert abs(drawn[answer] / draws - p) < 5 * (p * (1 - p) / draws) ** 0.5


def test_samples_have_the_frequencies_of_the_mixture_and_depend_on_the_seed_alone() -> None:
    model, shown = BiasOracle(symbols=SYMBOLS), episode("a f b")
    ((drawn,),) = model.sample([shown], seed=1, n=5000)
    for answer, p in model.response_distribution(shown, ("a", "f", "b")).items():
        assert drawn.count(answer) / 5000 == pytest.approx(p, abs=0.03)
    assert ((drawn,),) == tuple(map(tuple, model.sample([shown], seed=1, n=5000)))


@pytest.mark.parametrize("p_lapse", [0.0, 0.3])
def test_samples_with_lapses_have_the_scored_probabilities(p_lapse: float) -> None:
    model = BiasOracle(symbols=SYMBOLS)
    one_episode = episode("a f b", symbols="B A")
    ((scored,),) = model.log_prob([one_episode])
    ((drawn,),) = model.sample([one_episode], seed=0, n=4000, p_lapse=p_lapse)
    expected = exp(apply_lapse(scored, p_lapse, len(SYMBOLS) + 1).sum())
    assert drawn.count(("B", "A")) / 4000 == pytest.approx(expected, abs=0.03)


def test_responses_and_lapses_stay_within_the_allowed_outputs() -> None:
    one_episode = replace(episode("a"), pool=("B", "A"))
    (scores,) = token_scores(
        score_responses(Oracle(symbols=SYMBOLS), EvaluationSet((one_episode,), (), 0))
    )
    lapsed = apply_lapse(scores.log_prob, 0.3, scores.n_symbols)
    np.testing.assert_allclose(np.exp(lapsed), [0.7 + 0.1, 0.7 + 0.1])
    with pytest.raises(UsageError, match="not among those to choose from"):
        Oracle(symbols=SYMBOLS).respond([replace(episode("a"), pool=("B", "C"))])


def test_the_grammar_is_remapped_with_the_episode(human: EvaluationSet) -> None:
    for shown in human.repeat(3):
        assert shown.remapping is not None
        back = {new: old for old, new in shown.remapping.words.items()}
        right = GOLD.interpret([back[word] for word in shown.queries[0].input])
        remapped = tuple(shown.remapping.symbols[symbol] for symbol in right)
        assert Oracle().respond([shown])[0][0] == remapped


def test_a_grammar_inconsistent_with_the_study_examples_is_rejected() -> None:
    one_episode = replace(episode("a"), grammar=None, name="new.txt")
    with pytest.raises(UsageError, match=r"new\.txt.*grammar"):
        Oracle(symbols=SYMBOLS).log_prob([one_episode])
    assert Oracle(grammar=SMALL, symbols=SYMBOLS).respond([one_episode]) == [[("A",)]]


def test_error_for_an_unknown_symbol_names_it() -> None:
    with pytest.raises(UsageError, match="'PUCE' is not among"):
        Oracle(symbols=SYMBOLS).log_prob([episode("a", symbols="PUCE")])


def test_a_symbol_outside_the_allowed_outputs_is_impossible() -> None:
    one_episode = replace(episode("a g", symbols="A C B"), pool=("B", "A"))
    for model in (OpenEndedBiasModel(symbols=SYMBOLS), Oracle(symbols=SYMBOLS)):
        ((scored,),) = model.log_prob([one_episode])
        assert np.isneginf(scored).tolist()[1]
        assert len(scored) == 4
        with pytest.raises(UsageError, match="'PUCE' is not among"):
            model.log_prob([replace(episode("a", symbols="PUCE"), pool=("B", "A"))])


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_samples_lapse_with_a_probability(rate: float) -> None:
    with pytest.raises(UsageError, match="probability from 0 to 1"):
        Oracle(symbols=SYMBOLS).sample([episode("a")], seed=0, p_lapse=rate)


def test_argument_reversal_changes_no_other_rule() -> None:
    assert [str(r) for r in iconic_grammar(SMALL).rules[2:5]] == [
        "u1 g -> [u1] [u1]",
        "x1 f x2 -> [x1] [x2]",
        "u1 h u2 -> [u1] [u2] [u2]",
    ]
    every = list(all_argument_swaps(SMALL))
    assert every[0] == SMALL
    assert len(set(every)) == 4


def test_symbolic_models_are_found_by_name() -> None:
    assert [symbolic_model(name).build().symbols[0] for name in SYMBOLIC] == ["RED"] * len(SYMBOLIC)
    with pytest.raises(UsageError, match="oracle, oracle-biases, oracle-slips"):
        symbolic_model("orakel")
