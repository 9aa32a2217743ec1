"""Lagrange's equations: accelerations from second derivatives of a learned Lagrangian, against measured ones."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inputgrad.batch import Batch
from inputgrad.heads import Of
from inputgrad.operators.differentiation import gradients
from inputgrad.passes.flat_models import warn_if_flat
from inputgrad.passes.precision import widened
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import Norm, Reduction, check_distance, distance, shaped
from inputgrad.terms.missing_labels import counted, known
from inputgrad.variables import Key


@dataclass(frozen=True, eq=False)
class LagrangesEquations(Term):
    """Lagrange's equations: the accelerations that a learned Lagrangian gives, against measured ones.

        R_n = Σ_i |q̈_ni − q̈*_ni|²,   q̈ = (∂²L/∂q̇∂q̇)⁺ (∂L/∂q − (∂²L/∂q̇∂q) q̇)        ⁺: the pseudo-inverse

    The input is x = [q, q̇] ``[N, 2d]``, the model's output L, one number per sample. acceleration: q̈*, ``[N, d]``: the target itself by default (None), a
    name or position in it, a tensor, or a callable of the batch; NaN is a missing one. norm, reduction: as in `GradientMatch`. of: the score that is L.
    wrt: the input x.

    The term itself differentiates the model twice with respect to the input, whatever the engine, by 1 + d backward passes.

    When not: for networks of ReLU units, whose second derivative is zero; near velocities at which ∂²L/∂q̇∂q̇ is singular the accelerations explode.

    Source: Cranmer, Greydanus, Hoyer, Battaglia, Spergel & Ho 2020, "Lagrangian neural networks", ICLR workshop (arXiv:2003.04630).

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, LagrangesEquations())
    """

    acceleration: TensorRef | None = None
    norm: Norm = "squared"
    reduction: Reduction = "sum"
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if self.acceleration is not None:
            check_tensor_ref("LagrangesEquations: acceleration", self.acceleration)
        check_distance("LagrangesEquations", self.norm, self.reduction)

    @classmethod
    def example(cls) -> "LagrangesEquations":
        return cls(lambda batch: batch.variable(0).chunk(2, 1)[0])

    def variables(self) -> tuple[Key, ...]:
        return ()  # it asks for no input gradient

    def __call__(self, batch: Batch) -> Tensor:
        output, (x,) = batch.output_and_variables(self.wrt)
        if x.dim() != 2 or x.shape[1] % 2:
            raise ValueError(f"LagrangesEquations: the input must be x = [q, q̇], [N, 2d]; got {list(x.shape)}")
        lagrangian = batch.scores(output, self.of)
        if lagrangian.dim() != 1:
            raise ValueError(f"LagrangesEquations needs a head of one number per sample, and {self.of!r} gave {list(lagrangian.shape)}")
        predicted = accelerations(lagrangian, x, self.wrt, batch.model)
        counts, wanted = known(shaped("LagrangesEquations: acceleration", self._measured(batch), predicted))
        return distance(counted(predicted - wanted, counts), counts, self.norm, self.reduction, lambda parts: parts.sum(-1))

    def _measured(self, batch: Batch) -> Tensor:
        name = "LagrangesEquations: acceleration"
        given = batch.target if self.acceleration is None else resolve_tensor(name, self.acceleration, batch)
        if not isinstance(given, Tensor):
            raise TypeError(f"{name}: the target must then be the tensor of accelerations, [N, d], got {type(given).__name__}: name its part")
        return given


def accelerations(lagrangian: Tensor, x: Tensor, name: Key = 0, model: nn.Module | None = None) -> Tensor:
    """q̈ ``[N, d]`` of a Lagrangian ``[N]`` at x = [q, q̇], with its graph. model: whose it is, to be warned of where it has no second derivative."""
    (first,) = gradients(lagrangian, [x], [name])
    by_position, by_velocity = first.chunk(2, 1)
    second = torch.stack([gradients(row, [x])[0] for row in by_velocity.unbind(1)], 1)
    if model is not None:
        warn_if_flat("LagrangesEquations", model, [first], [second])
    mixed, mass = widened(second).chunk(2, 2)
    velocity = x.chunk(2, 1)[1].to(mixed.dtype)
    force = by_position.to(mixed.dtype) - (mixed @ velocity[:, :, None])[:, :, 0]
    return (torch.linalg.pinv(mass) @ force[:, :, None])[:, :, 0]
