"""Decoding and scoring agree with a network's probabilities computed one by one."""

from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.evaluation.network import (
    NetworkResponder,
    deduplicate,
    greedy_decode,
    response_log_probs,
    sample_decode,
)
from biml.grammar.meta_grammar import COLOURS
from biml.vocabulary import EOS
from fakes.networks import example, random_episodes, small_network

NETWORK = small_network()
OUTPUT = NETWORK.vocabulary.output


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_after(episode: Episode, words, symbols) -> torch.Tensor:
    """Logits of the symbol after `symbols`, from the teacher-forced network on one row."""
    one_episode = Episode(episode.study, (Example(words, tuple(symbols)),))
    with torch.no_grad():
        return NETWORK(NETWORK.collate([one_episode]))[0, -1].double()


def allowed(episode: Episode) -> list[int]:
    return [*OUTPUT.encode(episode.pool or COLOURS), OUTPUT.eos]


def slow_greedy(episode: Episode, words, max_length: int):
    answer: list[str] = []
    while len(answer) < max_length:
        logits = logits_after(episode, words, answer)
        best = max(allowed(episode), key=lambda i: logits[i])
        if best == OUTPUT.eos:
            break
        answer.append(OUTPUT.symbols[best])
    return tuple(answer)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("max_tokens", [30, 8192])
def test_greedy_decoding_takes_the_most_probable_symbol_at_each_step(
    pool: bool, max_tokens: int
) -> None:
    episodes = random_episodes(Random(1), 6, pool=pool)
    expected = [[slow_greedy(e, q.input, 7) for q in e.queries] for e in episodes]
    lengths = {len(answer) for answers in expected for answer in answers}
    assert len(lengths) > 2, "the toy should end its answers at different times"
    assert greedy_decode(NETWORK, episodes, 7, max_tokens=max_tokens) == expected


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("max_tokens", [30, 8192])
def test_scores_are_teacher_forced_log_probabilities(pool: bool, max_tokens: int) -> None:
    episodes = random_episodes(Random(2), 5, pool=pool)
    scores = response_log_probs(NETWORK, episodes, max_tokens=max_tokens)
    outside = 0
    for episode, of_episode in zip(episodes, scores, strict=True):
        for query, of_query in zip(episode.queries, of_episode, strict=True):
            assert of_query.dtype == np.float64
            for position, symbol in enumerate((*query.output, EOS)):
                if pool and symbol not in (*episode.pool, EOS):
                    assert of_query[position] == -np.inf
                    outside += 1
                    continue
                logits = logits_after(episode, query.input, query.output[:position])
                # All nine entries count, SOS and PAD too, unless a pool limits them.
                every = logits[allowed(episode)] if pool else logits
                expected = logits[OUTPUT.index[symbol]] - every.logsumexp(0)
                assert of_query[position] == pytest.approx(float(expected), abs=1e-5)
    assert bool(outside) == pool


def test_frequencies_of_samples_match_their_probabilities() -> None:
    study = (example("dax", "RED"),)
    episode = Episode(study, (example("dax", ""), example("wif lug", "")), pool=("RED", "BLUE"))
    draws = 4000
    drawn = sample_decode(NETWORK, [episode], 3, generator=seeded(5), n=draws)
    for query, answers in zip(episode.queries, drawn[0], strict=True):
        counts = Counter(answers)
        assert len(counts) > 4
        total = 0.0
        for answer, times in counts.items():
            given = Episode(study, (Example(query.input, answer),), pool=episode.pool)
            ((scores,),) = response_log_probs(NETWORK, [given])
            # An answer that is cut at three symbols has not drawn its end.
            p = float(np.exp(scores[:-1].sum() if len(answer) == 3 else scores.sum()))
            total += p
            assert times / draws == pytest.approx(p, abs=4 * (p * (1 - p) / draws) ** 0.5 + 1e-3)
        assert total == pytest.approx(1.0, abs=0.02)


def test_samples_depend_on_the_seed_and_not_on_batching() -> None:
    episodes = random_episodes(Random(3), 5)
    one = sample_decode(NETWORK, episodes, 6, generator=seeded(1), n=3, max_tokens=8192)
    assert sample_decode(NETWORK, episodes, 6, generator=seeded(1), n=3, max_tokens=30) == one
    assert sample_decode(NETWORK, episodes, 6, generator=seeded(2), n=3) != one
    shape = [[len(answers) for answers in of_episode] for of_episode in one]
    assert shape == [[3] * len(episode.queries) for episode in episodes]


def test_identical_queries_get_independent_samples() -> None:
    episode = Episode((), (example("dax", "RED"),) * 50)
    (answers,) = sample_decode(NETWORK, [episode], 6, generator=seeded(0))
    assert len({answer for (answer,) in answers}) > 5


class Counting(torch.nn.Module):
    """Counts the rows that a network reads and decodes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()
        self.vocabulary = self.network.vocabulary
        self.micro_batches = self.network.micro_batches
        self.read = self.decoded = 0

    def encode(self, batch):
        self.read += len(batch.indices)
        return self.network.encode(batch)

    def decode_step(self, state, tokens):
        self.decoded += len(tokens)
        return self.network.decode_step(state, tokens)


def test_identical_queries_are_encoded_once_and_common_prefixes_decoded_once() -> None:
    study = (example("dax", "RED"),)
    queries = [example("wif", s) for s in ("RED BLUE", "RED BLUE", "RED PINK", "", "RED BLUE PINK")]
    network = Counting()
    scores = response_log_probs(
        network, [Episode(study, tuple(queries)), Episode(study, tuple(queries[:2]))]
    )
    assert network.read == 1
    # One row before the first symbol, then RED; then RED BLUE and RED PINK; then RED BLUE PINK.
    assert network.decoded == 1 + 1 + 2 + 1
    assert [len(score) for score in scores[0]] == [3, 3, 3, 1, 4]
    np.testing.assert_array_equal(scores[0][0], scores[1][1])


def test_queries_with_different_study_order_or_allowed_outputs_are_distinct() -> None:
    a, b, query = example("dax", "RED"), example("wif", "BLUE"), example("dax", "RED")
    episodes = [
        Episode((a, b), (query, query)),
        Episode((b, a), (query,)),
        Episode((a, b), (query,), pool=("RED",)),
        Episode((a, b), (query,)),
    ]
    assert deduplicate(episodes).query_index == [[0, 0], [1], [2], [0]]


@pytest.mark.published_data
def test_published_few_shot_responses_are_46_distinct_responses_to_10_queries(shared) -> None:
    from biml.episodes.packed import read_episodes

    episodes = read_episodes(shared / "data_human" / "few_shot" / "val_behavior")
    assert sum(len(episode.queries) for episode in episodes) == 217
    assert len(deduplicate(episodes)) == 10
    assert len({(e.name, q.output) for e in episodes for q in e.queries}) == 46


def test_inference_keeps_no_gradients_and_restores_the_training_mode() -> None:
    network = small_network().train()
    episodes = random_episodes(Random(4), 2)
    first = response_log_probs(network, episodes)
    assert network.training
    network.eval()
    np.testing.assert_array_equal(first[0][0], response_log_probs(network, episodes)[0][0])


def test_no_more_episodes_than_the_batch_size_are_computed_together(monkeypatch) -> None:
    together: list[int] = []

    def micro_batches(episodes, max_tokens):
        together.append(len(episodes))
        return NETWORK.__class__.micro_batches(NETWORK, episodes, max_tokens)

    monkeypatch.setattr(NETWORK, "micro_batches", micro_batches)
    responder = NetworkResponder(NETWORK, batch_size=2)
    episodes = random_episodes(Random(5), 5)
    responder.respond(episodes)
    responder.log_prob(episodes)
    responder.sample(episodes, seed=0)
    assert together == [2, 2, 1] * 3


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_samples_lapse_with_a_probability(rate: float) -> None:
    with pytest.raises(UsageError, match="probability from 0 to 1"):
        NetworkResponder(NETWORK).sample([Episode((), ())], p_lapse=rate, seed=0)


def test_batch_size_and_precision_change_little_or_nothing() -> None:
    episodes = random_episodes(Random(5), 7)
    whole = NetworkResponder(NETWORK)
    split = NetworkResponder(NETWORK, batch_size=2)
    assert split.respond(episodes) == whole.respond(episodes)
    assert split.sample(episodes, seed=3, n=5) == whole.sample(episodes, seed=3, n=5)
    for a, b in zip(split.log_prob(episodes), whole.log_prob(episodes), strict=True):
        np.testing.assert_allclose(np.concatenate(a), np.concatenate(b), atol=1e-5)
    rough = NetworkResponder(NETWORK, precision="bf16").log_prob(episodes)
    flat = [np.concatenate(of) for of in whole.log_prob(episodes)]
    gap = np.abs(np.concatenate([np.concatenate(of) for of in rough]) - np.concatenate(flat))
    assert 0 < gap.max() < 0.5


def test_an_unknown_symbol_names_the_symbol_and_the_episode() -> None:
    bad = Episode((), (example("dax", "TEAL"),), name="file 7")
    with pytest.raises(UsageError, match="TEAL"):
        response_log_probs(NETWORK, [bad])
    with pytest.raises(UsageError, match="teapot"):
        greedy_decode(NETWORK, [Episode((), (example("teapot", "RED"),))])


def test_no_episodes_or_queries_give_nothing() -> None:
    assert greedy_decode(NETWORK, []) == []
    assert response_log_probs(NETWORK, [Episode((), ())]) == [[]]
    assert sample_decode(NETWORK, [Episode((), ())], generator=seeded(0)) == [[]]
