"""``to_sparse`` and ``to_dense``, whose third derivative torch has not: the derivative of each is the other, on the places that the sparse tensor has.

    gx = dense(gy)   of   y = sparse(x)          gx = gy at the places of x   of   y = dense(x)

In the coordinate format, to any order. Must not know of models, engines or terms.
"""

from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated
from inputgrad.torch_internals.functorch import is_transforming


def to_sparse(_phase: BackwardTarget, input: Tensor, sparse_dim: Any = None, **kwargs: Any) -> Any:
    """``Tensor.to_sparse``, of all dimensions or the first ones."""
    other_layout = not (sparse_dim is None or isinstance(sparse_dim, int)) or kwargs
    if other_layout or input.layout != torch.strided or not differentiated(input) or is_transforming():
        return NotImplemented
    return _Sparse.apply(input, input.detach().to_sparse(input.dim() if sparse_dim is None else sparse_dim).indices())


def to_dense(_phase: BackwardTarget, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``Tensor.to_dense`` of the coordinate format."""
    if args or kwargs or input.layout != torch.sparse_coo or not differentiated(input) or is_transforming():
        return NotImplemented
    return _Dense.apply(input)


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        return torch.sparse_coo_tensor(places, x[tuple(places)], x.shape, is_coalesced=True, check_invariants=False)

    @staticmethod
    def backward(_ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        return _Dense.apply(gy) if gy.layout == torch.sparse_coo else gy, None


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.places = x.coalesce().indices()
        return x.to_dense()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        gx: Tensor = _Sparse.apply(gy, ctx.places)
        return gx


SUBSTITUTES: dict[Any, Substitute] = {Tensor.to_sparse: to_sparse, Tensor.to_dense: to_dense}
