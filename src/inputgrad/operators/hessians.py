"""Second derivatives of each sample's own score: the Hessian, and its diagonal. As torch.func.hessian and jax.hessian name them, per sample."""

from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import heads
from inputgrad.batch import Batch
from inputgrad.errors import suggesting
from inputgrad.heads import Of
from inputgrad.operators import differentiation
from inputgrad.operators.as_asked import as_asked
from inputgrad.operators.functions import check_head, opened_twice
from inputgrad.passes.model_checks import without_inference_tensors
from inputgrad.variables import Key


@suggesting
@as_asked
def hessian(model: nn.Module | Batch, inputs: Any = None, of: Of = "output", target: Any = None, wrt: Key = 0) -> Tensor:
    """∂²s/∂x² ``[N, *input, *input]`` of each sample's own score s, by one backward pass for the gradient and one for each of its D entries.

    model, inputs, of, target, wrt: as in `output_and_gradient`; in a term ``hessian(batch)``, on the batch's own target.

    For H v alone `hessian_vector` is cheaper, for the trace `laplacian`.

    >>> hessian(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 3)).shape
    torch.Size([5, 3, 3])
    """
    with torch.inference_mode(False), torch.enable_grad():
        variable, columns = _columns("hessian", model, inputs, of, target, wrt)
        rows = [differentiation.gradients(column, [variable])[0] for column in columns]
        return torch.stack(rows, 1).reshape(len(variable), *variable.shape[1:], *variable.shape[1:])


@suggesting
@as_asked
def hessian_diagonal(model: nn.Module | Batch, inputs: Any = None, of: Of = "output", target: Any = None, wrt: Key = 0) -> Tensor:
    """∂²s/∂x_d² ``[N, *input]`` of each sample's own score s, for every entry d of its input: the diagonal of `hessian`, at the same cost.

    model, inputs, of, target, wrt: as in `hessian`.

    Second derivatives of a trained model by name, such as the gammas of a price or the curvatures along each feature:

    >>> gammas = hessian_diagonal(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 3))
    >>> gammas.shape
    torch.Size([5, 3])
    """
    with torch.inference_mode(False), torch.enable_grad():
        variable, columns = _columns("hessian_diagonal", model, inputs, of, target, wrt)
        found = [differentiation.gradients(column, [variable])[0].reshape(len(variable), -1)[:, d] for d, column in enumerate(columns)]
        return torch.stack(found, 1).reshape(variable.shape)


def _columns(name: str, model: nn.Module | Batch, inputs: Any, of: Of, target: Any, wrt: Key) -> tuple[Tensor, list[Tensor]]:
    """The variable, and the entries ``[N]`` of the score's gradient with respect to it."""
    check_head(of)
    if isinstance(wrt, (tuple, list)):
        raise TypeError(f"{name}: wrt names one input, got {wrt!r}; for mixed derivatives use ig.field, or hessian_vector")
    target = model.target if isinstance(model, Batch) else target
    output, (variable,) = opened_twice(model, inputs, wrt)
    scores = heads.Score(heads.resolve(of), output, without_inference_tensors(target))(output)
    if scores.dim() != 1:
        raise ValueError(f"{name} needs one score per sample, and the head {of!r} gave {list(scores.shape)}; take one of them with of=")
    (first,) = differentiation.gradients(scores, [variable], [wrt])
    return variable, list(first.flatten(1).unbind(1) if first.dim() > 1 else [first])
