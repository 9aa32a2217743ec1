"""Around a formula that holds tensors of the CPU while the batch is on a device: where the two meet, the CPU's are moved there, each once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.devices import moved_once
from inputgrad.torch_internals import messages, pytree
from inputgrad.torch_internals.function_modes import writes_to


class MovedTensors(TorchFunctionMode):
    """While active, functions of torch take tensors of the CPU beside a device's. What is written to stays where it is, and torch says what is wrong."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        leaves, structure = pytree.flatten((args, kwargs))
        device = next((leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.device.type not in ("cpu", "meta")), None)
        if device is None or func in _OF_AUTOGRAD:
            return func(*args, **kwargs)
        written = {id(tensor) for tensor in writes_to(func, args, kwargs)}
        moved = [moved_once(leaf, device) if _is_of_the_cpu(leaf) and id(leaf) not in written else leaf for leaf in leaves]
        args, kwargs = pytree.unflatten(moved, structure)
        return func(*args, **kwargs)


_OF_AUTOGRAD = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
"""What they are given tells them where to go: a moved tensor would be another one."""


def on_one_device(error: RuntimeError, formula: Callable[[], Any], name: str, output: Any, target: Any) -> Any:
    """A formula of (output, target) again, after torch has said that tensors of two devices meet in it, with what it holds on the CPU moved, each once.

    Raises any other error as it is, and `ValueError` where the target is on another device than the output, or what meets cannot be moved.
    """
    if messages.is_machine_error(error) or not messages.OTHER_DEVICE.is_in(error):
        raise error
    places, targets = _devices(output), _devices(target)
    told = f"{name} computes with tensors of two devices: the output is on {_listed(places)}, the target on {_listed(targets)}"
    said = f"(torch: {(str(error).splitlines() or [''])[0]!r}). Move the target there, target.to(output.device), and what a loss holds, criterion.to(device)"
    if not targets <= places:
        raise ValueError(f"{told} {said}") from error
    try:
        with MovedTensors():
            return formula()
    except RuntimeError as again:
        if messages.is_machine_error(again) or not messages.OTHER_DEVICE.is_in(again):
            raise
        raise ValueError(f"{told} {said}") from again


def _devices(value: Any) -> set[torch.device]:
    return {leaf.device for leaf in pytree.leaves(value) if isinstance(leaf, Tensor) and leaf.dim()}


def _listed(places: set[torch.device]) -> str:
    return " and ".join(sorted(map(str, places))) or "no device"


def _is_of_the_cpu(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.dim() > 0
