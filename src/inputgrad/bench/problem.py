"""What is measured for a user: a model, one batch, and a loss, as a callable of the user's own returns them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import inputgrad as ig
from inputgrad import base_losses
from inputgrad.passes.outputs import default_output
from inputgrad.variables import ModelInputs

FORMS = "(model, inputs, target) or (model, inputs, target, criterion)"


@dataclass(frozen=True)
class Problem:
    """One training step of the user's."""

    model: nn.Module
    inputs: Any
    target: Any
    criterion: ig.InputGradientLoss

    @classmethod
    def of(cls, returned: Any) -> "Problem":
        """Raises `TypeError` for anything but one of the two forms."""
        if not isinstance(returned, (tuple, list)) or len(returned) not in (3, 4):
            raise TypeError(f"the callable must return {FORMS}, got {_described(returned)}")
        model, inputs, target, *rest = returned
        if not isinstance(model, nn.Module):
            raise TypeError(f"the callable must return {FORMS}; model is a {type(model).__name__}")
        criterion = rest[0] if rest else default_criterion(target)
        if not isinstance(criterion, ig.InputGradientLoss) or not criterion.terms:
            raise TypeError(f"criterion must be an inputgrad.InputGradientLoss with at least one term, got {type(criterion).__name__}")
        if not any(p.requires_grad for p in model.parameters()):
            raise TypeError("the model has no parameter that requires grad: there is no training step to measure")
        return cls(model, inputs, target, criterion)

    def plain(self) -> None:
        """The step of the base loss alone; without a base loss, of the output's mean."""
        self.model.zero_grad()
        output = (self.criterion.output or default_output)(ModelInputs.of(self.inputs).call(self.model))
        base: Callable[[Tensor, Any], Tensor] | None = self.criterion.base
        (output.mean() if base is None else base_losses.value(base, output, self.target)).backward()

    def base_alone(self) -> None:
        """As `plain`, and no gradient where there is no base loss."""
        if self.criterion.base is None:
            self.model.zero_grad()
        else:
            self.plain()


def default_criterion(target: Any) -> ig.InputGradientLoss:
    """Double backpropagation: cross entropy for whole numbers, squares for others, plus 0.1 · mean ‖∂loss/∂x‖²."""
    if not isinstance(target, Tensor):
        raise TypeError(f"the target is a {type(target).__name__}: return a criterion too, {FORMS}")
    base = nn.MSELoss() if target.is_floating_point() else nn.CrossEntropyLoss()
    return ig.InputGradientLoss(base, 0.1 * ig.GradientNorm(power=2, of="loss"))


def _described(returned: Any) -> str:
    kinds = ", ".join(type(item).__name__ for item in returned) if isinstance(returned, (tuple, list)) else None
    return type(returned).__name__ if kinds is None else f"{len(returned)} things ({kinds})"
