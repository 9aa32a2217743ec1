"""torch's plainest losses, without what their modules do in Python before the kernel."""

import torch
from torch import Tensor, nn

from inputgrad.torch_internals.modules import runs_its_class_alone


def sum_of_squared_errors(a: Tensor, b: Tensor) -> Tensor:
    """Σ (a − b)², 0-d, of two tensors of one shape, by one kernel. Read in torch 2.6 to 2.15. Missing: by several."""
    kernel = getattr(torch._C._nn, "mse_loss", None)
    if kernel is None or torch._C._len_torch_function_stack():
        return (a - b).square().sum()
    found: Tensor = kernel(a, b, _SUM)
    return found


_KERNELS: dict[type, str] = {nn.MSELoss: "mse_loss", nn.L1Loss: "l1_loss"}
_MEAN, _SUM = 1, 2
"""torch's numbers for ``reduction="mean"`` and ``"sum"``."""


def mean_by_kernel(loss: object, output: object, target: object) -> Tensor | None:
    """What `nn.MSELoss` and `nn.L1Loss` give for two tensors of one shape; None where calling the module does anything else.

    Broadcasting and the call of a module take longer than the kernel on a small batch. Read in torch 2.6 to 2.15. Missing: None.
    """
    kernel = getattr(torch._C._nn, _KERNELS.get(type(loss), ""), None)
    if kernel is None or type(output) is not Tensor or type(target) is not Tensor or output.shape != target.shape or output.device != target.device:
        return None
    if loss.reduction != "mean" or not runs_its_class_alone(loss) or torch._C._len_torch_function_stack():  # type: ignore[attr-defined, arg-type]  # a module of _KERNELS
        return None
    found: Tensor = kernel(output, target, _MEAN)
    return found
