"""Perturbations that carry a state from call to call, and those that another library makes. Knows what a batch offers; knows no term and no engine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.heads import Of
from inputgrad.perturbations.attacks import check_radius, clipped
from inputgrad.perturbations.base import Bounds, Perturbation, check_bounds, warn_if_outside
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True, eq=False)
class PersistentPerturbation(Perturbation):
    """x̃ = clip(x + δ), δ carried from call to call: the perturbation of free adversarial training (Shafahi et al. 2019, algorithm 1).

        δ ← clip(δ + step_size·sign(∂s/∂x at x + δ), −ε, ε)      after the step, so that the parameters see the old δ

    epsilon: ε, the largest shift per feature, in units of the input.
    step_size: the length of a step; ε by default, as published.
    of: the score s, which δ climbs.
    bounds: (low, high) to which x̃ is clipped, such as (0, 1) for images; None for no bounds.
    wrt: the input that is moved.

    δ starts at 0, with one row for each place in the batch: a smaller batch takes and moves the first rows, a larger one gets zeros for the rest, and samples
    of another shape start again from 0. δ moves at steps of training only. One object belongs to one term, which keeps δ in the criterion's ``state_dict``.
    """

    epsilon: float
    step_size: float | None = None
    of: Of = "loss"
    bounds: Bounds = None
    wrt: Key = 0
    if TYPE_CHECKING:  # no field of the dataclass: fields are settings, and this goes on from step to step
        _delta: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_radius("PersistentPerturbation: epsilon", self.epsilon)
        if self.step_size is not None:
            check_radius("PersistentPerturbation: step_size", self.step_size)
        check_bounds(self.bounds)
        self._carry(torch.zeros(0))

    def _carry(self, delta: Tensor) -> None:
        object.__setattr__(self, "_delta", delta.detach())

    def state(self) -> dict[str, Tensor]:
        return {"delta": self._delta}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        delta = state.get("delta")
        if not isinstance(delta, Tensor):
            raise ValueError(f"PersistentPerturbation keeps its perturbation, a tensor under 'delta'; got a state with {sorted(state) or 'nothing'}")
        self._carry(delta.clone())

    def __call__(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        warn_if_outside(self, x, self.bounds)
        carried = self._delta.to(x)
        if carried.shape[1:] != x.shape[1:] or not len(carried):
            carried = torch.zeros_like(x)
        delta = carried[: len(x)]
        delta = torch.cat((delta, torch.zeros_like(x[len(delta) :])))
        point = clipped(x + delta, self.bounds)
        if batch.is_training_step:
            step = self.epsilon if self.step_size is None else self.step_size
            gradient = batch.gradient_at(point, of=self.of, wrt=self.wrt).nan_to_num(posinf=0, neginf=0)  # an overflow must not spoil all steps after it
            self._carry(torch.cat(((delta + step * gradient.sign()).clamp(-self.epsilon, self.epsilon), carried[len(x) :])))
        return point


@dataclass(frozen=True, eq=False)
class ExternalAttack(Perturbation):
    """x̃ = attack(model, x, target): what another attack library makes, such as foolbox or torchattacks, or a function of your own that runs the model.

    attack: a callable ``(model, x, target) -> tensor`` of the shape of x.
    evaluation: whether the model is in evaluation mode meanwhile, which most attack libraries ask for.
    wrt: the input that is moved.

    Attack libraries call ``backward`` on the model, which would add to the parameters' ``.grad`` in the middle of a step: while the attack runs the parameters
    require no gradient. Modes, buffers and ``.grad`` are as before afterwards. Not for the engine "compiled": it cannot be traced.

    >>> def attack(model, x, target):
    ...     import foolbox
    ...     x, target = foolbox.utils.ep.astensors(x, target)
    ...     return foolbox.attacks.LinfPGD(steps=10).run(foolbox.PyTorchModel(model, bounds=(0, 1)), x, target, epsilon=0.1).raw
    >>> perturbation = ExternalAttack(attack)
    """

    attack: Callable[[nn.Module, Tensor, Any], Tensor]
    evaluation: bool = True
    wrt: Key = 0

    def __post_init__(self) -> None:
        if not callable(self.attack) or isinstance(self.attack, type):
            raise TypeError(f"ExternalAttack: attack must be a callable (model, x, target) -> tensor, got {self.attack!r}")

    def __call__(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        with _left_as_it_is(batch.model, evaluation=self.evaluation):
            made = self.attack(batch.model, x.clone(), batch.target)
        if not isinstance(made, Tensor) or made.shape != x.shape:
            got = f"shape {list(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(f"ExternalAttack: attack must return a tensor of the shape of the input, {list(x.shape)}; got {got}")
        return made.detach().to(x)


@contextmanager
def _left_as_it_is(model: nn.Module, *, evaluation: bool) -> Iterator[None]:
    """Around a foreign pass of the model: no parameter asks for a gradient, and modes and buffers are put back."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    for parameter in learning:
        parameter.requires_grad_(False)
    for module in training if evaluation else ():
        module.training = False
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


Carried, Foreign = PersistentPerturbation, ExternalAttack
"""Their names in earlier versions."""
