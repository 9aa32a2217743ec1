"""Models that are linear in pieces, such as networks of ReLU units: their second derivatives are zero, and what a term says of those trains nothing."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from inputgrad.errors import warn
from inputgrad.memory import memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.tracing import is_tracing

SAMPLES = 4
_KEY = "second derivatives are not zero"


class TwiceDifferentiable(Protocol):
    """A field."""

    def second_order(self) -> ForwardPass | None:
        """Its pass, where more than first derivatives were asked for."""


def warn_if_flat(term: str, model: nn.Module, first: Sequence[Tensor], second: Sequence[Tensor], instead: str = "") -> None:
    """Warn once for each term and model where all these second derivatives in the input are zero.

    term: the name of the term that has taken them. first: the first derivatives. instead: another way out than smooth activations.
    Looked at in the first step; later ones look again only while the first derivatives are all zero too, as they are where a last layer starts at zero.
    """
    known = memory(model)
    if (_KEY, term) in known.checked or is_tracing() or not any(bool(part.detach().any()) for part in first):
        return
    known.checked.add((_KEY, term))
    if not any(bool(part.detach().any()) for part in second) and known.once(("flat", term)):
        warn(
            f"{term}: the second derivative of {type(model).__name__} in its input is zero wherever it exists, so what the term says of second derivatives "
            f"trains nothing: networks of ReLUs are linear in pieces. Use smooth activations, such as nn.Tanh, nn.SiLU or nn.Softplus{instead}"
        )


def warn_if_field_is_flat(term: str, model: nn.Module, field: TwiceDifferentiable) -> bool | None:
    """The same of a field, after a term has asked for its derivatives, on a few of its points; nothing where it asked for first derivatives only.

    Gives whether it need not be looked at again; None where first derivatives are all that this one was asked for.
    """
    if (_KEY, term) in memory(model).checked or is_tracing():
        return True
    forward = field.second_order()
    if forward is None or not forward.placement.local:
        return None
    try:
        with forward.outside():
            first, second = _derivatives(forward.of_first_samples(SAMPLES))
    except Exception as error:  # the term itself has said what cannot be run or differentiated
        if messages.is_machine_error(error):
            raise
        return False
    warn_if_flat(term, model, first, second)
    return (_KEY, term) in memory(model).checked


def told_of(term: str, model: nn.Module) -> bool:
    """Whether the warning was given."""
    return ("flat", term) in memory(model).warned


def _derivatives(forward: ForwardPass) -> tuple[list[Tensor], list[Tensor]]:
    """The gradient of a weighted sum of the outputs in the variables, and H v for a fixed v."""
    here = forward.primal()
    variables = list(here.variables.values())
    found = torch.autograd.grad((here.output * _fixed(here.output)).sum(), variables, create_graph=True, allow_unused=True)
    first = [part for part in found if part is not None]
    curved = [(part * _fixed(part)).sum() for part in first if part.requires_grad]
    second = torch.autograd.grad(curved, variables, allow_unused=True) if curved else ()
    return first, [part for part in second if part is not None]


def _fixed(like: Tensor) -> Tensor:
    """Numbers that are nothing in particular, without a draw."""
    return torch.arange(1, like.numel() + 1, dtype=torch.float32, device=like.device).cos().reshape(like.shape).to(like.dtype)
