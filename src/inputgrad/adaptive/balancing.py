"""Weights by how far each part of a loss has fallen (ReLoBRaLo), or by a noise that is learned (uncertainty)."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from inputgrad.adaptive.base import AdaptiveWeights, agreed, of_the_first_process
from inputgrad.loss import InputGradientLoss


class ReLoBRaLo(AdaptiveWeights):
    """Relative loss balancing with random lookback: parts that fell less than the others since the step before, or since the first, weigh more.

        λ̂_i(t, t′) = P · softmax_i( L_i(t) / (T L_i(t′)) )                                         P: number of parts
        λ_i(t) = α (ρ λ_i(t − 1) + (1 − ρ) λ̂_i(t, 0)) + (1 − α) λ̂_i(t, t − 1),   ρ ~ Bernoulli(E[ρ])

    parts: the criterion, or the names of its parts, in their order.
    alpha: α, how much of the weights is kept from step to step.
    temperature: T; 0 would be the worst part alone, ∞ equal weights.
    rho: E[ρ]; each lookback to the first losses has the probability 1 − rho.

    Defaults as in common code; the authors' script has T = 1 and ρ = 1. The weights are constants, so no pass is added. At the first step all are 1.

    When not: where a loss may be 0 or negative, of which ratios say nothing.
    Source: Bischof & Kraus 2025, "Multi-objective loss balancing for physics-informed deep learning", Computer Methods in Applied Mechanics and Engineering
    439, 117914 (arXiv:2110.09813 of 2021).

    >>> import inputgrad as ig
    >>> from torch import nn
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
            self._learn(agreed(values.detach().to(self.weights)))
        return (self.weights.clone().to(values) * values).sum()

    def _learn(self, values: Tensor) -> None:
        self.first = torch.where(self.first.isnan(), values, self.first)
        last = torch.where(self.last.isnan(), values, self.last)
        kept = of_the_first_process(torch.rand((), device=values.device)) < self.rho
        before = torch.where(kept, self.weights, self._balanced(values, self.first))
        weights = self.alpha * before + (1 - self.alpha) * self._balanced(values, last)
        sound = weights.isfinite().all()  # a batch that overflows must not spoil all those after it
        self.weights, self.last = torch.where(sound, weights, self.weights), torch.where(sound, values, self.last)

    def _balanced(self, values: Tensor, before: Tensor) -> Tensor:
        return len(self.names) * (values / (self.temperature * before + 1e-12)).softmax(0)


class UncertaintyWeights(AdaptiveWeights):
    """Weights by homoscedastic uncertainty: each part has a noise σ_i of its own, which is learned with the network.

        L = Σ_i L_i / (2 σ_i²) + log σ_i      (1/σ_i² for parts that are classification losses)

    The parameters are s_i = log σ_i², from 0: give them to the optimiser, ``Adam([*model.parameters(), *weights.parameters()])``. At the optimum
    σ_i² = L_i (2 L_i for classification). The sum may become negative.

    parts: the criterion, or the names of its parts, in their order.
    classification: names of the parts that are cross entropies.

    When not: as a matter of principle for penalties, which are not likelihoods: the weight then is 1 / (2 L_i) and grows without bound as L_i → 0.
    Source: Kendall, Gal & Cipolla 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics", CVPR, eq. 7 and 10.

    >>> import inputgrad as ig
    >>> from torch import nn
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
