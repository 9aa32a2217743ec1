"""Standard deviations and norms at zero: torch's value, a derivative of zero, never NaN; beside the zeros nothing but torch's own."""

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from tests.derivatives.against_torch import EXACT, Function, derivatives, misfit, normal, off

aten = torch.ops.aten
LENGTHS: dict[str, Function] = {
    "std": lambda x: x.std(1),
    "std_of_torch": lambda x: torch.std(x, 1, True, True),
    "std_correction": lambda x: torch.std(x, dim=-1, correction=0, keepdim=True),
    "std_mean": lambda x: torch.stack(torch.std_mean(x, 1)),
    "aten_std": lambda x: aten.std.correction(x, [1], correction=1),
    "norm": lambda x: x.norm(dim=1),
    "norm_2": lambda x: torch.norm(x, 2, 1, True),
    "norm_3": lambda x: torch.norm(x, p=3, dim=-1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "vector_norm_6": lambda x: torch.linalg.vector_norm(x, 6, 1, True),
    "aten_vector_norm": lambda x: aten.linalg_vector_norm.default(x, 2, [1], True),
    "linalg_norm": lambda x: torch.linalg.norm(x, dim=1, keepdim=True),
    "frobenius": lambda x: torch.linalg.matrix_norm(x.view(-1, 2, 3)),
    "normalize": lambda x: F.normalize(x, dim=1),
    "cosine_similarity": lambda x: F.cosine_similarity(x, x.detach().sin().flip(1) + x.square()),
}
OVER_ALL: dict[str, Function] = {
    "std": lambda x: torch.std(x),
    "std_biased": lambda x: x.std(False),
    "norm": lambda x: torch.norm(x),
    "linalg_norm": torch.linalg.norm,
}
DEAD = [1, 3]


def with_dead_rows() -> Tensor:
    x = normal(5, 6)
    x[DEAD] = 0
    return x


@pytest.mark.parametrize("name", LENGTHS)
def test_rows_of_zeros(name: str) -> None:
    function, x = LENGTHS[name], with_dead_rows()
    found = derivatives(lambda z: function(z), [x])
    assert torch.equal(found.value, function(x))
    assert all(part.isfinite().all() for part in found.all)


@pytest.mark.parametrize("name", [name for name in LENGTHS if name not in ("normalize", "cosine_similarity", "std_mean")])
def test_a_zero_has_no_derivative(name: str) -> None:
    found = derivatives(LENGTHS[name], [with_dead_rows()])
    assert not found.gradient[0][DEAD].any()
    assert not found.second[0][DEAD].any()


@pytest.mark.parametrize("name", LENGTHS)
def test_other_rows_are_torchs(name: str) -> None:
    """Rows do not see each other, so the living ones have the derivatives that torch gives them alone."""
    x = with_dead_rows()
    living = [row for row in range(len(x)) if row not in DEAD]
    torch.testing.assert_close(second_of(LENGTHS[name], x, SecondDerivatives(BackwardTarget()))[living], second_of(LENGTHS[name], x[living], nullcontext()))


def second_of(function: Function, x: Tensor, mode: AbstractContextManager[object]) -> Tensor:
    x = x.clone().requires_grad_()
    with mode:
        value = function(x)
    (gradient,) = torch.autograd.grad(value.sin().sum(), x, create_graph=True)
    return torch.autograd.grad(gradient.sin().sum(), x)[0]


@pytest.mark.parametrize("name", OVER_ALL)
def test_over_everything(name: str) -> None:
    function = OVER_ALL[name]
    for x in (torch.zeros(3, 4).double(), normal(3, 4)):
        found = derivatives(function, [x])
        assert torch.equal(found.value, function(x))
        assert all(part.isfinite().all() for part in found.all)
    assert off(found, derivatives(function, [x], ours=False)) < EXACT


def test_torchs_own_is_not_a_number() -> None:
    """What this is for."""
    assert any(not part.isfinite().all() for part in derivatives(LENGTHS["norm"], [with_dead_rows()], ours=False).all)


def test_sinc() -> None:
    x = torch.tensor([0.0, 0.3, -1.2], dtype=torch.float64)
    for mode in (nullcontext(), SecondDerivatives(BackwardTarget())):
        z = x.clone().requires_grad_()
        with mode:
            value = torch.sinc(z)
        (first,) = torch.autograd.grad(value.sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), z)
        assert bool(second.isfinite().all()) == (not isinstance(mode, nullcontext))
    assert torch.equal(value, torch.sinc(x))
    torch.testing.assert_close(second[0].item(), -(torch.pi**2) / 3)


class Pooling(nn.Module):
    """Mean and deviation over time, as speaker models pool, of frames that are all alike; then directions of dead units."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self.first, self.last, self.kind = nn.Linear(3, 4), nn.Linear(4, 2), last

    def forward(self, x: Tensor) -> Tensor:
        frames = self.first(x).tanh()[:, None].expand(-1, 5, -1)
        pooled = (
            frames.std(1) if self.kind == "std" else F.normalize(frames.std(1), dim=1) if self.kind == "normalize" else frames.std(1).norm(dim=1, keepdim=True)
        )
        return self.last(frames.mean(1) + pooled)


@pytest.mark.parametrize("last", ["std", "normalize", "norm"])
@pytest.mark.parametrize("term", [ig.GradientNorm(), ig.Residual(lambda u: u.part("a").laplacian() + u.part("b").d("xy"), names="xyz", outputs="ab")])
def test_a_model_whose_deviation_is_zero(term: ig.Term, last: str) -> None:
    model, x = Pooling(last).double(), normal(4, 3)
    criterion = ig.InputGradientLoss(None, [term])
    assert misfit(lambda: criterion(model, x), list(model.parameters())) < 1e-5


class Nuclear(nn.Module):
    """What no rule of ours covers: torch's double backward of a singular value decomposition at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linalg.matrix_norm(0 * x.view(-1, 2, 2), "nuc")[:, None]


def test_the_module_is_named_and_auto_goes_on() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), Nuclear()), nn.Linear(4, 2)).double(), normal(4, 3)
    with pytest.raises(ig.EngineError, match=r"second derivative of module '1\.1' \(Nuclear\) is not a number"):
        ig.InputGradientLoss(None, [ig.GradientNorm()], engine="double_backward")(model, x)
    with pytest.warns(UserWarning, match="takes 'finite_difference'"):
        ig.InputGradientLoss(None, [ig.GradientNorm()])(model, x).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_gradient_that_is_not_a_number_at_all_names_no_module() -> None:
    """Where torch's first derivative is NaN, plain training is so too: no fault of an engine."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    model[0].weight.data[0, 0] = torch.nan
    ig.InputGradientLoss(None, [ig.GradientNorm()], engine="double_backward", verify=False)(model, normal(4, 3)).backward()
