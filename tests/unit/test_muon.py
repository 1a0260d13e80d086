"""Muon: what a step is, and which parameters it takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptp_model.training.muon import Muon, layer_weights, orthogonalised


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_singular_values_come_close_to_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_long_matrices_are_treated_as_the_iteration_says() -> None:
    """The short cut in the small space against the published iteration, in double precision."""
    torch.manual_seed(4)
    matrix = torch.randn(24, 200) * torch.logspace(0, -2, 24)[:, None]
    x = matrix.double() / (matrix.norm().double() + 1e-3)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonalised(matrix).double(), x, rtol=1e-3, atol=1e-4)


def test_a_zero_gradient_moves_nothing() -> None:
    weight = nn.Parameter(torch.ones(3, 4))
    weight.grad = torch.zeros(3, 4)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(3, 4))


def test_a_step_has_the_size_asked_for_whatever_the_gradients_size() -> None:
    for scale in (1e-4, 1e4):
        torch.manual_seed(1)
        weight = nn.Parameter(torch.zeros(8, 4, 3, 3))
        weight.grad = scale * torch.randn(8, 4, 3, 3)
        Muon([weight], lr=0.1).step()
        assert 0.06 < torch.linalg.matrix_norm(weight.detach().flatten(1), 2) < 0.13


def test_layers_are_told_from_the_rest() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 1, 3), nn.Linear(2, 2))
    assert layer_weights(module) == {"0.weight", "2.weight", "3.weight"}
    assert layer_weights(nn.Linear(2, 2)) == {"weight"}


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8])
def test_a_vanishing_gradient_is_not_blown_up_to_a_step(size: float) -> None:
    """Behind a closed gate: normalised, rounding noise would move the weight at full speed."""
    torch.manual_seed(2)
    weight = nn.Parameter(torch.zeros(8, 16))
    optimiser = Muon([weight], lr=0.1)
    for _ in range(5):
        weight.grad = size * torch.randn(8, 16)
        optimiser.step()
    assert weight.detach().abs().max() < 0.02, "five full steps would be some twenty times this"
