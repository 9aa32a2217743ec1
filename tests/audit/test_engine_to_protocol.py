"""Parts of the audit that the rules of engine, distribution and protocol stand on, each against what torch itself does."""

import copy

import pytest
import torch
from torch import nn

from inputgrad.audit.probes.adaptive_updates import tenfold
from inputgrad.audit.probes.data_writes import DataWriteTracker
from inputgrad.audit.probes.random_interpolation import InterpolationTracker
from inputgrad.audit.session import audit


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
@pytest.mark.parametrize("steps", [0, 3])
def test_tenfold_is_what_the_optimiser_does(kind: type, steps: int) -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(7, dtype=torch.float64))
    settings = {"weight_decay": 0.0} if kind is torch.optim.AdamW else {}
    optimizer = kind([parameter], lr=0.1, **settings)
    for _ in range(steps):
        parameter.grad = torch.randn(7, dtype=torch.float64)
        optimizer.step()
    gradient = torch.randn(7, dtype=torch.float64)
    moves = []
    for factor in (1, 10):
        twin = copy.deepcopy(parameter).requires_grad_()
        other = kind([twin], lr=0.1, **settings)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        twin.grad = factor * gradient
        other.step()
        moves.append(twin.detach() - parameter.detach())
    parameter.grad = gradient
    expected = float((moves[1] - moves[0]).norm() / moves[0].norm())
    assert tenfold(optimizer) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_tenfold_of_plain_descent_is_not_computed() -> None:
    assert tenfold(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)) is None


def test_a_mixture_is_known_by_its_weight_and_not_by_random_data() -> None:
    draws = InterpolationTracker()

    def do(name: str, function: object, *args: object) -> torch.Tensor:
        result = function(*args)  # type: ignore[operator]
        draws.follow(name, args, result)
        return result

    x, y, a = (do("rand", torch.rand, *shape) for shape in ((4, 3), (4, 3), (4, 1)))
    both = do("add", torch.add, do("mul", torch.mul, a, x), do("mul", torch.mul, do("__rsub__", torch.Tensor.__rsub__, a, 1), y))
    drawn = draws.mixed(both)
    assert drawn is not None
    assert drawn.shape == (4, 1)
    assert draws.mixed(do("add", torch.add, x, do("mul", torch.mul, y, 0.1))) is None


def test_an_input_that_was_overwritten_is_measured_and_left_as_it_is() -> None:
    torch.manual_seed(0)
    writes, layer = DataWriteTracker(), nn.Linear(3, 1).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    loss = layer(x).square().mean()
    right = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    writes.write(x)
    x.data.mul_(2)
    values, address = x.detach().clone(), x.data_ptr()
    wrong = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    measured = writes.wrong([loss], list(layer.parameters()))
    assert measured is not None
    both = [torch.cat([part.flatten() for part in parts]) for parts in (right, wrong)]
    assert measured[1] == pytest.approx(float((both[1] - both[0]).norm() / both[0].norm()))
    assert torch.equal(x.detach(), values)
    assert x.data_ptr() == address


def test_distributed_wrapper_is_as_it_was() -> None:
    wrapper = nn.parallel.DistributedDataParallel
    before = (wrapper.forward, wrapper.__init__)
    with audit():
        pass
    assert (wrapper.forward, wrapper.__init__) == before
