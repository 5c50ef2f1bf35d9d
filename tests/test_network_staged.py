"""The staged network: inputs, caches and micro-batches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.episodes.transforms import add_grammar_labels
from biml.errors import UsageError
from biml.networks.attention import attention
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.paths import DataFolders

SMALL = StagedConfig(
    nlayers_encoder=2, nlayers_query=2, nlayers_decoder=2, nheads=2, emb_size=16, ff_mult=2
)


def episodes(count: int = 4) -> list[Episode]:
    source = episode_type("algebraic").open_training(DataFolders(), seed=3)
    return [source[index] for index in range(count)]


@pytest.fixture
def net() -> StagedNetwork:
    made = StagedNetwork(SMALL, PUBLISHED_VOCAB, seed=1)
    with torch.no_grad():  # its own read-out starts so small that all logits are nearly equal
        made.out.mul_(50)
    return made.eval()


def filled(target: Tensor) -> Tensor:
    return target != PUBLISHED_VOCAB.output.pad


def test_decoding_step_by_step_gives_the_logits_of_the_forward_pass(net: StagedNetwork) -> None:
    several = episodes()
    several[1] = replace(several[1], study=())  # as in the open-ended task, before the first answer
    batch = net.collate(several)
    at_once = net(batch)
    memory = net.encode(batch)
    for step in range(batch.target.shape[1]):
        logits = net.decode_step(memory, batch.decoder_input[:, step])
        present = filled(batch.target)[:, step]
        torch.testing.assert_close(logits[present], at_once[present, step], atol=1e-4, rtol=1e-4)


def test_rows_can_be_dropped_from_the_decoder_state(net: StagedNetwork) -> None:
    batch = net.collate(episodes(2))
    keep = torch.arange(0, len(batch.target), 3)
    memory = net.encode(batch)
    net.decode_step(memory, batch.decoder_input[:, 0])
    memory = memory.select(keep)
    logits = net.decode_step(memory, batch.decoder_input[keep, 1])
    present = filled(batch.target)[keep, 1]
    torch.testing.assert_close(logits[present], net(batch)[keep, 1][present], atol=1e-4, rtol=1e-4)


def test_micro_batches_hold_the_rows_of_the_batch_and_give_the_same_loss(
    net: StagedNetwork,
) -> None:
    several = episodes(6)

    def losses(batches: list) -> dict[tuple[int, int], float]:
        found = {}
        for batch in batches:
            each = F.cross_entropy(
                net(batch).transpose(1, 2),
                batch.target,
                ignore_index=PUBLISHED_VOCAB.output.pad,
                reduction="none",
            )
            found |= dict(zip(batch.indices, each.sum(1).tolist(), strict=True))
        return found

    whole, cut = (
        losses([net.collate(several)]),
        losses(net.micro_batches(several, 700)),
    )
    assert len(net.micro_batches(several, 700)) > 1
    assert whole.keys() == cut.keys()
    assert cut == pytest.approx(whole, abs=1e-3)


def test_a_response_depends_on_no_other_query_and_on_no_later_symbol(net: StagedNetwork) -> None:
    shown = episodes(1)[0]
    first = shown.queries[0]
    changed = replace(
        shown,
        queries=(
            Example(first.input, (*first.output[:-1], "PINK", "RED")),
            *[Example(("wif",), ("BLUE",)) for _ in range(3)],
        ),
    )
    before, after = net(net.collate([shown])), net(net.collate([changed]))
    same = len(first.output)
    torch.testing.assert_close(before[0, :same], after[0, :same], atol=1e-4, rtol=1e-4)


def test_responses_depend_on_the_study_examples(net: StagedNetwork) -> None:
    shown = episodes(1)[0]
    other = replace(shown, study=tuple(e._replace(output=("PINK",)) for e in shown.study))
    plain = net(net.collate([shown]))
    assert not torch.allclose(plain, net(net.collate([other])), atol=1e-2)


def test_remembered_study_examples_change_nothing(net: StagedNetwork) -> None:
    first, other = episodes(2)
    batches = [net.collate([e]) for e in (first, replace(first, queries=first.queries[:1]), other)]
    expected = [net(batch) for batch in batches]
    net.remembers_study = True
    for batch, logits in zip(batches, expected, strict=True):
        assert torch.equal(net(batch), logits)
        assert torch.equal(net(batch), logits)


def test_every_weight_gets_a_gradient(net: StagedNetwork) -> None:
    net.train()
    batch = net.collate([add_grammar_labels(episode) for episode in episodes(2)])
    logits = net(batch).flatten(0, 1)
    loss = F.cross_entropy(logits, batch.target.flatten(), ignore_index=PUBLISHED_VOCAB.output.pad)
    assert net.auxiliary_loss is not None
    (loss + net.auxiliary_loss).backward()
    for name, weights in net.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.abs().sum() > 0, name


def test_gradients_do_not_depend_on_the_micro_batches(net: StagedNetwork) -> None:
    labelled = [add_grammar_labels(episode) for episode in episodes(4)]
    net.train()

    def gradients(batches: Sequence[Any]) -> dict[str, Tensor]:
        net.zero_grad()
        for batch in batches:
            logits, pad = net(batch).flatten(0, 1), PUBLISHED_VOCAB.output.pad
            loss = F.cross_entropy(
                logits, batch.target.flatten(), ignore_index=pad, reduction="sum"
            )
            assert net.auxiliary_loss is not None
            (loss + net.auxiliary_loss).backward()
        named = net.named_parameters()
        return {name: weights.grad for name, weights in named if weights.grad is not None}

    whole = {name: grad.clone() for name, grad in gradients([net.collate(labelled)]).items()}
    for name, grad in gradients([net.collate([episode]) for episode in labelled]).items():
        assert (grad - whole[name]).norm() <= 1e-4 * whole[name].norm() + 1e-4, name


def test_gradients_agree_with_autograd_of_plain_operations() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 5, 4, requires_grad=True) for _ in range(3))
    hidden = torch.rand(3, 1, 5, 5) < 0.4
    hidden[..., 0] = False

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.mT / 2).masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ v

    way = torch.randn(3, 2, 5, 4)
    expected = torch.autograd.grad((plain(q, k, v) * way).sum(), (q, k, v))
    found = torch.autograd.grad((attention(q, k, v, blocked=hidden) * way).sum(), (q, k, v))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_invalid_sizes_of_the_staged_network_are_rejected() -> None:
    with pytest.raises(UsageError, match="multiple of nheads"):
        StagedConfig(emb_size=30, nheads=4)
    with pytest.raises(UsageError, match="even"):
        StagedConfig(emb_size=20, nheads=4)
    with pytest.raises(UsageError, match="odd"):
        StagedConfig(kernel=4)
