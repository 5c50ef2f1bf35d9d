"""The lexicon: word slots, pooling and broadcasting."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.networks.attention import NO_DROPOUT as NOTHING_DROPPED
from biml.networks.batching import RaggedRows
from biml.networks.staged import StagedNetwork
from biml.networks.staged_batch import NO_SLOT, build_lexicon_index
from biml.networks.staged_layers import LexiconExchange, StagedConfig, slot_lookup

SMALL = StagedConfig(
    nlayers_encoder=2, nlayers_query=2, nlayers_decoder=2, nheads=2, emb_size=16, ff_mult=2
)


def test_tokens_of_a_word_in_one_episode_share_a_slot() -> None:
    entries = build_lexicon_index([[NO_SLOT, 0, 1, 0], [NO_SLOT, 0]], [[1, NO_SLOT], [0]])
    assert entries.study_slots.tolist() == [3, 0, 1, 0, 3, 2]
    assert entries.uses.unpack[entries.uses.mask].tolist() == [1, 3, 2, 5]
    assert entries.uses.lengths.tolist() == [2, 1, 1, 0]
    assert entries.query_slots.tolist() == [1, 3, 2]
    places = entries.uses.pack[1:4]
    assert entries.uses.unpack.flatten()[places].tolist() == [1, 2, 3]


def test_an_episode_without_study_examples_has_no_slots() -> None:
    entries = build_lexicon_index([[NO_SLOT]], [[NO_SLOT, NO_SLOT]])
    assert entries.uses.unpack.shape == (1, 1)
    assert slot_lookup(torch.ones(1, 4), entries.query_slots).abs().sum() == 0


@pytest.mark.parametrize("lengths", [[2, 0, 3], [1], [0], []])
def test_packing_and_padding_invert_each_other_with_gradients(lengths: list[int]) -> None:
    rows = RaggedRows.from_lengths(lengths)
    x = torch.randn(sum(lengths), 4, requires_grad=True)
    table = rows.to_padded(x)
    assert torch.equal(rows.to_packed(table), x)
    assert table.shape[:2] == rows.mask.shape
    way = torch.randn(sum(lengths), 4)
    (gradient,) = torch.autograd.grad((rows.to_packed(table * 2) * way).sum(), x)
    torch.testing.assert_close(gradient, 2 * way)


def test_a_slot_is_a_weighted_mean_over_the_tokens_of_its_word() -> None:
    torch.manual_seed(0)
    entries = build_lexicon_index([[NO_SLOT, 0, 1, 0]], [[]])
    layer = LexiconExchange(StagedConfig(nheads=2, emb_size=8, ff_mult=1))
    x, held = torch.randn(4, 8, requires_grad=True), torch.zeros(3, 8)

    def plainly(x: Tensor) -> Tensor:
        tokens = x[[1, 3]]
        tokens = tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + 1e-6)
        weights = (tokens @ layer.pool_logits.t()).softmax(0)
        values = (tokens @ layer.value.t()).view(2, 2, 4)
        entry = (weights[..., None] * values).sum(0).flatten() @ layer.out.t()
        normed = entry * torch.rsqrt(entry.square().mean() + 1e-6)
        hidden = torch.nn.functional.gelu(normed @ layer.mlp.up.t())
        return entry + hidden @ layer.mlp.down.t()

    found = layer.aggregate(x, held, entries)[0]
    torch.testing.assert_close(found, plainly(x), atol=1e-5, rtol=1e-4)
    way = torch.randn(8)
    (gradient,) = torch.autograd.grad((found * way).sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad((plainly(x) * way).sum(), x)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_tokens_that_are_no_word_receive_nothing_from_the_lexicon() -> None:
    torch.manual_seed(0)
    entries = build_lexicon_index([[NO_SLOT, 0, 1, 0]], [[]])
    layer = LexiconExchange(StagedConfig(nheads=2, emb_size=8, ff_mult=1))
    spread = layer.broadcast(torch.randn(3, 8), entries)
    assert spread[0].abs().sum() == 0
    torch.testing.assert_close(spread[1], spread[3])
    assert not torch.allclose(spread[1], spread[2])


def test_the_lexicon_carries_information_between_tokens_of_a_word() -> None:
    net = StagedNetwork(replace(SMALL, nheads_within=2), PUBLISHED_VOCAB, seed=1).eval()

    def read(word: str, symbol: str) -> Tensor:
        # The convolution reaches two tokens far, over the end of an example.
        first = Example((word,), (symbol, "GREEN", "GREEN"))
        study = (first, Example(("dax", "fep"), ("RED", "RED")))
        batch = net.collate([Episode(study, (Example(("fep",), ("RED",)),))])
        with torch.no_grad():
            memory, _ = net._encode_study(batch, NOTHING_DROPPED)
        return batch.study_rows.to_padded(memory)[0, batch.example_ids[0] == 1]

    # Both heads see their own example alone, so that only the lexicon tells of another.
    assert not torch.allclose(read("dax", "RED"), read("dax", "BLUE"), atol=1e-4)
    torch.testing.assert_close(read("wif", "RED"), read("wif", "BLUE"))
