"""What adaptive weights have in common: the parts by name, when they learn, and agreement between processes."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from inputgrad.distributed.joined import is_joined
from inputgrad.errors import Suggesting
from inputgrad.loss import InputGradientLoss
from inputgrad.step.active_terms import part_names as names_of


class AdaptiveWeights(nn.Module, metaclass=Suggesting):
    """The weights of the parts of a criterion; the classes below say how they are set.

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
        """The current weights, for a log."""
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def stacked(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The losses in the order of the names, ``[P]``. Raises `ValueError` where they are not those that the object was made for."""
        if set(losses) != set(self.names):
            raise ValueError(
                f"{type(self).__name__} was made for the parts {list(self.names)} and got {list(losses)}: adaptive weights need every part at every step, "
                "so leave out scheduled(every=...)"
            )
        values = torch.stack([losses[name] for name in self.names])
        if self.weights.device != values.device:
            for name, buffer in list(self.named_buffers()):
                if buffer.is_floating_point():  # a count of calls, which the host looks at, stays
                    setattr(self, name, buffer.to(values.device))
        return values

    def learns(self, losses: Tensor) -> bool:
        """Whether this call is one of training."""
        return self.training and torch.is_grad_enabled() and losses.requires_grad


def agreed(value: Tensor) -> Tensor:
    """The mean over the processes."""
    if is_joined():
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= torch.distributed.get_world_size()
    return value


def of_the_first_process(value: Tensor) -> Tensor:
    """The value of the first process, on all of them."""
    if is_joined():
        torch.distributed.broadcast(value, 0)
    return value


def gradients_by(loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """∂loss/∂parameter for each that the loss reaches, half precision widened; the graph stays for the backward pass to come."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) if loss.requires_grad else ()
    return [part.float() if part.dtype.itemsize < 4 else part for part in found if part is not None]


def trainable(name: str, shared: Iterable[Tensor]) -> list[Tensor]:
    """The parameters that require grad. Raises `ValueError` where there is none."""
    parameters = [parameter for parameter in shared if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"{name}: shared holds no parameter that requires grad; give those of a layer that all parts reach, such as layer.parameters()")
    return parameters
