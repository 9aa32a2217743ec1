"""Third and higher derivatives of layer and batch normalisation, wherever a graph holds them: modules, functions, aten operations, scripted modules.

torch's second derivative of these takes the saved mean μ and inverse deviation r for constants when it is differentiated again. So their nodes get a hook:
in a backward pass that will itself be differentiated, it hands on the first derivative written out in primitive operations, with μ and r as functions of x.

    x̂ = r (x − μ)      a = w gy      gx = r (a − ⟨a⟩ − x̂ ⟨a x̂⟩)      gw = Σ gy x̂      gb = Σ gy          ⟨·⟩: the mean over what is normalised together

The forward pass, and every backward pass that is not differentiated, stay torch's own. Must not know of models, engines or terms.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.normalisation import dimensions_of_batch
from inputgrad.derivatives.twice_differentiable import Tensors, without_autocast
from inputgrad.torch_internals.autograd_graph import SavedNormalisation, nodes_of_statistics, saved_normalisation


def differentiable_to_any_order(outputs: Iterable[Tensor]) -> bool:
    """Make every normalisation in the outputs' graph differentiable to any order, and tell whether there is one; doing so twice changes nothing."""
    found = nodes_of_statistics(outputs)
    for node in found:
        node.register_hook(_written_out)
    return bool(found)


def before_differentiating() -> dict[Any, Callable[..., None]]:
    """torch's function -> what makes its outputs differentiable to any order: a model that differentiates itself is differentiated once more than others."""

    def grad(outputs: Any, *_args: Any, **_kwargs: Any) -> None:
        differentiable_to_any_order([outputs] if isinstance(outputs, Tensor) else [output for output in outputs if isinstance(output, Tensor)])

    return {torch.autograd.grad: grad}


def _written_out(gradients: Tensors, cotangents: Tensors) -> Tensors | None:
    """The node's gradients in primitive operations; None leaves torch's own, which have no graph or are not these normalisations'."""
    saved = next((found for found in map(saved_normalisation, gradients) if found is not None), None)
    if saved is None:
        return None
    with without_autocast(saved.input):
        here = _backward(saved, cotangents[0])
    return tuple(None if given is None else part.to(given.dtype) for given, part in zip(gradients, here, strict=True))


def _backward(saved: SavedNormalisation, gy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in input, weight and bias."""
    wide = saved.inverse_deviation.dtype
    x, gy, w = saved.input.to(wide), gy.to(wide), None if saved.weight is None else saved.weight.to(wide)
    if saved.shape is None:
        together = others = dimensions_of_batch(x)
        w = None if w is None else w.view(1, -1, *[1] * (x.dim() - 2))
    else:
        together, others = tuple(range(-len(saved.shape), 0)), tuple(range(x.dim() - len(saved.shape)))
    centred = x - x.mean(together, keepdim=True)
    r = _inverse_deviation(centred.square().mean(together, keepdim=True), saved.inverse_deviation)
    x_hat = centred * r
    a = gy if w is None else gy * w
    gx = r * (a - a.mean(together, keepdim=True) - x_hat * (a * x_hat).mean(together, keepdim=True))
    return gx, _sum(gy * x_hat, others), _sum(gy, others)


def _inverse_deviation(variance: Tensor, saved: Tensor) -> Tensor:
    """r = 1 / √(variance + ε) with its derivatives; ε is what the saved value says, for not every node keeps it."""
    with torch.no_grad():
        eps = saved.view_as(variance).square().reciprocal() - variance
    return torch.rsqrt(variance + eps)


def _sum(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    return t.sum(dims) if dims else t
