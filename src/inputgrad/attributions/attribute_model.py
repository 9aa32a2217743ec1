"""The attributions of a model as it stands, without training. Must not know engines."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.attributions.methods import Attribution, check_attribution
from inputgrad.errors import suggesting
from inputgrad.loss import InputGradientLoss
from inputgrad.terms.function_term import FunctionTerm

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@suggesting
def attribute(method: "Attribution | Callable[[Batch], Tensor]", model: Any, inputs: Any, target: Any = None, *, base: Any = None) -> Tensor:
    """The attributions of a model as it stands, ``[N, *input]``, detached: to look at, not to train with.

    method: an attribution such as ``IntegratedGradients()``, or a callable ``batch -> [N, *input]``.
    model: the module. inputs: a tensor, a tuple or a dict. target: what the method's head needs, such as labels.
    base: the base loss, for ``of="loss"`` only.

    The model keeps the mode it is in, and nothing of it changes.

    >>> from inputgrad.attributions import IntegratedGradients
    >>> model = torch.nn.Linear(3, 2)
    >>> attribute(IntegratedGradients(steps=1, of="label"), model, torch.ones(4, 3), torch.tensor([0, 1, 0, 1])).shape
    torch.Size([4, 3])
    """
    check_attribution("attribute: method", method)
    kept: list[Tensor] = []

    def keep(batch: "Batch") -> Tensor:
        kept.append(method(batch).detach())
        return kept[-1].sum()

    with torch.no_grad():
        InputGradientLoss(base, FunctionTerm(keep, per="batch", wrt=getattr(method, "wrt", 0)))(model, inputs, target)
    return kept[-1]
