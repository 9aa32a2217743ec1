"""Models that are linear in pieces, such as networks of ReLU units: their second derivatives are zero, and what a term says of those trains nothing."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from inputgrad.errors import warn
from inputgrad.memory import memory
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.tracing import is_tracing

_INSTEAD = "Use smooth activations, such as nn.Tanh, nn.SiLU or nn.Softplus"


class TwiceDifferentiable(Protocol):
    """A field."""

    def second_order(self) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """Output and coordinates in one graph, where more than first derivatives were asked for."""


def warn_if_flat(term: str, model: nn.Module, output: Tensor, variables: Sequence[Tensor], instead: str = "") -> None:
    """Warn once for each term and model where the second derivatives of the output in the variables are all zero.

    term: the name of the term that asks for them. output, variables: in one graph, which is kept. instead: another way out than smooth activations.
    Looked at in the first step; later ones look again only while the first derivatives are all zero, as they are where a last layer starts at zero.
    """
    known, key = memory(model), ("second derivatives are not zero", term)
    if key in known.checked or is_tracing():
        return
    found = _is_flat(output, variables)
    if found is None:
        return
    known.checked.add(key)
    if found and known.once(("flat", term)):
        warn(
            f"{term}: the second derivative of {type(model).__name__} in its input is zero wherever it exists, so what the term says of second derivatives "
            f"trains nothing: networks of ReLUs are linear in pieces. {_INSTEAD}{instead}"
        )


def warn_if_field_is_flat(term: str, model: nn.Module, field: TwiceDifferentiable) -> None:
    """The same of a field, after a term has asked for its derivatives; nothing where it asked for first ones only."""
    if not is_tracing() and ("second derivatives are not zero", term) not in memory(model).checked and (here := field.second_order()) is not None:
        warn_if_flat(term, model, *here)


def told_of(term: str, model: nn.Module) -> bool:
    """Whether the warning was given."""
    return ("flat", term) in memory(model).warned


def _is_flat(output: Tensor, variables: Sequence[Tensor]) -> bool | None:
    """Whether vᵀHw is zero at every sample, along fixed v for fixed weights w of the outputs; None where the first derivative is zero too."""
    if not output.requires_grad or not all(z.requires_grad for z in variables):
        return None
    with torch.enable_grad():
        try:
            first = torch.autograd.grad((output * _fixed(output)).sum(), variables, create_graph=True, allow_unused=True)
            there = [part for part in first if part is not None]
            if not any(bool(part.detach().any()) for part in there):
                return None
            curved = [(part * _fixed(part)).sum() for part in there if part.requires_grad]
            second = torch.autograd.grad(curved, variables, retain_graph=True, allow_unused=True) if curved else ()
        except RuntimeError as error:  # the term itself says what cannot be differentiated
            if messages.is_machine_error(error):
                raise
            return None
    return not any(part is not None and bool(part.any()) for part in second)


def _fixed(like: Tensor) -> Tensor:
    """Numbers that are nothing in particular, without a draw."""
    return torch.arange(1, like.numel() + 1, dtype=torch.float32, device=like.device).cos().reshape(like.shape).to(like.dtype)
