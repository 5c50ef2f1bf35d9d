"""Attention and dropout on CPUs: values, gradients and probabilities."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from biml.networks.attention import NO_DROPOUT, Dropout, apply_mask, attention, sdpa

CASES = [
    pytest.param(7, 7, None, False, id="everything seen"),
    pytest.param(7, 7, [7, 3, 1], False, id="padded"),
    pytest.param(9, 9, None, True, id="causal"),
    pytest.param(4, 33, [33, 20, 31], False, id="to another sequence"),
    pytest.param(6, 6, [6, 4, 5], True, id="causal and padded"),
    pytest.param(1, 5, [2, 3, 5], False, id="one query"),
]


def heads(tokens: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(3, 2, tokens, 8, generator=torch.Generator().manual_seed(seed))
    return drawn.to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("queries", "keys", "lengths", "causal"), CASES)
def test_values_and_gradients_are_those_of_pytorchs_attention(
    queries: int, keys: int, lengths: list[int] | None, causal: bool, dtype: torch.dtype
) -> None:
    inputs = [heads(n, seed, dtype) for seed, n in enumerate((queries, keys, keys))]
    many = None if lengths is None else torch.tensor(lengths)
    g = heads(queries, 9, dtype).detach()
    ours = attention(*inputs, lengths=many, causal=causal)
    theirs = sdpa(*inputs, many, causal)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, g), torch.autograd.grad(theirs, inputs, g), strict=True
    ):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_gradients_with_dropout_are_those_of_the_function() -> None:
    inputs = [heads(n, seed, torch.float64) for seed, n in enumerate((4, 5, 5))]
    lengths = torch.tensor([5, 3, 4])

    def dropped(*inputs: Tensor) -> Tensor:
        drop = Dropout(0.4, torch.Generator().manual_seed(1))
        return attention(*inputs, lengths=lengths, drop=drop)

    assert not torch.equal(dropped(*inputs), attention(*inputs, lengths=lengths))
    assert torch.autograd.gradcheck(dropped, inputs)


def test_attention_with_dropout_has_the_mean_of_attention_without() -> None:
    q, k, v = (heads(6, seed).detach() for seed in range(3))
    drop = Dropout(0.25, torch.Generator().manual_seed(2))
    mean = torch.stack([attention(q, k, v, drop=drop) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, attention(q, k, v), atol=0.06, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_and_the_rest_scaled(
    p: float, dtype: torch.dtype
) -> None:
    drop = Dropout(p, torch.Generator().manual_seed(3))
    out = drop(torch.full((1000, 1001), 3.0, dtype=dtype))
    assert out.dtype == dtype
    assert (out == 0).double().mean().item() == pytest.approx(p, abs=0.001)
    assert out.unique().tolist() == pytest.approx([0.0, 3 / (1 - p)], rel=0.004)


def test_neighbouring_elements_are_dropped_independently() -> None:
    mask = Dropout(0.3, torch.Generator().manual_seed(4)).mask((1_000_000,), torch.ones(1)) != 0
    for lag in (1, 2, 3, 4, 128):
        both = (mask[lag:] & mask[:-lag]).double().mean().item()
        assert both == pytest.approx(0.49, abs=0.003)


def test_gradients_pass_where_elements_were_kept() -> None:
    x = torch.randn(50, 30, requires_grad=True)
    out = Dropout(0.5, torch.Generator().manual_seed(5))(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(out == 0, 0.0, 2.0))


def test_each_dropout_mask_is_new_and_determined_by_the_generator() -> None:
    like = torch.ones(1)

    def three(seed: int) -> list[Tensor]:
        drop = Dropout(0.5, torch.Generator().manual_seed(seed))
        return [drop.mask((64,), like) for _ in range(3)]

    first = three(6)
    assert all(not torch.equal(a, b) for a, b in pairwise(first))
    assert all(torch.equal(a, b) for a, b in zip(first, three(6), strict=True))
    assert not torch.equal(first[0], three(7)[0])


def test_nothing_is_dropped_at_probability_zero() -> None:
    x = torch.randn(3, 4)
    assert NO_DROPOUT(x) is x


def test_dropout_keeps_values_bit_for_bit() -> None:
    x = torch.tensor([1.5, -0.0, float("inf"), 7.0])
    mask = torch.tensor([-1, -1, 0, -1], dtype=torch.int32)
    assert apply_mask(x, mask).tolist() == [1.5, -0.0, 0.0, 7.0]
    assert apply_mask(x, mask, out=x) is not None
    assert x.tolist() == [1.5, -0.0, 0.0, 7.0]


PROGRAM = """
import resource, torch
from biml.training.hardware import tune_malloc
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
agreed = tune_malloc()
faults()
print(agreed, faults())
"""


def test_freed_memory_is_used_again() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    agreed, faults = ran.stdout.split()
    if agreed == "False":
        pytest.skip("the C library here has no such setting")
    assert int(faults) < 1000, "20 x 64 MB are 330,000 pages if each is new"
