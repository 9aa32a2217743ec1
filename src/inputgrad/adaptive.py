"""Adaptive weights: methods that set the weights of a loss's parts while it trains, on what ``criterion.losses`` hands out.

    losses = criterion.losses(model, inputs, target)       # the parts, each with its own graph and without its weight
    weights(losses).backward()

The criterion's own weights play no part. Each object is a module: its state is in its ``state_dict``, and it learns in training mode only, where gradients
are enabled. In a distributed run the processes agree on the weights. Knows the criterion's names of its parts; knows no engine.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from inputgrad.loss import InputGradientLoss
from inputgrad.step.active_terms import part_names as names_of


class AdaptiveWeights(nn.Module):
    """The weights of the parts of a criterion; concrete classes say how they are set.

    parts: the criterion, or the names of its parts, in their order.
    """

    weights: Tensor

    def __init__(self, parts: InputGradientLoss | Iterable[str]) -> None:
        super().__init__()
        if isinstance(parts, InputGradientLoss):
            parts = [*(["base"] if parts.base is not None else []), *names_of(parts.terms)]
        self.names = tuple(parts)
        if len(self.names) < 2:
            raise ValueError(f"{type(self).__name__} weighs parts against each other, and got {list(self.names)}: give a criterion of at least two parts")

    def by_name(self) -> dict[str, float]:
        """The weights as they stand, for a log."""
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def stacked(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The losses in the order of the names, ``[P]``. Raises `ValueError` where they are not those that the object was made for."""
        if set(losses) != set(self.names):
            raise ValueError(
                f"{type(self).__name__} was made for the parts {list(self.names)} and got {list(losses)}: adaptive weights need every part at every step, "
                "so leave out scheduled(every=...)"
            )
        return torch.stack([losses[name] for name in self.names])

    def learns(self, losses: Tensor) -> bool:
        """Whether this call is one of training."""
        return self.training and torch.is_grad_enabled() and losses.requires_grad


class GradNorm(AdaptiveWeights):
    """GradNorm: weights under which all parts train at similar rates.

        G_i = ‖∇_W w_i L_i‖,   r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),   L_grad = Σ_i |G_i − mean(G) r_i^α|
        w ← one step of Adam on ∂L_grad/∂w,   then scaled so that Σ_i w_i is the number of parts

    ``weights(losses, shared)``: shared are the parameters W that all parts reach, such as those of the last hidden layer. The loss of a step has the weights
    from before the step. alpha: α, how strongly slow parts are favoured. lr: the rate of Adam, 0.025 as published, with betas (0.9, 0.999) and 1e-8; a
    common factor on all losses therefore changes nothing. L_i(0) are the losses of the first call; where one is 0 there, its rate cannot be told. Since G_i is
    linear in w_i, the derivative is sign(…)·‖∇_W L_i‖: a first derivative per part, no second.
    smallest: weights stay at least so large, after scaling too, which the paper leaves open. In a distributed run losses and norms are averaged over the
    processes.

    When not: with many parts, each of which costs a backward pass more; where a part is to vanish in the end, for it is then pushed ever harder.
    Source: Chen et al. 2018, "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML, algorithm 1 and section 5.1.

    >>> import inputgrad as ig
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
            parameters = [parameter for parameter in shared if parameter.requires_grad]
            if not parameters:
                raise ValueError(
                    "GradNorm: shared holds no parameter that requires grad; give those of a layer that all parts reach, such as layer.parameters()"
                )
            self._learn(values, torch.stack([_norm(losses[name], parameters) for name in self.names]))
        return total

    @torch.no_grad()
    def _learn(self, values: Tensor, norms: Tensor) -> None:
        values, norms = _agreed(values.detach().to(self.weights)), _agreed(norms.to(self.weights))
        self.first = torch.where(self.first.isnan(), values, self.first)
        rates = values / self.first
        wanted = (self.weights * norms).mean() * (rates / rates.mean()) ** self.alpha
        slopes = (self.weights * norms - wanted).sign() * norms
        steps, mean, square = self.steps + 1, torch.lerp(self.mean, slopes, 0.1), torch.lerp(self.square, slopes.square(), 0.001)
        direction = mean / (1 - 0.9**steps) / ((square / (1 - 0.999**steps)).sqrt() + 1e-8)
        moved = self.weights - self.lr * direction
        if bool(moved.isfinite().all() & square.isfinite().all()):  # a batch that overflows must not spoil all those after it
            self.steps, self.mean, self.square = steps, mean, square
            self.weights = _scaled(moved, self.smallest)


class ReLoBRaLo(AdaptiveWeights):
    """Relative loss balancing with random lookback: parts that fell less than the others since the step before, or since the first, weigh more.

        λ̂_i(t, t′) = P · softmax_i( L_i(t) / (T L_i(t′)) )                                         P: number of parts
        λ_i(t) = α (ρ λ_i(t − 1) + (1 − ρ) λ̂_i(t, 0)) + (1 − α) λ̂_i(t, t − 1),   ρ ~ Bernoulli(E[ρ])

    temperature: T; 0 would be the worst part alone, ∞ equal weights. alpha: α. rho: E[ρ]; each lookback to the first losses has the probability 1 − rho.
    Defaults as in common code; the authors' script has T = 1 and ρ = 1. The weights are constants, so no pass is added. At the first step all are 1.

    When not: where a loss may be 0 or negative, of which ratios say nothing.
    Source: Bischof & Kraus 2025, "Multi-objective loss balancing for physics-informed deep learning", Computer Methods in Applied Mechanics and Engineering
    439, 117914 (arXiv:2110.09813 of 2021).

    >>> import inputgrad as ig
    >>> weights = ReLoBRaLo(nn.MSELoss() + ig.GradientNorm(), temperature=1.0)
    """

    def __init__(self, parts: InputGradientLoss | Iterable[str], *, alpha: float = 0.999, temperature: float = 0.1, rho: float = 0.99) -> None:
        super().__init__(parts)
        if not 0 <= alpha <= 1 or not 0 <= rho <= 1 or not temperature > 0:
            raise ValueError(f"ReLoBRaLo: alpha and rho must lie in [0, 1], temperature above 0; got alpha={alpha}, rho={rho}, temperature={temperature}")
        self.alpha, self.temperature, self.rho = alpha, temperature, rho
        self.first: Tensor
        self.last: Tensor
        self.register_buffer("weights", torch.ones(len(self.names)))
        for name in ("first", "last"):
            self.register_buffer(name, torch.full((len(self.names),), torch.nan))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum, 0-d."""
        values = self.stacked(losses)
        if self.learns(values):
            self._learn(_agreed(values.detach().to(self.weights)))
        return (self.weights.clone().to(values) * values).sum()

    def _learn(self, values: Tensor) -> None:
        self.first = torch.where(self.first.isnan(), values, self.first)
        last = torch.where(self.last.isnan(), values, self.last)
        kept = _of_the_first_process(torch.rand((), device=values.device)) < self.rho
        before = torch.where(kept, self.weights, self._balanced(values, self.first))
        weights = self.alpha * before + (1 - self.alpha) * self._balanced(values, last)
        if bool(weights.isfinite().all()):  # a batch that overflows must not spoil all those after it
            self.weights, self.last = weights, values

    def _balanced(self, values: Tensor, before: Tensor) -> Tensor:
        return len(self.names) * (values / (self.temperature * before + 1e-12)).softmax(0)


class UncertaintyWeights(AdaptiveWeights):
    """Weights by homoscedastic uncertainty: each part has a noise σ_i of its own, which is learned with the network.

        L = Σ_i L_i / (2 σ_i²) + log σ_i      (1/σ_i² for parts that are classification losses)

    The parameters are s_i = log σ_i², from 0: give them to the optimiser, ``Adam([*model.parameters(), *weights.parameters()])``. At the optimum
    σ_i² = L_i (2 L_i for classification). classification: names of the parts that are cross entropies. The sum may become negative.

    When not: as a matter of principle for penalties, which are no likelihood: the weight then is 1 / (2 L_i) and grows without bound as L_i → 0.
    Source: Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics", CVPR, eq. 7 and 10.

    >>> import inputgrad as ig
    >>> weights = UncertaintyWeights(nn.CrossEntropyLoss() + ig.GradientNorm(), classification=["base"])
    >>> weights.by_name()
    {'base': 1.0, 'gradient_norm': 0.5}
    """

    def __init__(self, parts: InputGradientLoss | Iterable[str], *, classification: Collection[str] = ()) -> None:
        super().__init__(parts)
        if isinstance(classification, str) or not set(classification) <= set(self.names):
            raise ValueError(f"UncertaintyWeights: classification must be a list of names among {list(self.names)}, got {classification!r}")
        self.factors: Tensor
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("factors", torch.tensor([1.0 if name in classification else 0.5 for name in self.names]))

    @property
    def weights(self) -> Tensor:  # type: ignore[override]  # a buffer elsewhere, here what the parameters say
        return self.factors * (-self.log_variances.detach()).exp()

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum with its regulariser, 0-d."""
        values = self.stacked(losses)
        variances = self.log_variances.to(values)
        return (self.factors.to(values) * (-variances).exp() * values + variances / 2).sum()


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
    """‖∂loss/∂parameters‖, 0-d; the graph stays for the backward pass to come."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) if loss.requires_grad else ()
    squares = [part.float().square().sum() if part.dtype.itemsize < 4 else part.square().sum() for part in found if part is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros_like(loss)


def _agreed(value: Tensor) -> Tensor:
    """The mean over the processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= torch.distributed.get_world_size()
    return value


def _of_the_first_process(value: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(value, 0)
    return value
