"""Disentangled generators: the Hessian penalty and the orthogonal Jacobian, both variances over random signs of the input's components."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from inputgrad.batch import Batch
from inputgrad.errors import nearest, warn
from inputgrad.memory import memory
from inputgrad.passes.precision import widened
from inputgrad.terms.base import Per, Term
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import MODULE, Key, inner_module

Reduction = Literal["max", "max_of_outputs", "mean"]


@dataclass(frozen=True)
class _OverSigns(Term):
    """What both have in common: random signs v for each component of z, the layers, and the variance over v."""

    directions: int = 2
    epsilon: float = 0.1
    reduction: Any = "mean"
    wrt: Key = 0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name = type(self).__name__
        if isinstance(self.directions, bool) or not isinstance(self.directions, int) or self.directions < 2:
            raise ValueError(f"{name}: directions must be a whole number, at least 2, since a variance is taken over them; got {self.directions!r}")
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(f"{name}: epsilon must be positive and finite, got {self.epsilon}")
        if not isinstance(self.layers, (tuple, list)) or not all(isinstance(layer, str) and layer for layer in self.layers):
            raise TypeError(f'{name}: layers must be names of modules in a tuple, such as ("layer1", "layer2"), got {self.layers!r}')

    @property
    def per(self) -> Per:  # type: ignore[override]  # fixed by the class elsewhere, by a setting here
        """A statistic of the batch where the largest number of the batch is taken."""
        return "batch" if self.reduction == "max" else "sample"

    def __call__(self, batch: Batch) -> Tensor:
        z = batch.variable(self.wrt)
        here = self._activations(batch, z) if self.layers else [batch.output]
        signs = torch.randint(0, 2, (self.directions, *z.shape), dtype=z.dtype, device=z.device) * 2 - 1
        differences = [self._differences(batch, z, here, v) for v in signs]
        return torch.stack([self._reduced(torch.stack(layer).var(0).flatten(1)) for layer in zip(*differences, strict=True)]).sum(0)

    @abstractmethod
    def _differences(self, batch: Batch, z: Tensor, here: list[Tensor], v: Tensor) -> list[Tensor]:
        """What varies with v, one tensor a layer."""

    @abstractmethod
    def _reduced(self, variances: Tensor) -> Tensor:
        """``[N]``, or 0-d, of variances ``[N, C]``."""

    def _activations(self, batch: Batch, z: Tensor) -> list[Tensor]:
        """The outputs of the layers at another z, or that of the model."""
        caught: dict[str, Tensor] = {}
        handles = [inner_module(batch.model, f"{MODULE}{name}").register_forward_hook(_catch(caught, name)) for name in self.layers]
        try:
            output = batch.output_with({self.wrt: z})
        finally:
            for handle in handles:
                handle.remove()
        if missing := [name for name in self.layers if name not in caught]:
            raise ValueError(f"{type(self).__name__}: layers={missing} were not called in the model's forward pass; name others")
        return [caught[name] for name in self.layers] if self.layers else [output]


@dataclass(frozen=True)
class HessianPenalty(_OverSigns):
    """The variance of second directional differences over random signs: twice the energy of the Hessian beside its diagonal.

        R = max_{n,c} Var_v [ (f_c(z_n + εv) − 2 f_c(z_n) + f_c(z_n − εv)) / ε² ]  ≈  max_{n,c} 2 Σ_{i≠j} (∂²f_c/∂z_i∂z_j)²,      v ∈ {−1, 1}^D

    directions: how many v are drawn for each sample and step (the paper's k, 2); Var is the unbiased variance over them. epsilon: ε, 0.1 as published.
    reduction: "max", over outputs and batch, as the authors' code has it: then the term is a statistic of the batch. "max_of_outputs", as the paper writes
    it for one z (eq. 3): one number per sample. "mean" over the outputs: one number per sample.
    layers: names of inner modules whose outputs are penalised in place of the model's output, their penalties added up, as the paper does with several
    layers of a generator; one more pass per step. wrt: the input z, or an inner module's output.

    No second derivative is taken: 2k forward passes, on the step's own dropout masks. Where f is quadratic in z the difference is exact. The paper's eq. 2
    sums over i ≠ j; the variance is twice that (theorem 1), and the code keeps the 2, as here.

    When not: where components of z should act together, or have no axes of their own; for piecewise-linear networks and a small ε, whose second
    differences are mostly zero.

    Source: Peebles, Peebles, Zhu, Efros & Torralba 2020, "The Hessian penalty: a weak prior for unsupervised disentanglement", ECCV, eq. 2 and 3, theorem 1.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 0.1 * HessianPenalty()
    """

    directions: int = 2
    epsilon: float = 0.1
    reduction: Reduction = "max"
    wrt: Key = 0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction not in ("max", "max_of_outputs", "mean"):
            raise ValueError(f"HessianPenalty: reduction={self.reduction!r}: {nearest(self.reduction, ('max', 'max_of_outputs', 'mean'))}")

    def _reduced(self, variances: Tensor) -> Tensor:
        if self.reduction == "mean":
            return variances.mean(1)
        return variances.amax() if self.reduction == "max" else variances.amax(1)

    def _differences(self, batch: Batch, z: Tensor, here: list[Tensor], v: Tensor) -> list[Tensor]:
        """One per layer, of its shape ``[N, ...]``."""
        up, down = (self._activations(batch, z + sign * self.epsilon * v) for sign in (1, -1))
        # widened, since ε² divides the rounding
        differences = [widened(a) - 2 * widened(b) + widened(c) for a, b, c in zip(up, here, down, strict=True)]
        self._warn_if_rounding(batch.model, here, differences)
        return [difference / self.epsilon**2 for difference in differences]

    def _warn_if_rounding(self, model: nn.Module, values: list[Tensor], differences: list[Tensor]) -> None:
        """Warn once where every second difference is zero, or no larger than rounding makes it. Not yet where the model gives zeros only."""
        topic = (type(self), self.epsilon, "rounding")
        if is_tracing() or topic in memory(model).checked or not (size := max(float(value.detach().abs().max()) for value in values)):
            return
        memory(model).checked.add(topic)
        unit = max(torch.finfo(value.dtype).eps for value in values)
        largest = max(float(difference.detach().abs().max()) for difference in differences)
        if largest <= 8 * unit * size:
            warn(
                f"HessianPenalty: at epsilon={self.epsilon:g} every second difference of {type(model).__name__} is zero or rounding (at most {largest:.1g}, of "
                f"values up to {size:.1g}), so the term says nothing of its Hessian. Take a larger epsilon, 0.1 as published; networks of ReLUs are linear "
                "within a small step, others with smooth activations are not"
            )


@dataclass(frozen=True)
class OrthogonalJacobian(_OverSigns):
    """The orthogonal Jacobian (OroJaR): the changes of the output by different components of the input are perpendicular.

        R_n = Var_v ‖(f(z_n + εv) − f(z_n))/ε‖²₂  ≈  2 Σ_{i≠j} ⟨∂f/∂z_i, ∂f/∂z_j⟩²,      v ∈ {−1, 1}^D

    directions: how many v are drawn per sample and step (2); Var is the unbiased variance over them. epsilon: ε, 0.1 as published. reduction: "mean" over the
    batch, as in the authors' code, or "max": then the term is a statistic of the batch. layers: as in `HessianPenalty`. wrt: the input z.
    k + 1 passes, no derivative in the input; where f is linear in z the difference is exact.

    When not: where components of z should act together.

    Source: Wei, Shi, Liu, Ji, Gao, Wu & Zuo 2021, "Orthogonal Jacobian regularization for unsupervised disentanglement in image generation", ICCV.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 0.1 * OrthogonalJacobian()
    """

    reduction: Literal["max", "mean"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction not in ("max", "mean"):
            raise ValueError(f"OrthogonalJacobian: reduction={self.reduction!r}: {nearest(self.reduction, ('max', 'mean'))}")

    def _reduced(self, variances: Tensor) -> Tensor:
        return variances[:, 0] if self.reduction == "mean" else variances.amax()

    def _differences(self, batch: Batch, z: Tensor, here: list[Tensor], v: Tensor) -> list[Tensor]:
        """The squared length of the change, ``[N, 1]``."""
        there = self._activations(batch, z + self.epsilon * v)
        changes = [(widened(a) - widened(b)).flatten(1) / self.epsilon for a, b in zip(there, here, strict=True)]
        return [change.square().sum(1, keepdim=True) for change in changes]


def _catch(caught: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        if name in caught or not isinstance(output, Tensor):
            got = "is called several times in one forward pass" if name in caught else f"returns {type(output).__name__} and not a tensor"
            raise ValueError(f"HessianPenalty: the layer {name!r} {got}; name another")
        caught[name] = output

    return hook
