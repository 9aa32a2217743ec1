"""Layer normalisation.

    x̂ = r (x − μ)      a = w gy      P t = r (t − ⟨t⟩ − x̂ ⟨t x̂⟩)      gx = P a          ⟨·⟩: the mean over one row of D values
    ⟨u, gx⟩:   ggy = w P u        gw = Σ gy P u over the rows        d/dx = −r [ ⟨a x̂⟩ P u + ⟨u x̂⟩ P a + ⟨a P u⟩ x̂ ]

P is symmetric; the last term is the derivative of r itself. P u and P a are each one fused kernel of torch's.
Covers float32 and float64 outside autocast. Must not know of models, engines or terms.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives import normalisation
from inputgrad.derivatives.group_norm import exact
from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, run

aten = torch.ops.aten

Settings = tuple[list[int], float]
"""The normalised shape, ε."""


def _forward(settings: Settings, x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensors]:
    shape, eps = settings
    y, mean, r = aten.native_layer_norm(x, shape, w, b, eps)
    return y, (mean, r)


def _backward(settings: Settings, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, b = tensors
    return tuple(aten.native_layer_norm_backward(gy, x, settings[0], *kept, w, b, list(wanted)))


def _second(settings: Settings, u: Tensors, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    shape = settings[0]
    mean, r = kept
    dims = tuple(range(-len(shape), 0))
    input_only = [True, False, False]
    pu = aten.native_layer_norm_backward(u[0], x, shape, mean, r, None, None, input_only)[0]
    product = gy * pu
    ggy = (pu if w is None else pu * w) if wanted[0] else None
    rows = tuple(range(x.dim() - len(shape)))
    gw = (product.sum(rows) if rows else product) if wanted[2] else None
    if not wanted[1]:
        return ggy, None, gw, None
    pa = aten.native_layer_norm_backward(gy, x, shape, mean, r, w, None, input_only)[0]
    x_hat = (x - mean).mul_(r)
    a = gy if w is None else gy * w
    ux, ax = (u[0] * x_hat).mean(dims, keepdim=True), (a * x_hat).mean(dims, keepdim=True)
    of_r = (product if w is None else product * w).mean(dims, keepdim=True)
    gx = x_hat.mul_(of_r).addcmul_(pu, ax).addcmul_(pa, ux).mul_(-r)
    return ggy, gx, gw, None


LAYER_NORM = Operation(
    inputs=1,
    torchs_own=lambda settings, x, w, b: normalisation.layer_norm(x, settings[0], w, b, settings[1]),
    forward=_forward,
    backward=_backward,
    second=_second,
)


def layer_norm(
    phase: BackwardTarget,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """``torch.nn.functional.layer_norm``."""
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    if input.numel() == 0 or list(input.shape[-len(shape) :]) != shape or not exact(input, weight, bias):
        return NotImplemented
    return run(LAYER_NORM, phase, (shape, eps), input, weight, bias)


SUBSTITUTES: dict[Any, Substitute] = {F.layer_norm: layer_norm, torch.layer_norm: layer_norm}
