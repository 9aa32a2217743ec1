"""`follow_gradient` and `output_and_gradient`: known paths, bounds, the complete graph, and no trace."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.textbook import Textbook, distance, parameter_gradients, sum_of_outputs
from tests.zoo import BY_NAME, ZOO, Specimen

SERVED = [specimen for specimen in ZOO if specimen.name not in ("tokens", "fused_attention")]


class Bowl(nn.Module):
    """f(x) = ½‖x‖², whose gradient is x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x.square().sum(1, keepdim=True)


class Plane(nn.Module):
    """f(x) = wᵀx."""

    def __init__(self, *weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def starts(n: int = 3) -> Tensor:
    return torch.randn(n, 2, dtype=torch.float64)


@pytest.mark.parametrize(("move", "sign"), [("ascend", 1), ("descend", -1)])
def test_the_path_in_a_bowl(move: Any, sign: int) -> None:
    """With the gradient as it is each step multiplies x by 1 ± step_size."""
    x = starts()
    path = ig.follow_gradient(Bowl(), x, steps=4, step_size=0.1, move=move, scaling="none")
    assert path.shape == (5, 3, 2)
    assert torch.equal(path[0], x)
    for t in range(5):
        torch.testing.assert_close(path[t], x * (1 + sign * 0.1) ** t, rtol=1e-14, atol=0)


def test_unit_steps_on_a_plane() -> None:
    x = starts()
    path = ig.follow_gradient(Plane(3, -4), x, steps=3, step_size=0.5)
    torch.testing.assert_close(path[3], x + 1.5 * torch.tensor([0.6, -0.8], dtype=torch.float64), rtol=1e-14, atol=1e-14)


def test_signed_steps_within_bounds_on_a_plane() -> None:
    path = ig.follow_gradient(Plane(3, -4), torch.full((1, 2), 0.5, dtype=torch.float64), steps=4, step_size=0.2, scaling="sign", bounds=(0, 1))
    torch.testing.assert_close(path[:, 0, 0], torch.tensor([0.5, 0.7, 0.9, 1.0, 1.0], dtype=torch.float64), rtol=1e-14, atol=0)
    torch.testing.assert_close(path[:, 0, 1], torch.tensor([0.5, 0.3, 0.1, 0.0, 0.0], dtype=torch.float64), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("scaling", ["none", "unit", "sign"])
def test_a_sample_without_gradient_stays(scaling: Any) -> None:
    path = ig.follow_gradient(Bowl(), torch.zeros(2, 2), steps=2, scaling=scaling)
    assert torch.equal(path, torch.zeros(3, 2, 2))


def test_the_score_goes_up_along_the_path() -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    labels = torch.tensor([0, 1, 2, 0])
    path = ig.follow_gradient(model, x, of="label", target=labels, steps=6, step_size=0.2)
    scores = torch.stack([model(step).gather(1, labels[:, None])[:, 0] for step in path])
    assert (scores.diff(dim=0) > 0).all()


@pytest.mark.parametrize("name", ["batch_norm", "dropout", "counting", "spectral_norm"])
def test_following_leaves_no_trace(name: str) -> None:
    model, x = BY_NAME[name].make(), BY_NAME[name].data(4)
    given, state = x.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    path = ig.follow_gradient(model, x, steps=3)
    assert not path.requires_grad
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert (torch.equal(x, given), x.requires_grad, x.grad) == (True, False, None)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_can_be_followed_without_gradients(off: Any) -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    expected = ig.follow_gradient(model, x, steps=2)
    with off():
        assert torch.equal(ig.follow_gradient(model, x.clone(), steps=2), expected)
        assert torch.equal(ig.output_and_gradient(model, x.clone())[0], model(x))


def test_one_of_several_inputs_moves() -> None:
    model, inputs = BY_NAME["dict"].make(), BY_NAME["dict"].data(4)
    path = ig.follow_gradient(model, inputs, wrt="b", steps=2)
    assert path.shape == (3, *inputs["b"].shape)
    assert torch.equal(path[0], inputs["b"])
    assert not torch.equal(path[1], path[0])


@pytest.mark.parametrize("specimen", SERVED, ids=lambda specimen: specimen.name)
def test_output_and_gradient_carry_their_complete_graph(specimen: Specimen) -> None:
    """A loss of both, differentiated, is the textbook's."""
    inputs = specimen.data(5)
    model, plain = specimen.make(), specimen.make()
    torch.manual_seed(4)
    output, gradient = ig.output_and_gradient(model, inputs, wrt=specimen.wrt)
    parts = gradient if isinstance(specimen.wrt, tuple) else (gradient,)
    found = parameter_gradients(model, output.cos().sum() + sum(part.pow(3).sum() for part in parts))
    torch.manual_seed(4)
    book = Textbook(plain, inputs, None, specimen.plain, specimen.pick)
    expected = parameter_gradients(plain, book.output.cos().sum() + sum(part.pow(3).sum() for part in book.gradient(sum_of_outputs, specimen.plain)))
    torch.testing.assert_close(output, book.output)
    assert distance(found, expected) <= 1e-12


def test_the_jacobian_by_each_output() -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    _, jacobian = ig.output_and_gradient(model, x, of=ig.heads.EachOutput())
    expected = torch.stack([torch.autograd.functional.jacobian(lambda row: model(row[None])[0], row) for row in x])
    torch.testing.assert_close(jacobian, expected, rtol=1e-12, atol=1e-14)


def test_a_third_derivative_goes_through() -> None:
    """The graph is complete: what the loss refuses, backward(create_graph=True), works here."""
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(2)
    _, gradient = ig.output_and_gradient(model, x)
    first = torch.autograd.grad(gradient.square().sum(), list(model.parameters()), create_graph=True, allow_unused=True)
    sum(part.square().sum() for part in first if part is not None).backward()
    assert model[0].weight.grad.isfinite().all()
