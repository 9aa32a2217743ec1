"""GradNorm: weights under which all parts of a loss train at similar rates."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from inputgrad.adaptive.base import AdaptiveWeights, agreed, gradients_by, trainable
from inputgrad.loss import InputGradientLoss


class GradNorm(AdaptiveWeights):
    """GradNorm: weights under which all parts train at similar rates.

        G_i = ‖∇_W w_i L_i‖,   r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),   L_grad = Σ_i |G_i − mean(G) r_i^α|
        w ← one step of Adam on ∂L_grad/∂w,   then scaled so that Σ_i w_i is the number of parts

    parts: the criterion, or the names of its parts, in their order.
    alpha: α, how strongly slow parts are favoured.
    lr: the learning rate of Adam, 0.025 as published, with betas (0.9, 0.999) and eps 1e-8.
    smallest: the least that a weight can be, after scaling too, which the paper leaves open.

    Call ``weights(losses, shared)``: shared are the parameters W that all parts reach, such as those of the last hidden layer. The loss of a step has the
    weights from before the step. Because of Adam a common factor on all losses changes nothing. L_i(0) are the losses of the first call; where one is 0 there,
    its rate is undefined. Since G_i is linear in w_i, the derivative is sign(…)·‖∇_W L_i‖: a first derivative per part, no second. In a distributed run losses
    and norms are averaged over the processes.

    When not: with many parts, each of which costs a backward pass more; where a part is to vanish in the end, for it is then pushed ever harder.
    Source: Chen et al. 2018, "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML, algorithm 1 and section 5.1.

    >>> import inputgrad as ig
    >>> from torch import nn
    >>> weights = GradNorm(nn.MSELoss() + ig.GradientNorm())
    >>> weights.by_name()
    {'base': 1.0, 'gradient_norm': 1.0}
    """

    def __init__(self, parts: InputGradientLoss | Iterable[str], *, alpha: float = 1.5, lr: float = 0.025, smallest: float = 1e-3) -> None:
        super().__init__(parts)
        if not lr > 0 or not 0 < smallest < 1:
            raise ValueError(f"GradNorm: lr must be above 0, and smallest between 0 and 1; got lr={lr}, smallest={smallest}")
        self.alpha, self.lr, self.smallest = alpha, lr, smallest
        self.first: Tensor
        self.mean: Tensor
        self.square: Tensor
        self.steps: Tensor
        self.register_buffer("weights", torch.ones(len(self.names)))
        self.register_buffer("first", torch.full((len(self.names),), torch.nan))
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("square", torch.zeros(len(self.names)))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, losses: Mapping[str, Tensor], shared: Iterable[Tensor]) -> Tensor:
        """The weighted sum, 0-d."""
        values = self.stacked(losses)
        total = (self.weights.clone().to(values) * values).sum()
        if self.learns(values):
            parameters = trainable("GradNorm", shared)
            self._learn(values, torch.stack([_norm(losses[name], parameters) for name in self.names]))
        return total

    @torch.no_grad()
    def _learn(self, values: Tensor, norms: Tensor) -> None:
        values, norms = agreed(values.detach().to(self.weights)), agreed(norms.to(self.weights))
        self.first = torch.where(self.first.isnan(), values, self.first)
        rates = values / self.first
        wanted = (self.weights * norms).mean() * (rates / rates.mean()) ** self.alpha
        slopes = (self.weights * norms - wanted).sign() * norms
        steps, mean, square = self.steps + 1, torch.lerp(self.mean, slopes, 0.1), torch.lerp(self.square, slopes.square(), 0.001)
        direction = mean / (1 - 0.9**steps) / ((square / (1 - 0.999**steps)).sqrt() + 1e-8)
        moved = self.weights - self.lr * direction
        sound = moved.isfinite().all() & square.isfinite().all()  # a batch that overflows must not spoil all those after it
        new = {"steps": steps, "mean": mean, "square": square, "weights": _scaled(moved, self.smallest)}
        for name, value in new.items():
            setattr(self, name, torch.where(sound, value, getattr(self, name)))


def _scaled(weights: Tensor, smallest: float) -> Tensor:
    """The weights times one factor, or ``smallest`` where that would be less; their sum is their number."""
    weights = weights.clamp(min=smallest)
    low = torch.zeros_like(weights, dtype=torch.bool)
    for _ in range(len(weights)):  # each round finds at least one more that is too small, or none; never all
        rest = torch.where(low, 0, weights)
        scaled = torch.where(low, smallest, rest * (len(weights) - smallest * low.sum()) / rest.sum())
        low = low | (scaled < smallest)
    return scaled


def _norm(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """‖∂loss/∂parameters‖, 0-d."""
    squares = [part.square().sum() for part in gradients_by(loss, parameters)]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros_like(loss)
