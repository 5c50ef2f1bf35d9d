"""Traces of a model: attention to the study examples, and the most probable responses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import biml
from biml.episodes.sampling import sample_episode
from biml.errors import UsageError
from biml.evaluation import best_responses
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.grammar import COLOURS, WORDS, MetaGrammar
from biml.networks.attention import attention, record_attention
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
STUDY = [("wug", "■"), ("blick", "▲"), ("wug twice", "■ ■")]


@BOTH
def test_attention_is_traced_by_response_symbol_and_study_token(
    build: Callable[[], EpisodeNetwork],
) -> None:
    model = Model(NetworkResponder(build()), "", "small")
    trace = model.trace(STUDY, "blick twice", "▲ ▲")
    assert trace.response == ("▲", "▲", "EOS")
    labels = [token.label for token in trace.sources if token.example == 2]
    assert labels == ["wug", "twice", "IO", "■", "■", "|"]
    query = [token.label for token in trace.sources if token.example == -1]
    assert ("blick" in query) == (build is seq2seq)
    assert trace.mean.shape == (3, len(trace.sources))
    for layer in trace.layers:
        assert np.allclose(layer.weights.sum(-1), 1, atol=1e-6)
    assert (trace.by_example(3).sum(1) <= 1 + 1e-6).all()
    assert {layer.part for layer in trace.layers if layer.weights.shape[1] == 3} >= {"decoder"}


def test_recorded_weights_are_those_of_attention() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8, generator=torch.Generator().manual_seed(0)).unbind()
    lengths = torch.tensor([3, 5])
    with record_attention() as records:
        out = attention(q, k, v, lengths=lengths, record_as="some")
        attention(q, k, v)
    ((name, weights),) = records
    assert name == "some"
    assert torch.allclose(weights @ v, out, atol=1e-6)


def test_models_without_attention_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="network"):
        biml.load("biases").trace([("dax", "RED")], "dax")


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
