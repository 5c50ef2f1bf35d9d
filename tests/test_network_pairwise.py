"""The network for SCAN and COGS: the published logits, its batches, decoding and checkpoints."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

import biml
from biml.episodes.episode import Episode, Example
from biml.errors import FormatError, UsageError
from biml.evaluation.network import NetworkResponder
from biml.networks.checkpoint import load_model
from biml.networks.pairwise import N_GROUPS, PairwiseBatch, PairwiseConfig, PairwiseTransformer
from biml.networks.registry import build_network
from biml.networks.torch_file import safe_torch_load
from biml.vocabulary import Vocabulary
from fakes.released_checkpoint import ReleasedPairwise, write_pickle

WORDS, SYMBOLS = ("walk", "jump", "IO", "twice"), ("WALK", "JUMP", "EOS")
VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, SYMBOLS)
SMALL = PairwiseConfig(nlayers_encoder=2, nlayers_decoder=1, nheads=4, emb_size=16, max_study=6)


def some_episodes(n: int, study: int = 5, queries: int = 2) -> list[Episode]:
    """Episodes of random symbols, of lengths that vary as in real ones."""
    rng = Random(0)

    def example() -> Example:
        words = tuple(rng.choices(WORDS, k=rng.randint(1, 6)))
        return Example(words, tuple(rng.choices(SYMBOLS, k=rng.randint(1, 20))))

    return [
        Episode(tuple(example() for _ in range(study)), tuple(example() for _ in range(queries)))
        for _ in range(n)
    ]


@pytest.fixture(scope="module")
def released() -> ReleasedPairwise:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = ReleasedPairwise((*WORDS, *SYMBOLS), SYMBOLS)
        for weights in network.parameters():
            weights.data += 0.1 * torch.randn(
                weights.shape
            )  # PyTorch makes equal layers, zero biases
    return network.eval()


@pytest.fixture(scope="module")
def converted(released: ReleasedPairwise, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "net.pt"
    released.write(path)
    return path


def test_a_released_checkpoint_has_the_published_logits(
    released: ReleasedPairwise, converted: Path
) -> None:
    model = load_model(converted)
    assert isinstance(model.network, PairwiseTransformer)
    assert model.network.vocabulary == VOCABULARY
    assert (model.episode_type, model.metadata["step"]) == ("addprim_jump_actions", 320)
    episodes = some_episodes(4)
    batch = model.network.collate(episodes)
    with torch.no_grad():
        logits = model.network(batch)
        for row, (episode, query) in zip(logits, batch.indices, strict=True):
            example = episodes[episode].queries[query]
            expected = released(example, episodes[episode].study)
            torch.testing.assert_close(row[: len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_published_network(
    released: ReleasedPairwise, converted: Path
) -> None:
    network = load_model(converted).network
    (episode,) = some_episodes(1, queries=1)
    released.zero_grad()
    released(episode.queries[0], episode.study).logsumexp(-1).sum().backward()
    network(network.collate([episode])).logsumexp(-1).sum().backward()
    encoder = "encoder.layers.0.self_attn.in_proj_weight"
    for ours, theirs in (
        (f"transformer.{encoder}", f"pair_{encoder}"),
        ("transformer.example_embedding.weight", "study_example_embedding.weight"),
        ("output_embedding.weight", "output_embedding.weight"),
    ):
        gradients = network.get_parameter(ours).grad, released.get_parameter(theirs).grad
        torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_without_study_examples_the_query_is_read_beside_an_empty_one(
    released: ReleasedPairwise, converted: Path
) -> None:
    network = load_model(converted).network
    query = Example(("jump", "twice"), ("JUMP", "JUMP"))
    with torch.no_grad():
        logits = network(network.collate([Episode((), (query,))]))[0]
        expected = released(query, [Example((), ())])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_released_basic_seq2seq_model_need_not_know_output_symbols_as_input(
    tmp_path: Path,
) -> None:
    ReleasedPairwise(WORDS, SYMBOLS).write(tmp_path / "vanilla.pt")
    assert biml.load(tmp_path / "vanilla.pt").vocabulary == VOCABULARY


def test_released_checkpoints_with_other_numbering_are_rejected(
    converted: Path, tmp_path: Path
) -> None:
    contents = safe_torch_load(converted)
    contents["langs"]["output"].symbol2index |= {"WALK": 1, "JUMP": 0}
    write_pickle(contents, tmp_path / "changed.pt")
    with pytest.raises(FormatError, match=r"numbered in order.*<PAD>"):
        load_model(tmp_path / "changed.pt")


@pytest.mark.published_data
@pytest.mark.parametrize(("name", "max_length"), [("scan", 60), ("cogs", 400)])
def test_released_checkpoints_give_the_published_log_likelihoods_and_responses(
    shared: Path, name: str, max_length: int
) -> None:
    folder = shared / "scale"
    expected = json.loads((folder / f"net-scale-{name}.json").read_text())["episodes"]
    network = load_model(folder / f"net-scale-{name}.pt").network
    episodes = [
        Episode(tuple(pair(*texts) for texts in row["study"]), (pair(row["query"], row["target"]),))
        for row in expected
    ]
    responder = NetworkResponder(network)
    outcomes = len(network.vocabulary.output.symbols) + 1
    for row, (log_probs,) in zip(expected, responder.log_prob(episodes), strict=True):
        assert len(log_probs) == row["symbols"]
        assert log_probs.sum() == pytest.approx(row["loglike"], abs=1e-4)
        lapse = np.log(0.9 * np.exp(log_probs) + 0.1 / outcomes)
        assert lapse.sum() == pytest.approx(row["loglike_lapse_0.1"], abs=1e-4)
    responses = responder.respond(episodes, max_length=max_length)
    assert [" ".join(one) for (one,) in responses] == [row["greedy"] for row in expected]


def pair(words: str, symbols: str) -> Example:
    return Example(tuple(words.split()), tuple(symbols.split()))


def test_pairs_are_grouped_by_length_with_little_padding() -> None:
    network = PairwiseTransformer(SMALL, VOCABULARY)
    batch = network.collate(some_episodes(60, queries=3))
    padding = 1 - sum(int(group.lengths.sum()) for group in batch.groups) / batch.n_tokens
    assert len(batch.groups) >= N_GROUPS
    assert padding < 0.1
    names = [*VOCABULARY.input.names, "SOS", "EOS", "PAD"]
    source = torch.cat([group.tokens.flatten() for group in batch.groups])[batch.source]
    episode = some_episodes(60, queries=3)[0]
    pairs = [[*episode.queries[0].input, "SOS", *e.input, "IO", *e.output] for e in episode.study]
    shown = [names[token] for token in source[0, : batch.lengths[0]]]
    assert shown == [token for tokens in pairs for token in tokens]


def test_micro_batches_hold_every_row_once_and_give_the_same_logits() -> None:
    network = PairwiseTransformer(SMALL, VOCABULARY, seed=1).eval()
    episodes = some_episodes(6)
    whole, parts = network.collate(episodes), network.micro_batches(episodes, 400)
    assert len(parts) > 2
    assert sorted(row for part in parts for row in part.indices) == whole.indices
    with torch.no_grad():
        expected = network(whole)
        for part in parts:
            for row, logits in zip(part.indices, network(part), strict=True):
                wanted = expected[whole.indices.index(row)][: len(logits)]
                torch.testing.assert_close(logits[: len(wanted)], wanted, atol=1e-5, rtol=1e-5)


def decode_forced(network: PairwiseTransformer, batch: PairwiseBatch) -> Tensor:
    state = network.encode(batch)
    steps = [network.decode_step(state, tokens) for tokens in batch.decoder_input.unbind(1)]
    return torch.stack(steps, 1)


def test_decoding_step_by_step_gives_the_logits_of_the_forward_pass() -> None:
    network = PairwiseTransformer(SMALL, VOCABULARY, seed=6).eval()
    batch = network.collate(some_episodes(3))
    with torch.no_grad():
        expected = network(batch)
    torch.testing.assert_close(decode_forced(network, batch), expected, atol=1e-5, rtol=1e-5)


def test_the_network_learns_under_dropout_with_a_generator() -> None:
    network = PairwiseTransformer(SMALL, VOCABULARY).train()
    batch = network.collate(some_episodes(2))
    first, again, other = (
        network(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_layers_start_equal_as_in_the_published_code() -> None:
    network = build_network("pairwise", {"emb_size": 32}, VOCABULARY, seed=3)
    assert isinstance(network, PairwiseTransformer)
    layers = [dict(layer.named_parameters()) for layer in network.transformer.encoder.layers]
    assert all(torch.equal(layers[0][name], layers[2][name]) for name in layers[0])
    other = build_network("pairwise", {"emb_size": 32}, VOCABULARY, seed=4)
    assert not torch.equal(network.out.weight, other.out.weight)


def test_error_for_more_study_examples_than_embeddings() -> None:
    with pytest.raises(UsageError, match=r"6 study examples.*has 7"):
        PairwiseTransformer(SMALL, VOCABULARY).collate(some_episodes(1, study=7))
    with pytest.raises(UsageError, match="max_study"):
        PairwiseConfig(max_study=0)
