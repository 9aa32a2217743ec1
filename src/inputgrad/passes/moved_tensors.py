"""Around a formula that holds tensors of the CPU while the batch is on a device: where the two meet, the CPU's are moved there, each once."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.devices import moved_once
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import writes_to


class MovedTensors(TorchFunctionMode):
    """While active, functions of torch take tensors of the CPU beside a device's. What is written to stays where it is, and torch says what is wrong."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        leaves, structure = pytree.flatten((args, kwargs))
        device = next((leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.device.type not in ("cpu", "meta")), None)
        if device is None:
            return func(*args, **kwargs)
        written = {id(tensor) for tensor in writes_to(func, args, kwargs)}
        moved = [moved_once(leaf, device) if _is_of_the_cpu(leaf) and id(leaf) not in written else leaf for leaf in leaves]
        args, kwargs = pytree.unflatten(moved, structure)
        return func(*args, **kwargs)


def _is_of_the_cpu(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.dim() > 0
