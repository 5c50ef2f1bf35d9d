"""Log-likelihoods of human responses, lapse rates, and repeats."""

from pathlib import Path

import numpy as np
import pytest

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode
from biml.episodes.registry import episode_type
from biml.errors import UsageError
from biml.evaluation.accuracy import (
    Accuracy,
    accuracy,
    max_response_length,
    max_target_length,
    sample_autoregressively,
    single_responses,
)
from biml.evaluation.likelihood import (
    LAPSE_GRID,
    TokenScores,
    apply_lapse,
    fit_lapse,
    likelihood,
    score_responses,
    token_scores,
)
from biml.evaluation.network import NetworkResponder
from biml.grammar import GOLD, Grammar
from biml.grammar.meta_grammar import GOLD_QUERIES
from biml.paths import DataFolders
from fakes.networks import Oracle, example


@pytest.fixture
def oracle() -> Oracle:
    return Oracle({tuple(q.split()): GOLD.interpret(q.split()) for q in GOLD_QUERIES})


@pytest.fixture
def people(shared: Path):
    return episode_type("few_shot_human").open_evaluation(DataFolders(shared), 0)


@pytest.fixture
def legacy(shared: Path) -> NetworkResponder:
    from biml.networks.checkpoint import load_model

    return NetworkResponder(load_model(shared / "legacy" / "net-legacy-vanilla.pt").network)


def test_a_lapse_mixes_in_a_uniform_distribution_over_symbols() -> None:
    p = np.array([0.7, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        mixed = apply_lapse(np.log(p), 0.3, 7)
    np.testing.assert_allclose(np.exp(mixed), 0.7 * p + 0.3 / 7)
    np.testing.assert_allclose(np.exp(apply_lapse(np.log(p[:2]), 1.0, 7)), 1 / 7)


def test_a_lapse_rate_of_zero_keeps_impossible_symbols_impossible() -> None:
    assert apply_lapse(np.array([-np.inf, -1.0]), 0.0, 7).tolist() == [-np.inf, -1.0]
    assert np.isfinite(apply_lapse(np.array([-np.inf]), 0.01, 7)).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_lapse_rate_must_be_a_probability(p: float) -> None:
    with pytest.raises(UsageError, match="lapse rate"):
        apply_lapse(np.zeros(1), p, 7)


def test_the_fit_tries_the_published_lapse_rates() -> None:
    assert (
        *(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09),
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ) == LAPSE_GRID


def test_the_fit_takes_the_lapse_rate_with_the_best_mean_over_repeats() -> None:
    sure, wrong = np.log(1 - 1e-9), np.log(1e-9)
    passes = [
        TokenScores(np.array([sure] * (100 - n) + [wrong] * n), np.full(100, 7)) for n in (4, 6, 8)
    ]
    found = fit_lapse(passes)
    # Six in a hundred are wrong; each is one of the six other symbols of seven.
    assert found.p_lapse == 0.07
    assert found.mean == np.mean([one.total(0.07) for one in passes])
    assert found.sd == pytest.approx(np.std([one.total(0.07) for one in passes], ddof=1))
    assert all(found.mean >= likelihood(passes, p).mean for p in LAPSE_GRID)


@pytest.mark.published_data
def test_symbolic_oracle_has_the_published_likelihood_of_human_responses(
    oracle: Oracle, people
) -> None:
    (scores,) = token_scores(score_responses(oracle, people))
    assert sum(len(episode.queries) for episode in people.repeat(0)) == 217
    assert len(scores.log_prob) == 990
    assert scores.total(0.13) == pytest.approx(-536.1, abs=0.05)
    assert max((p / 100 for p in range(1, 100)), key=scores.total) == 0.13
    assert likelihood([scores]).mean == -np.inf


def test_repeats_are_scored_in_one_call_and_kept_in_order(oracle: Oracle, people) -> None:
    done: list[int] = []
    together = score_responses(
        oracle,
        people,
        repeats=5,
        responses_per_chunk=500,
        progress=lambda n, total=None, **_: done.append(n),
    )
    assert done == [3, 5]
    assert oracle.calls == [30, 20]
    alone = score_responses(oracle, people, repeats=5, responses_per_chunk=1)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.log_probs_by_repeat, b.log_probs_by_repeat)


def test_a_lapse_with_allowed_outputs_is_uniform_over_those() -> None:
    oracle = Oracle({})
    oracle.log_prob = lambda episodes: [[np.zeros(2)] for _ in episodes]
    episode = Episode((), (example("dax", "RED"),), name="a")
    limited = Episode((), episode.queries, pool=("RED", "BLUE"), name="b")
    (scores,) = token_scores(score_responses(oracle, EvaluationSet((episode, limited), (), 0)))
    assert scores.n_symbols.tolist() == [7, 7, 3, 3]


@pytest.mark.published_data
def test_a_released_checkpoint_has_the_expected_log_likelihood(
    shared: Path, legacy: NetworkResponder
) -> None:
    import json

    expected = json.loads((shared / "legacy" / "expected.json").read_text())["checks"]
    evaluation = episode_type("human_vanilla").open_evaluation(DataFolders(shared), 0)
    scores = token_scores(score_responses(legacy, evaluation))
    scored = [check for check in expected if "loglike" in check]
    assert len(scored) == 2
    for check in scored:
        found = likelihood(scores, check["ll_p_lapse"])
        assert found.n_symbols == check["symbols"]
        # Single precision leaves the seventh digit open: in double precision the network gives
        # -4120.56584 where the expected figure, summed in single, says -4120.5663.
        assert found.mean == pytest.approx(check["loglike"], abs=6e-4)
        assert found.mean / found.n_symbols == pytest.approx(check["loglike"] / 980, abs=1e-6)


@pytest.mark.published_data
def test_a_released_checkpoint_gives_the_expected_responses(
    shared: Path, legacy: NetworkResponder
) -> None:
    import json

    checks = json.loads((shared / "legacy" / "expected.json").read_text())["checks"]
    expected = next(check for check in checks if "predictions" in check)
    evaluation = episode_type("few_shot_vanilla").open_evaluation(DataFolders(shared), 0)
    episodes = evaluation.repeat(0)
    answers = single_responses(legacy, episodes, 10)
    novel = accuracy(episodes, answers, in_study=False)
    assert novel is not None
    assert novel.mean == expected["novel_accuracy_percent"]
    given = {
        " ".join(query.input): " ".join(answer)
        for query, answer in zip(episodes[0].queries, answers[0], strict=True)
        if not query.in_study
    }
    assert given == expected["predictions"]


def test_open_ended_log_likelihood_sums_over_the_seven_responses(shared: Path) -> None:
    """P(y1..y7 | x1..x7) = Π P(yi | xi, x<i, y<i): each pair once, earlier ones as study."""
    evaluation = episode_type("open_end_human_cross1").open_evaluation(DataFolders(shared), 0)
    presented = evaluation.repeat(0)
    assert len(presented) == 6 * 7

    class Prior:
        symbols = ("RED",) * 6

        def log_prob(self, episodes):
            return [
                [np.full(len(q.output) + 1, -float(len(e.study))) for q in e.queries]
                for e in episodes
            ]

    (scores,) = token_scores(score_responses(Prior(), evaluation))
    by_hand = -sum(len(e.study) * (len(q.output) + 1) for e in presented for q in e.queries)
    assert scores.total() == by_hand


def test_accuracy_is_a_mean_over_episodes_for_study_and_novel_queries() -> None:
    right, wrong = ("RED",), ("BLUE",)
    study_query = example("dax", "RED")._replace(in_study=True)
    novel = example("wif", "RED")
    episodes = [
        Episode((), (study_query, novel), name="a"),
        Episode((), (novel, novel, novel), name="a"),
        Episode((), (), name="b"),
    ]
    answers = [[right, wrong], [right, right, wrong], []]
    assert accuracy(episodes, answers, in_study=True) == Accuracy(100.0, 0.0, 1, 1)
    found = accuracy(episodes, answers, in_study=False)
    assert found is not None
    assert found.mean == pytest.approx((0 + 200 / 3) / 2)
    assert found.sd == pytest.approx(np.std([0, 200 / 3], ddof=1))
    assert found.n_episodes == 2
    assert accuracy(episodes, answers, in_study=False, group_by_participant=True) == Accuracy(
        50.0, 0.0, 1, 1, "participants"
    )
    assert accuracy([], [], in_study=False) is None


def test_each_sampled_response_becomes_a_study_example() -> None:
    class Echo:
        """Answers with as many symbols as there are study examples."""

        symbols = ("RED",)

        def sample(self, episodes, *, seed, n=1, max_length=10, p_lapse=0.0):
            assert n == 1
            return [[[("RED",) * len(episode.study)]] for episode in episodes]

    response_set = Episode((), tuple(example(word, "BLUE") for word in ("dax", "wif", "lug")))
    short = Episode((), response_set.queries[:1])
    (three, one) = sample_autoregressively(Echo(), [response_set, short], 10, seed=0)
    assert three == [(), ("RED",), ("RED", "RED")]
    assert one == [()]


def test_responses_are_in_the_order_of_the_episodes(oracle: Oracle, people) -> None:
    episodes = [episode for repeat in range(7) for episode in people.repeat(repeat)]
    done: list[int] = []
    answers = single_responses(
        oracle, episodes, 10, progress=lambda n, total=None, **_: done.append(n)
    )
    assert answers == oracle.respond(episodes)
    assert single_responses(oracle, episodes, 10, seed=0) == answers
    assert done == [50, 70]


def test_the_longest_target_is_found_with_its_episode() -> None:
    long = Episode((), (example("dax", "RED " * 14),), name="28.txt")
    assert max_target_length([Episode((), (example("dax", "RED"),)), long]) == (14, "28.txt")
    assert max_target_length([]) == (0, "")


def test_max_response_length_is_that_of_the_longest_target_but_at_least_ten() -> None:
    thrice = Grammar.parse("dax -> RED RED RED RED RED\nu1 lug -> [u1] [u1] [u1]")
    episode = Episode((), (example("dax lug", "RED"),), grammar=thrice)
    assert max_response_length([episode]) == 15
    assert max_response_length([Episode((), (example("dax", "RED " * 14),))]) == 14
    assert (
        max_response_length([Episode((), (example("dax", "RED"),))])
        == max_response_length([])
        == 10
    )


def test_the_likelihood_of_no_responses_is_an_error() -> None:
    for nothing in (lambda: likelihood([]), lambda: fit_lapse([])):
        with pytest.raises(UsageError, match="no responses"):
            nothing()
