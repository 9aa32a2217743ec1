"""The fast gradient sign method: one step along the sign of the input gradient. Must not know terms and engines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inputgrad.heads import Of
from inputgrad.perturbations.base import Bounds, Move, Perturbation, check_bounds, check_move, moved, warn_if_outside
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True)
class FGSM(Perturbation):
    """x̃ = clip(x ± ε·sign(∂s/∂x)), the fast gradient sign method (Goodfellow, Shlens & Szegedy 2015).

    epsilon: ε, the step in units of the input; 0 leaves the input as it is.
    move: "ascend" (+ε: up the score) or "descend" (−ε: down the score).
    of: the score s. ``FGSM(ε)`` goes up each sample's own loss: adversarial training. ``FGSM(ε, of="output", move="descend")`` goes down the output.
    bounds: (low, high) into which x̃ is clipped, such as (0, 1) for images; None for no bounds.
    wrt: the input that is moved.
    """

    epsilon: float
    of: Of = "loss"
    move: Move = "ascend"
    bounds: Bounds = None
    wrt: Key = 0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f'FGSM: epsilon must be at least 0 and finite, got {self.epsilon}; for the other direction use move="descend"')
        check_move(self.move)
        check_bounds(self.bounds)

    @classmethod
    def up_the_loss(cls, epsilon: float, **settings: Any) -> "FGSM":
        """x + ε·sign(∂loss/∂x): the perturbed input is harder. Minimising the loss there is adversarial training."""
        return cls(epsilon, of="loss", move="ascend", **settings)

    @classmethod
    def down_the_output(cls, epsilon: float, **settings: Any) -> "FGSM":
        """x − ε·sign(∂output/∂x): the perturbed input gives a lower output, whatever the target."""
        return cls(epsilon, of="output", move="descend", **settings)

    def __call__(self, batch: "Batch") -> Tensor:
        gradient = batch.gradient(of=self.of, wrt=self.wrt, constant=True)
        if gradient.shape != (x := batch.variable(self.wrt)).shape:
            raise ValueError(f"FGSM needs a head of one score per sample, and {self.of!r} gave a gradient of shape {list(gradient.shape)}")
        warn_if_outside(self, x, self.bounds)
        return moved(x, gradient, self.epsilon, move=self.move, scaling="sign", bounds=self.bounds)
