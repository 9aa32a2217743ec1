"""What suits the example of a term: a model, inputs, a target and a base loss."""

from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import terms


class Springs(nn.Module):
    """An energy of positions ``[N, A, 3]`` and a cell ``[N, 3, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.ones(()))

    def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
        return self.stiffness * (positions.square().sum((1, 2)) + cell.square().sum((1, 2)))


def ordinary(kind: type) -> tuple[nn.Module, Any, Any, Any]:
    """A model, inputs, a target and a base loss that suit a term's example."""
    x, labels = torch.randn(5, 3), torch.arange(5) % 2
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    distance = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    of_its_own: dict[type, tuple[nn.Module, Any, Any, Any]] = {
        terms.LagrangesEquations: (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), torch.randn(5, 4), None, None),
        terms.MisclassificationAware: (model, x, labels, None),
        terms.PairwiseCosine: (nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Unflatten(1, (3, 2))), x, labels, None),
        terms.SlicedScoreMatching: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), x, None, None),
        terms.StressMatch: (Springs(), {"positions": torch.randn(5, 4, 3), "cell": torch.eye(3).repeat(5, 1, 1)}, {"stress": torch.zeros(5, 3, 3)}, None),
    }
    of_its_own |= dict.fromkeys((terms.NotOnSurface, terms.SingularHessian, terms.SmallDivergence, terms.UnitSlope), (distance, x, None, None))
    return of_its_own.get(kind, (model, x, torch.randn(5, 2), "mse"))
