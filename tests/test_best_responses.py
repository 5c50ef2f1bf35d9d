"""The most probable responses: decoding prefixes and scoring find the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from biml.episodes.sampling import sample_episode
from biml.evaluation import best_responses
from biml.evaluation.network import NetworkResponder
from biml.grammar import COLOURS, WORDS, MetaGrammar
from biml.networks.base import EpisodeNetwork
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.rng import generator
from biml.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, COLOURS)


def seq2seq() -> EpisodeNetwork:
    config = Seq2SeqConfig(nlayers_encoder=1, nlayers_decoder=2, nheads=4, emb_size=32)
    return Seq2SeqTransformer(config, VOCABULARY)


def staged() -> EpisodeNetwork:
    config = StagedConfig(nlayers_encoder=2, nlayers_query=2, nlayers_decoder=2, emb_size=32)
    return StagedNetwork(config, VOCABULARY)


BOTH = pytest.mark.parametrize("build", [seq2seq, staged])


@BOTH
@pytest.mark.parametrize("pool", [None, COLOURS[:3]])
def test_decoding_prefixes_finds_the_same_responses_as_scoring_them(
    build: Callable[[], EpisodeNetwork],
    pool: tuple[str, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build()
    with torch.no_grad():  # sharper than an untrained network, so that some responses stand out
        for name in network.embedding_parameters():
            network.get_parameter(name).mul_(4)
    responder = NetworkResponder(network)
    episode = replace(sample_episode(MetaGrammar(), generator(0, "trace")), pool=pool)
    episode = replace(episode, study=episode.study[:4], queries=episode.queries[:2])
    decoded = best_responses.best_responses(responder, episode, 4, max_length=3)
    monkeypatch.setattr(best_responses, "_has_one_token_per_symbol", lambda _: False)
    scored = best_responses.best_responses(responder, episode, 4, max_length=3)
    for found, expected in zip(decoded, scored, strict=True):
        assert [response for response, _ in found] == [response for response, _ in expected]
        assert [p for _, p in found] == pytest.approx([p for _, p in expected])
