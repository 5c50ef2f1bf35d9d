"""Teacher-forced exact match, and samples with lapses."""

import numpy as np
import pytest

from biml.episodes.episode import Episode
from biml.evaluation.network import NetworkResponder, greedy_decode, teacher_forced_exact_match
from biml.evaluation.symbolic import Oracle
from biml.grammar.meta_grammar import COLOURS
from biml.rng import generator
from fakes.networks import example, random_episodes, small_network


@pytest.mark.parametrize("pool", [False, True])
def test_teacher_forced_exact_match_equals_that_of_greedy_decoding(pool: bool) -> None:
    network = small_network()
    episodes = random_episodes(generator(3), 12, pool=pool)
    answers = greedy_decode(network, episodes)
    # Some targets are what the network answers, so that both outcomes come.
    both = [
        Episode(
            episode.study,
            tuple(
                example(" ".join(query.input), " ".join(answer if number % 2 else query.output))
                for number, (query, answer) in enumerate(zip(episode.queries, given, strict=True))
            ),
            pool=episode.pool,
        )
        for episode, given in zip(episodes, answers, strict=True)
    ]
    found = teacher_forced_exact_match(network, both, max_tokens=200)
    wanted = [
        [query.output == answer for query, answer in zip(episode.queries, given, strict=True)]
        for episode, given in zip(both, answers, strict=True)
    ]
    assert found == wanted
    assert 0 < sum(map(sum, found)) < sum(len(episode.queries) for episode in both)


@pytest.mark.parametrize("make", [small_network, None])
def test_a_lapse_rate_of_one_samples_symbols_and_end_uniformly(make) -> None:
    responder = NetworkResponder(make()) if make else Oracle()
    episode = Episode((), (example("dax", "RED"),), pool=COLOURS[:3] if make else None)
    if make is None:
        from biml.episodes.episode_type import gold_episode
        from biml.grammar import GOLD

        responder, episode = Oracle(symbols=GOLD.symbols), gold_episode()
    choices = len(episode.pool or responder.symbols) + 1
    drawn = responder.sample([episode], seed=1, n=1500, p_lapse=1.0)[0][0]
    first = [answer[0] if answer else "" for answer in drawn]
    counts = np.array([first.count(s) for s in dict.fromkeys(first)])
    assert len(counts) == choices
    assert counts / 1500 == pytest.approx(1 / choices, abs=0.05)
