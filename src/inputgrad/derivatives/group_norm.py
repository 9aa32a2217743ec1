"""Group normalisation, and instance normalisation without running statistics, which is one group a channel.

The formula is in `standardised`; here: sums over each channel of each sample by torch's own fused reductions, and group means as a product with a constant
block matrix (a compiler then keeps its loops vectorised). Covers float32 and float64 outside autocast. Must not know of models, engines or terms.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives import group_norm_traced
from inputgrad.derivatives.standardised import Sums, combined, second_derivative
from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, run
from inputgrad.torch_internals.kernels import suggested_memory_format
from inputgrad.torch_internals.tracing import is_tracing

aten = torch.ops.aten

Settings = tuple[int, float]
"""Number of groups, ε."""


def _forward(settings: Settings, x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensors]:
    groups, eps = settings
    if is_tracing():
        return group_norm_traced.forward(_average(x, groups), eps, x, w, b)
    n, c = x.shape[:2]
    y, mean, r = aten.native_group_norm(_laid_out(x, x), w, b, n, c, x[0, 0].numel(), groups, eps)
    return y, (mean, r)


def _backward(settings: Settings, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    if is_tracing():
        return group_norm_traced.backward(_average(x, settings[0]), gy, tensors, kept, wanted)
    n, c = x.shape[:2]
    return tuple(aten.native_group_norm_backward(_laid_out(gy, x), _laid_out(x, x), *kept, w, n, c, x[0, 0].numel(), settings[0], list(wanted)))


def _second(settings: Settings, u: Tensors, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    groups = settings[0]
    if is_tracing():
        return group_norm_traced.second(_average(x, groups), u[0], gy, tensors, kept, wanted)
    n, c = x.shape[:2]
    maps = [t.contiguous().view(n, c, -1) for t in (u[0], gy, x)]
    mean, r = (t.view(n, groups, 1).expand(n, groups, c // groups).reshape(n, c, 1) for t in kept)
    sums = [_sums(t, maps[2], kept, groups) for t in maps[:2]]
    weight = 1.0 if w is None else w.view(1, c, 1)
    u_gy = (maps[0] * maps[1]).sum(2, keepdim=True)
    found = second_derivative(sums[0], sums[1], u_gy, weight, mean, r, _average(x, groups))
    return (
        combined(found.ggy, maps[0], maps[2]).view(x.shape) if wanted[0] else None,
        combined(found.gx, *maps).view(x.shape) if wanted[1] else None,
        found.gw.sum((0, 2)) if wanted[2] else None,
        None,
    )


def _laid_out(t: Tensor, x: Tensor) -> Tensor:
    """In the memory layout that torch's group normalisation of x would use: dropout draws in the order of memory, so another one changes its mask."""
    return t.contiguous(memory_format=suggested_memory_format(x) if x.device.type == "cpu" else torch.contiguous_format)


def _average(x: Tensor, groups: int) -> Callable[[Tensor], Tensor]:
    n, c, positions = x.shape[0], x.shape[1], x[0, 0].numel()
    if groups == c:
        return lambda t: t / positions
    block = torch.kron(torch.eye(groups, dtype=x.dtype, device=x.device), x.new_full((c // groups, c // groups), groups / (c * positions)))
    return lambda t: (t.view(n, c) @ block).view(t.shape)


def _sums(t: Tensor, x: Tensor, kept: Tensors, groups: int) -> Sums:
    """Σ t and Σ t x̂ over each channel ``[N, C, positions]`` of each sample: what a backward pass of one sample with N C channels gives as weight gradients."""
    n, c, positions = x.shape
    one = (1, n * c, positions)
    _, with_x, of = aten.native_group_norm_backward(
        t.view(one), x.view(one), kept[0].view(1, -1), kept[1].view(1, -1), x.new_ones(n * c), 1, n * c, positions, n * groups, [False, True, True]
    )
    return Sums(of.view(n, c, 1), with_x.view(n, c, 1))


GROUP_NORM = Operation(
    inputs=1,
    torchs_own=lambda settings, x, w, b: torch.group_norm(x, settings[0], w, b, settings[1]),
    forward=_forward,
    backward=_backward,
    second=_second,
)


def group_norm(phase: BackwardTarget, input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Any:
    """``torch.nn.functional.group_norm``."""
    if input.dim() < 2 or input.numel() == 0 or input.shape[1] % num_groups or not exact(input, weight, bias):
        return NotImplemented  # the last but one: torch's own error
    return run(GROUP_NORM, phase, (num_groups, eps), input, weight, bias)


def instance_norm(
    phase: BackwardTarget,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """``torch.nn.functional.instance_norm`` of ``[N, C, *spatial]``; running statistics are torch's."""
    if not use_input_stats or running_mean is not None or running_var is not None or input.dim() < 3 or input[0, 0].numel() < 2:
        return NotImplemented
    return group_norm(phase, input.contiguous(), input.shape[1], weight, bias, eps)  # as torch, in every layout


def exact(*tensors: Tensor | None) -> bool:
    """Whether all are of one dtype, float32 or float64, and no autocast is on: what the normalisations cover."""
    given = [tensor for tensor in tensors if tensor is not None]
    if torch.is_autocast_enabled(given[0].device.type):
        return False
    return given[0].dtype in (torch.float32, torch.float64) and all(tensor.dtype == given[0].dtype for tensor in given)


SUBSTITUTES: dict[Any, Substitute] = {
    F.group_norm: group_norm,
    torch.group_norm: lambda phase, *args, cudnn_enabled=True, **kwargs: group_norm(phase, *args[:5], **kwargs),
    F.instance_norm: instance_norm,
    torch.instance_norm: lambda phase, x, w, b, mean, var, own, momentum, eps, _cudnn: instance_norm(phase, x, mean, var, w, b, own, momentum, eps),
}
