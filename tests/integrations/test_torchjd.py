"""TorchJD aggregates the gradients of base and term: ``criterion.losses`` hands it the parts with their graphs."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig

pytest.importorskip("torchjd", reason="TorchJD is not installed: pip install 'torchjd[quadprog_projector]'")
pytest.importorskip("qpsolvers", reason="TorchJD's UPGrad needs its extra: pip install 'torchjd[quadprog_projector]'")

from torchjd.aggregation import Mean, UPGrad
from torchjd.autojac import backward, jac_to_grad

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]
EXACT = ("double_backward", "reverse_over_forward", "compiled", "auto")


def model() -> nn.Module:
    torch.manual_seed(2)
    convolutional = (nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten())
    return nn.Sequential(*convolutional, nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(10, 1, 6, 6, dtype=torch.float64), torch.randint(3, (10,))


def rows(network: nn.Module) -> Tensor:
    """The Jacobian of (base, term) by two backward passes of plain torch, one row each."""
    x, y = data()
    x.requires_grad_()
    own = nn.functional.cross_entropy(network(x), y, reduction="none")
    (g,) = torch.autograd.grad(own.sum(), x, create_graph=True)
    parts = (own.mean(), g.flatten(1).square().sum(1).mean())
    return torch.stack([_flat(torch.autograd.grad(part, list(network.parameters()), retain_graph=True, materialize_grads=True)) for part in parts])


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("chunk", [None, 1], ids=["batched", "one_by_one"])
@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("aggregator", [Mean(), UPGrad()], ids=["mean", "upgrad"])
def test_the_aggregate_is_that_of_the_textbook_jacobian(aggregator: object, engine: str, chunk: int | None) -> None:
    network, (x, y) = model(), data()
    expected = aggregator(rows(network))
    criterion = ig.InputGradientLoss("cross_entropy", 0.3 * ig.GradientNorm(of="loss", power=2), engine=engine)
    losses = criterion.losses(network, x, y)
    assert list(losses) == ["base", "gradient_norm"]
    backward(list(losses.values()), inputs=network.parameters(), parallel_chunk_size=chunk)
    jac_to_grad(network.parameters(), aggregator)
    found = _flat(parameter.grad for parameter in network.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)
