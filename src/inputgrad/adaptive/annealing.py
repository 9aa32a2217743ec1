"""Learning-rate annealing: weights that bring the gradients of conditions to the size of the equation's."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from inputgrad.adaptive.base import AdaptiveWeights, agreed, gradients_by, trainable
from inputgrad.loss import InputGradientLoss


class GradientAnnealing(AdaptiveWeights):
    """Learning-rate annealing for physics-informed networks: conditions whose gradients are small beside the equation's weigh more.

        λ_i ← β λ_i + (1 − β) max_θ |∂L_r/∂θ| / mean_θ |∂(λ_i L_i)/∂θ|        L_r: the equation's part, of weight 1;   i: every other part

    parts: the criterion, or the names of its parts, in their order.
    equation: the name of the part L_r, such as "residual".
    beta: β, 0.9 as in the authors' code.
    every: k: the weights are updated at each k-th call, 10 as in the authors' code.

    Call ``weights(losses, shared)``: shared are the parameters θ; the authors take the weight matrices of all layers. The mean is that of the parameters' own
    means, as in their code. Where a part has no gradient its weight stays. In a distributed run the processes take the mean of both sizes.

    When not: where a part goes to 0 exactly, for its weight then grows without bound.
    Source: Wang, Teng & Perdikaris 2021, "Understanding and mitigating gradient flow pathologies in physics-informed neural networks", SIAM Journal on
    Scientific Computing 43(5), algorithm 1, and their code.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("u") + ig.recipes.heat(diffusivity=0.1, names="xt", at=ig.Given("inside"))
    >>> weights = GradientAnnealing(criterion, "residual")
    >>> weights.by_name()
    {'base': 1.0, 'residual': 1.0}
    """

    def __init__(self, parts: InputGradientLoss | Iterable[str], equation: str, *, beta: float = 0.9, every: int = 10) -> None:
        super().__init__(parts)
        if equation not in self.names:
            raise ValueError(f"GradientAnnealing: equation={equation!r} is not one of the parts {list(self.names)}")
        if not 0 <= beta < 1 or isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"GradientAnnealing: beta must lie in [0, 1), every be a whole number of calls, at least 1; got beta={beta}, every={every!r}")
        self.equation, self.beta, self.every = equation, beta, every
        self.calls: Tensor
        self.register_buffer("weights", torch.ones(len(self.names)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self._number: int | None = None
        """The same number, known without a look at a device."""
        self.register_load_state_dict_post_hook(_forget)

    def forward(self, losses: Mapping[str, Tensor], shared: Iterable[Tensor]) -> Tensor:
        """The weighted sum, 0-d."""
        values = self.stacked(losses)
        total = (self.weights.clone().to(values) * values).sum()
        if self.learns(values):
            self._number = int(self.calls) if self._number is None else self._number
            if self._number % self.every == 0:
                self._learn(losses, trainable("GradientAnnealing", shared))
            self.calls += 1
            self._number += 1
        return total

    @torch.no_grad()
    def _learn(self, losses: Mapping[str, Tensor], parameters: list[Tensor]) -> None:
        with torch.enable_grad():
            found = {name: gradients_by(losses[name], parameters) for name in self.names}
        largest = agreed(torch.stack([part.abs().max() for part in found[self.equation]] or [self.weights.new_zeros(())]).max().to(self.weights))
        weights = []
        for name, weight in zip(self.names, self.weights, strict=True):
            mean = agreed((weight * torch.stack([part.abs().mean() for part in found[name]] or [weight.new_zeros(())]).mean()).to(self.weights))
            wanted = torch.where(mean > 0, largest / torch.where(mean > 0, mean, 1), weight)
            weights.append(weight if name == self.equation else self.beta * weight + (1 - self.beta) * wanted)
        moved = torch.stack(weights)
        self.weights = torch.where(moved.isfinite().all(), moved, self.weights)  # a batch that overflows must not spoil all those after it


def _forget(weights: GradientAnnealing, _keys: object) -> None:
    """After a state was loaded, which has a number of its own."""
    weights._number = None
