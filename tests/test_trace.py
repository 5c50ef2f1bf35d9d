"""Activations of networks by name: traces, and hooks that read, replace or ablate them."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import biml
from biml.episodes.episode import Episode
from biml.episodes.sampling import sample_episode
from biml.errors import UsageError
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.grammar import COLOURS, WORDS, MetaGrammar
from biml.networks.base import EpisodeNetwork
from biml.networks.hooks import ablate, patch
from biml.networks.pairwise import PairwiseConfig, PairwiseTransformer
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.rng import generator
from biml.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
STUDY = [("wug", "■"), ("blick", "▲"), ("wug twice", "■ ■")]
QUERY, RESPONSE = "blick twice", "▲ ▲"

Build = Callable[[], EpisodeNetwork]


def seq2seq() -> EpisodeNetwork:
    config = Seq2SeqConfig(nlayers_encoder=2, nlayers_decoder=2, nheads=4, emb_size=32)
    return Seq2SeqTransformer(config, VOCABULARY).eval()


def pairwise() -> EpisodeNetwork:
    config = PairwiseConfig(nlayers_encoder=2, nlayers_decoder=2, nheads=4, emb_size=32)
    return PairwiseTransformer(config, VOCABULARY).eval()


def staged() -> EpisodeNetwork:
    config = StagedConfig(nlayers_encoder=2, nlayers_query=2, nlayers_decoder=2, emb_size=32)
    network = StagedNetwork(config, VOCABULARY).eval()
    with torch.no_grad():
        network.out.mul_(20)  # an untrained one is nearly indifferent
    return network


ALL = pytest.mark.parametrize("build", [seq2seq, pairwise, staged])


def model_of(network: EpisodeNetwork) -> Model:
    return Model(NetworkResponder(network), "", "small")


def some_episodes() -> list[Episode]:
    """Two study sets with queries of several lengths."""
    sampled = [sample_episode(MetaGrammar(), generator(seed, "trace")) for seed in range(2)]
    return [
        replace(episode, study=episode.study[: 3 + i], queries=episode.queries[: 2 + i])
        for i, episode in enumerate(sampled)
    ]


def flat(scores: Iterable[Iterable[np.ndarray]]) -> np.ndarray:
    return np.concatenate([one for of_episode in scores for one in of_episode])


@ALL
def test_every_layer_is_traced_with_labels_of_its_tokens(build: Build) -> None:
    model = model_of(build())
    trace = model.trace(STUDY, QUERY, RESPONSE)
    assert tuple(trace.activations) == model.trace_names
    for layer in ("encoder.0", "encoder.1", "decoder.0", "decoder.1"):
        assert {f"{layer}.{of}" for of in ("attention", "heads", "mlp", "output")} <= set(
            model.trace_names
        )
    for name in model.trace_names:
        assert trace[name].shape[-2] == len(trace.tokens(name))
        if name.endswith("attention"):
            assert trace[name].shape[-1] == len(trace.keys(name))
            assert np.allclose(trace[name].sum(-1), 1, atol=1e-6)
    assert trace.response == ("▲", "▲", "EOS")
    labels = [token.label for token in trace.sources if token.example == 2]
    assert " ".join(labels).removesuffix(" |") == "wug twice IO ■ ■"
    query = [token.label for token in trace.sources if token.example == -1]
    assert query.count("blick") == {seq2seq: 1, pairwise: 3, staged: 0}[build]
    read = trace.keys("decoder.1.attention")
    assert read == (("blick", "twice", "IO") if build is staged else ("SOS",)) + ("▲", "▲")
    by_head = [trace.decoder_attention(1, head) for head in range(4)]
    assert np.allclose(np.mean(by_head, 0), trace.decoder_attention(1), atol=1e-6)
    assert trace.by_example(trace.decoder_attention()).shape == (3, 3)


@ALL
def test_a_trace_holds_what_decoding_computes(build: Build) -> None:
    model = model_of(build())
    trace = model.trace(STUDY, QUERY, RESPONSE)
    seen: dict[str, list[tuple[range, Tensor]]] = {}
    readers = {
        name: lambda x, at, name=name: seen.setdefault(name, []).append((at, x))
        for name in model.trace_names
    }
    with model.hooks(readers):
        model.log_prob(STUDY, QUERY, RESPONSE)
    for name, parts in seen.items():
        assert [position for at, _ in parts for position in at] == [*range(len(trace.tokens(name)))]
        for at, x in parts:
            expected = trace[name][..., at.start : at.stop, : x.shape[-1]]
            assert np.allclose(x[0].numpy(), expected, atol=1e-5), name


@ALL
def test_an_activation_in_its_own_place_changes_nothing(build: Build) -> None:
    model = model_of(build())
    answer = model.respond(STUDY, QUERY, max_length=5)
    trace = model.trace(STUDY, QUERY, answer)
    plain = model.log_prob(STUDY, QUERY, answer)
    with model.hooks({name: patch(trace[name]) for name in model.trace_names}):
        assert model.respond(STUDY, QUERY, max_length=5) == answer
        assert model.log_prob(STUDY, QUERY, answer) == pytest.approx(plain, abs=1e-4)
    samples = model.sample(STUDY, QUERY, n=20, max_length=5)
    with model.hooks({"*": lambda x, _: x}):
        assert model.sample(STUDY, QUERY, n=20, max_length=5) == samples


@ALL
def test_hooks_act_alike_in_decoding_and_in_one_pass_over_all_queries(build: Build) -> None:
    """The decoder keeps keys and values, drops rows, and shares prefixes; passes pack tokens."""
    network, episodes = build(), some_episodes()
    hooks = {
        "*.embedding": ablate(positions=[0]),
        "*.0.output": lambda x, at: x * torch.tensor([1 + p % 3 for p in at])[:, None],
        "*heads": ablate(heads=[1], positions=[0, 2]),
        "*.1.attention": ablate(heads=[2, 3]),
    }
    model = model_of(network)
    plain = flat(model.log_prob(episodes))
    with model.hooks(hooks):
        decoded = model.log_prob(episodes)
        alone = [model.log_prob([replace(e, queries=(q,))])[0] for e in episodes for q in e.queries]
        batch = network.collate(episodes)
        with torch.inference_mode():
            scores = network(batch).log_softmax(-1).gather(2, batch.target[..., None])[..., 0]
        responses = model.respond(episodes, max_length=4)
        samples = model.sample(episodes, n=3, seed=0, max_length=4)
    assert np.abs(flat(decoded) - plain).max() > 0.1
    assert np.allclose(flat(alone), flat(decoded), atol=1e-4)
    for (e, q), row in zip(batch.indices, scores, strict=True):
        expected = decoded[e][q]
        assert np.allclose(row[: len(expected)].numpy(), expected, atol=1e-4)
    with model.hooks(hooks):
        assert model.respond(episodes[1:], max_length=4) == responses[1:]
    assert samples != model.sample(episodes, n=3, seed=0, max_length=4)
    assert np.allclose(flat(model.log_prob(episodes)), plain)


@ALL
@pytest.mark.parametrize("layer", ["encoder.0.heads", "decoder.1.heads", "decoder.1.cross_heads"])
def test_ablating_a_head_equals_zeroing_its_output_weights(build: Build, layer: str) -> None:
    network, episodes = build(), some_episodes()
    model = model_of(network)
    plain = flat(model.log_prob(episodes))
    with model.hooks({layer: ablate(heads=[2])}):
        ablated = flat(model.log_prob(episodes))
    part, number, _ = layer.split(".")
    kind = "cross" if "cross" in layer else "self"
    if build is staged:
        matrix = getattr(getattr(network, part)[int(number)], f"{kind}_attn").out
    else:
        block = getattr(network.transformer, part).layers[int(number)]
        attn = block.self_attn if kind == "self" else block.multihead_attn
        matrix = attn.out_proj.weight
    with torch.no_grad():
        matrix[:, 16:24] = 0
    assert np.allclose(flat(model.log_prob(episodes)), ablated, atol=1e-4)
    assert np.abs(ablated - plain).max() > 1e-3


def test_hooks_are_of_one_model_and_add_up() -> None:
    first, second = model_of(seq2seq()), model_of(seq2seq())
    task = (STUDY, QUERY, RESPONSE)
    plain = second.log_prob(*task)
    with first.hooks({"decoder.0.mlp": ablate()}), first.hooks({"decoder.1.mlp": ablate()}):
        assert second.log_prob(*task) == plain
        both = first.log_prob(*task)
    with first.hooks({"decoder.*.mlp": ablate()}):
        assert first.log_prob(*task) == pytest.approx(both)
    assert both != pytest.approx(plain)
    assert first.log_prob(*task) == plain


def test_attention_is_read_without_study_examples() -> None:
    trace = model_of(seq2seq()).trace([], "dax wif", "RED")
    assert [token.label for token in trace.sources] == ["dax", "wif", "|", "EOS"]
    assert trace.decoder_attention(1, 3).shape == (2, 4)


def test_tokens_of_several_symbols_have_one_label() -> None:
    vocabulary = Vocabulary.from_words_and_symbols(("dax",), ("RED", "BLUE", "RED RED"))
    network = Seq2SeqTransformer(Seq2SeqConfig(1, 1, 2, 16), vocabulary)
    trace = model_of(network).trace([("dax", "RED RED")], "dax", "RED RED BLUE")
    assert trace.response == ("RED RED", "BLUE", "EOS")
    labels = [token.label for token in trace.sources]
    assert labels == ["dax", "|", "dax", "IO", "RED RED", "|", "EOS"]


@pytest.mark.parametrize(
    ("hooks", "named"),
    [
        ({"decoder.1.cros_attention": ablate()}, "decoder.1.cross_attention"),
        ({"decoder.*.nothing": ablate()}, "nothing"),
        ({"decoder.0.mlp": 0.0}, "function"),
        ([ablate()], "hooks is"),
        ({"decoder.0.mlp": ablate(heads=[0])}, "heads"),
        ({"decoder.0.heads": ablate(heads=[4])}, "4"),
        ({"decoder.0.mlp": lambda x, _: x[..., :3]}, "decoder.0.mlp"),
        ({"decoder.0.mlp": patch(np.zeros((1, 3)))}, "shape"),
        ({"encoder.0.mlp": ablate(positions=[0, 99])}, r"\[99\]"),
        ({"encoder.0.heads": patch(np.zeros((2, 99, 8)), heads=[0, 1])}, "98"),
    ],
)
def test_impossible_hooks_are_refused_with_what_is_wrong(hooks: object, named: str) -> None:
    model = model_of(seq2seq())
    with pytest.raises(UsageError, match=named), model.hooks(hooks):
        model.log_prob(STUDY, QUERY, RESPONSE)


def test_wrong_names_heads_and_layers_of_a_trace_are_refused() -> None:
    trace = model_of(staged()).trace(STUDY, QUERY, RESPONSE)
    for wrong, named in (
        (lambda: trace["decoder.1.outputs"], "decoder.1.output"),
        (lambda: trace.decoder_attention(0), "1"),
        (lambda: trace.decoder_attention(1, 4), "3"),
        (lambda: patch(0.0, positions=[-1]), "positions"),
        (lambda: patch(np.zeros((2, 3)), positions=[1]), "positions"),
    ):
        with pytest.raises(UsageError, match=named):
            wrong()


def test_a_trace_is_of_one_query() -> None:
    with pytest.raises(UsageError, match="one query"):
        model_of(seq2seq()).trace(some_episodes()[0])


def test_models_without_activations_are_refused_by_name() -> None:
    for use in (lambda m: m.trace([("dax", "RED")], "dax"), lambda m: m.trace_names):
        with pytest.raises(UsageError, match="network"):
            use(biml.load("biases"))
