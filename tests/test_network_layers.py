"""Layers of the staged network against plain formulas, with their gradients."""

import torch
from torch.autograd import gradcheck

from biml.networks.staged_layers import (
    ApplyRotary,
    RMSNormLinear,
    SplitHeads,
    rms_normalize,
    rotary_angles,
    split_half_layout,
)

HEADS, WIDTH, BASE = 2, 12, 100.0


def drawn(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_queries_and_keys_are_rotated_and_values_are_not() -> None:
    x = drawn(3, 5, WIDTH)
    query, key, value = (drawn(WIDTH, WIDTH + more)[:, :WIDTH] for more in range(3))
    position = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11], [2, 2, 2, 2, 2]])
    cos, sin = rotary_angles(position, WIDTH // HEADS, 2 * HEADS, torch.float64, BASE)
    matrix = torch.cat((split_half_layout((query, key), HEADS), value))
    found = SplitHeads.apply(ApplyRotary.apply(x @ matrix.T, cos, sin), 2, 1, HEADS)

    half = WIDTH // HEADS // 2
    rates = BASE ** -(torch.arange(half) / half)
    turned = torch.polar(torch.ones(3, 5, half).double(), (position[..., None] * rates).double())
    for got, weights in zip(found, (query, key, value), strict=True):
        heads = (x @ weights.T).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        if weights is not value:
            complex_ = torch.complex(heads[..., :half], heads[..., half:]) * turned[:, None]
            heads = torch.cat((complex_.real, complex_.imag), -1)
        torch.testing.assert_close(got, heads, atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_the_distance_of_query_and_key() -> None:
    q, k = drawn(1, WIDTH), drawn(2, WIDTH)[:1]

    def score(at: int, other: int) -> torch.Tensor:
        angles = (
            rotary_angles(torch.tensor([position]), WIDTH, 1, torch.float64, BASE)
            for position in (at, other)
        )
        first, second = (ApplyRotary.apply(x, *by) for x, by in zip((q, k), angles, strict=True))
        return (first * second).sum()

    torch.testing.assert_close(score(3, 1), score(20, 18), atol=1e-4, rtol=1e-4)
    assert not torch.isclose(score(3, 1), score(3, 2))


def test_gradients_of_rotary_and_heads_pass_gradcheck() -> None:
    cos, sin = rotary_angles(torch.arange(4), WIDTH // HEADS, HEADS, torch.float64, BASE)
    assert gradcheck(lambda x: ApplyRotary.apply(x, cos, sin), drawn(4, 2 * WIDTH))
    assert gradcheck(lambda x: SplitHeads.apply(x, 2, 1, HEADS), drawn(2, 3, 3 * WIDTH))
    assert gradcheck(lambda x: SplitHeads.apply(x, 0, 2, HEADS), drawn(2, 3, 2 * WIDTH))


def test_norm_weights_are_folded_into_the_linear_maps() -> None:
    norm = RMSNormLinear(4)
    norm.weight.data = torch.tensor([1.0, 2.0, 0.5, -1.0])
    x, first, second = (drawn(n, 4).detach().float().requires_grad_() for n in (5, 3, 2))
    plain = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * norm.weight
    found, expected = norm(x, first, second), plain @ torch.cat((first, second)).T
    torch.testing.assert_close(found, expected)
    inputs = (x, first, norm.weight)
    way = drawn(5, 5).detach().float()
    gradients = (torch.autograd.grad((y * way).sum(), inputs) for y in (found, expected))
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(rms_normalize(x).square().mean(-1), torch.ones(5), atol=1e-4, rtol=0)
