"""The MLC transformer: logits of nn.Transformer, parameters, batches and decoding."""

import math

import pytest
import torch
from torch import Tensor, nn

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks.registry import ARCHITECTURES, architecture, build_network
from biml.networks.seq2seq import (
    Seq2SeqBatch,
    Seq2SeqConfig,
    Seq2SeqTransformer,
    mimetic_init,
    sinusoidal_positions,
)
from biml.rng import generator
from biml.vocabulary import Vocabulary

PUBLISHED = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
SMALL = Seq2SeqConfig(nlayers_encoder=2, nlayers_decoder=2, nheads=4, emb_size=32, dropout=0.1)


def some_episodes(n: int, study: int = 5, queries: int = 4) -> list[Episode]:
    """Episodes of random symbols: lengths vary as in real ones."""
    rng = generator(0, "test")

    def example() -> Example:
        words = tuple(rng.choices(WORDS, k=rng.randint(1, 6)))
        return Example(words, tuple(rng.choices(COLOURS, k=rng.randint(1, 8))))

    return [
        Episode(
            tuple(example() for _ in range(study)),
            tuple(example() for _ in range(queries)),
            name=f"test {i}",
        )
        for i in range(n)
    ]


def reference(network: Seq2SeqTransformer, batch: Seq2SeqBatch) -> Tensor:
    """The same weights through nn.Transformer's own forward pass."""
    source, target = network.input_embedding(batch.source), batch.decoder_input
    width = network.config.emb_size
    y = network.output_embedding(target)
    padding = batch.source == network.vocabulary.input.pad
    decoded = network.transformer(
        source + sinusoidal_positions(source.shape[1], width),
        y + sinusoidal_positions(y.shape[1], width),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(y.shape[1]),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_is_causal=True,
    )
    return network.out(decoded)


def loss_of(network: Seq2SeqTransformer, logits: Tensor, batch: Seq2SeqBatch) -> Tensor:
    pad = network.vocabulary.output.pad
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.target.flatten(), ignore_index=pad, reduction="sum"
    )


def test_the_published_network_has_the_published_number_of_parameters() -> None:
    network = Seq2SeqTransformer(Seq2SeqConfig(), PUBLISHED)
    assert sum(weights.numel() for weights in network.parameters()) == 1_393_801


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "config", [Seq2SeqConfig(), SMALL, Seq2SeqConfig(1, 2, 2, 16, 3, 0.0, "relu")]
)
def test_logits_are_those_of_the_standard_transformer(config: Seq2SeqConfig) -> None:
    network = Seq2SeqTransformer(config, PUBLISHED, seed=1).eval()
    batch = network.collate(some_episodes(3))
    assert (batch.source == PUBLISHED.input.pad).any(), "the batch must have padding"
    real = batch.target != PUBLISHED.output.pad
    with torch.no_grad():
        ours = network(batch)
        theirs = reference(network, batch)
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_standard_transformer() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED, seed=2).eval()
    batch = network.collate(some_episodes(3))
    loss_of(network, reference(network, batch), batch).backward()
    theirs = {name: weights.grad for name, weights in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    loss_of(network, network(batch), batch).backward()
    for name, weights in network.named_parameters():
        torch.testing.assert_close(weights.grad, theirs[name], atol=2e-4, rtol=1e-4, msg=name)


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = Seq2SeqTransformer(SMALL, PUBLISHED, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    again, other = (Seq2SeqTransformer(SMALL, PUBLISHED, seed=seed) for seed in (3, 4))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.out.weight, other.out.weight)


def test_initial_weights_are_pytorchs_own() -> None:
    network = Seq2SeqTransformer(Seq2SeqConfig(), PUBLISHED)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Transformer(128, 8, 3, 3, 512, activation="gelu", batch_first=True)
    for name, weights in plain.named_parameters():
        assert torch.equal(network.transformer.get_parameter(name), weights), name
    assert network.input_embedding.weight.std().item() == pytest.approx(1, abs=0.05)


def test_source_and_target_sequences_are_the_published_ones() -> None:
    study = (Example(("wif", "lug"), ("RED", "BLUE")), Example((), ("PINK",)))
    network = Seq2SeqTransformer(SMALL, PUBLISHED)
    batch = network.collate(
        [Episode(study, (Example(("dax",), ("RED",)),)), Episode((), (Example(("dax",), ()),))]
    )
    names = [*PUBLISHED.input.names, "SOS", "EOS", "PAD"]
    rows = [" ".join(names[token] for token in row) for row in batch.source.tolist()]
    assert rows[0] == "dax SOS wif lug IO RED BLUE SOS IO PINK SOS EOS"
    assert rows[1].split() == ["dax", "SOS", "EOS", *["PAD"] * 9]
    assert batch.lengths.tolist() == [12, 3]
    red, sos, eos, pad = 0, 6, 7, 8
    assert batch.decoder_input.tolist() == [[sos, red], [sos, pad]]
    assert batch.target.tolist() == [[red, eos], [eos, pad]]
    assert batch.indices == [(0, 0), (1, 0)]


def test_an_unknown_symbol_is_named_with_its_episode() -> None:
    episode = Episode((), (Example(("bim",), ("RED",)),), name="mine.txt")
    with pytest.raises(UsageError, match=r"mine\.txt.*'bim'"):
        Seq2SeqTransformer(SMALL, PUBLISHED).collate([episode])


def test_micro_batches_hold_every_row_once_and_keep_to_the_size() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED).eval()
    episodes = some_episodes(6)
    whole, chunks = network.collate(episodes), network.micro_batches(episodes, 300)
    assert sorted(origin for chunk in chunks for origin in chunk.indices) == whole.indices
    assert all(chunk.source.numel() <= 300 for chunk in chunks)
    assert sum(chunk.source.numel() for chunk in chunks) < whole.source.numel()
    with torch.no_grad():
        expected = loss_of(network, network(whole), whole)
        pieces = [loss_of(network, network(chunk), chunk) for chunk in chunks]
    torch.testing.assert_close(sum(pieces), expected, atol=1e-3, rtol=1e-5)
    assert len(network.micro_batches(episodes, 1)) == len(whole.indices), (
        "a row too long stands alone"
    )


def test_micro_batches_share_the_work_equally_among_processes() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED)
    episodes = some_episodes(25, study=14, queries=24)
    costs = [chunk.n_tokens for chunk in network.micro_batches(episodes, 8192)]
    assert len(costs) in (2, 4, 8, 16)
    assert max(costs) < 1.1 * min(costs)
    assert len(network.micro_batches(episodes, 10**6)) == 1
    assert network.micro_batches([], 100) == []


def test_mixed_precision_gives_nearly_the_same_logits_and_gradients() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED, seed=8).eval()
    batch = network.collate(some_episodes(4))
    gradients = []
    for enabled in (False, True):
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = network(batch)
        assert logits.dtype == torch.float32
        loss_of(network, logits, batch).backward()
        gradients.append(
            torch.cat([w.grad.flatten() for w in network.parameters() if w.grad is not None])
        )
    assert all(len(gradient) == len(gradients[0]) for gradient in gradients)
    assert torch.cosine_similarity(*gradients, dim=0).item() > 0.999


def test_dropout_depends_on_its_generator_alone() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED).train()
    batch = network.collate(some_episodes(2))

    def logits(seed: int) -> Tensor:
        return network(batch, torch.Generator().manual_seed(seed))

    state = torch.random.get_rng_state()
    first = logits(1)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(1)
    assert torch.equal(first, logits(1))
    assert not torch.equal(first, logits(2))
    network.eval()
    assert torch.equal(logits(1), logits(2))


def decode_forced(network: Seq2SeqTransformer, batch: Seq2SeqBatch) -> Tensor:
    memory = network.encode(batch)
    steps = [network.decode_step(memory, tokens) for tokens in batch.decoder_input.unbind(1)]
    return torch.stack(steps, 1)


def test_decoding_step_by_step_gives_the_logits_of_the_forward_pass() -> None:
    network = Seq2SeqTransformer(Seq2SeqConfig(), PUBLISHED, seed=6).eval()
    batch = network.collate(some_episodes(3))
    with torch.no_grad():
        expected = network(batch)
    torch.testing.assert_close(decode_forced(network, batch), expected, atol=1e-5, rtol=1e-5)
    assert not decode_forced(network, batch).requires_grad


def test_rows_of_a_decoder_state_can_be_dropped_and_repeated() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED, seed=7).eval()
    batch = network.collate(some_episodes(2))
    memory, tokens = network.encode(batch), batch.decoder_input
    network.decode_step(memory, tokens[:, 0])
    rows = torch.tensor([5, 1, 1])
    taken = memory.select(rows)
    some = network.decode_step(taken, tokens[rows, 1])
    every = network.decode_step(memory, tokens[:, 1])
    torch.testing.assert_close(some, every[rows], atol=1e-5, rtol=1e-5)


def test_sequences_longer_than_the_position_table_are_read() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED).eval()
    words = ("dax",) * 700
    with torch.no_grad():
        logits = network(network.collate([Episode((), (Example(words, ("RED",) * 300),))]))
    assert logits.shape == (1, 301, 9)
    assert logits.isfinite().all()


def test_position_encodings_are_sines_and_cosines() -> None:
    table = sinusoidal_positions(50, 8)
    assert table[7, 2].item() == pytest.approx(math.sin(7 / 10_000 ** (2 / 8)), abs=1e-6)
    assert table[7, 3].item() == pytest.approx(math.cos(7 / 10_000 ** (2 / 8)), abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("emb_size", 30), ("nheads", 3), ("dropout", 1.0), ("activation", "tanh"), ("ff_mult", 0)],
)
def test_error_for_an_invalid_network_size_names_the_option(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field):
        Seq2SeqConfig(**{field: value})


def test_architectures_are_built_by_name() -> None:
    network = build_network("paper", {"emb_size": 32}, PUBLISHED, seed=3)
    assert isinstance(network, Seq2SeqTransformer)
    assert network.config == Seq2SeqConfig(emb_size=32)
    with pytest.raises(UsageError, match="paper"):
        architecture("papre")
    with pytest.raises(UsageError, match="width"):
        build_network("paper", {"width": 3}, PUBLISHED)
    assert all(name == row.name for name, row in ARCHITECTURES.items())


def test_mimetic_initialisation_makes_key_projections_equal_query_projections() -> None:
    network = Seq2SeqTransformer(SMALL, PUBLISHED)
    plain = Seq2SeqTransformer(SMALL, PUBLISHED)
    mimetic_init(network)
    blocks = [m for m in network.modules() if isinstance(m, nn.MultiheadAttention)]
    assert len(blocks) == 6
    for block in blocks:
        query, key, value = block.in_proj_weight.split(SMALL.emb_size)
        assert torch.equal(query, key)
        assert not torch.equal(key, value)
    changed = {
        name
        for (name, a), (_, b) in zip(
            network.named_parameters(), plain.named_parameters(), strict=True
        )
        if not torch.equal(a, b)
    }
    assert len(changed) == len(blocks)
