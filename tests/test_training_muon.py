"""Muon against torch.optim.Muon."""

import torch

from biml.training.optim import NS_COEFFICIENTS, NS_STEPS, Muon, newton_schulz

SHAPES = ((16, 16), (48, 16), (16, 48), (16, 16), (16, 48))


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def give_gradients(parameters: list[torch.nn.Parameter], step: int) -> None:
    torch.manual_seed(step)
    for weights in parameters:
        weights.grad = torch.randn_like(weights)


def test_muon_steps_equal_those_of_torch_optim_muon() -> None:
    ours, theirs = matrices(), matrices()
    muon = Muon(ours, 0.02)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)
    for step in range(5):
        for parameters, optimizer in ((ours, muon), (theirs, reference)):
            give_gradients(parameters, step)
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_float32_gives_the_same_steps_up_to_rounding() -> None:
    in_bfloat16, in_float32 = matrices(), matrices()
    for parameters, within in ((in_bfloat16, torch.bfloat16), (in_float32, torch.float32)):
        give_gradients(parameters, 0)
        Muon(parameters, 1.0, compute_dtype=within).step()
    for a, b, start in zip(in_bfloat16, in_float32, matrices(), strict=True):
        assert not torch.equal(a, b)
        assert (a - b).norm() < 0.03 * (b - start).norm()


def test_processes_share_the_orthogonalisation_and_end_with_equal_weights() -> None:
    alone, first, second = matrices(), matrices(), matrices()
    sums: list[torch.Tensor] = []
    give_gradients(alone, 0)
    Muon(alone, 0.02).step()
    # What each of two processes computes, added up as their all-reduce would.
    for rank, parameters in ((0, first), (1, second)):
        give_gradients(parameters, 0)
        Muon(
            parameters, 0.02, rank_and_size=(rank, 2), all_reduce=lambda t: sums.append(t.clone())
        ).step()
    assert all((part != 0).any() for part in sums)
    third = matrices()
    give_gradients(third, 0)

    def all_of_it(tensor: torch.Tensor) -> None:
        tensor.copy_(sums[0] + sums[1])

    Muon(third, 0.02, rank_and_size=(0, 2), all_reduce=all_of_it).step()
    for a, b in zip(alone, third, strict=True):
        torch.testing.assert_close(a, b)


def test_updates_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(newton_schulz(torch.randn(4, 32, 64)).float())
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_the_factored_iteration_of_wide_matrices_is_equal() -> None:
    torch.manual_seed(3)
    wide = torch.randn(4, 16, 40)
    a, b, c = NS_COEFFICIENTS
    expected = wide.double() / wide.double().norm(dim=(-2, -1), keepdim=True)
    for _ in range(NS_STEPS):
        gram = expected @ expected.mT
        expected = a * expected + (b * gram + c * gram @ gram) @ expected
    torch.testing.assert_close(newton_schulz(wide).double(), expected, atol=1e-5, rtol=0)
