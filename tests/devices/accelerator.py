"""The accelerator that the tests of this folder run on, and why there is none."""

import torch
from torch import nn

from inputgrad.torch_internals import pytree
from tests.zoo import Specimen

KINDS = ("cuda", "xpu", "mps")


def device() -> torch.device | None:
    """The first accelerator, None on a machine without one."""
    for kind in KINDS:
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            return torch.device(kind)
    return None


DEVICE = device()
REASON = f"no accelerator here: torch {torch.__version__} finds none of {', '.join(KINDS)}"
PRECISION = torch.float32 if DEVICE is not None and DEVICE.type == "mps" else torch.float64
"""Metal has no float64."""


def moved(specimen: Specimen, size: int) -> tuple[nn.Module, object]:
    """A model of the zoo and its inputs on the device."""

    def there(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(DEVICE, PRECISION if tensor.is_floating_point() else tensor.dtype)

    return specimen.make().to(DEVICE, PRECISION), pytree.map_only(torch.Tensor, there, specimen.data(size))
