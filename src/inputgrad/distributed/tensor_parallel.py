"""The entry to tensor parallelism, ``DTensor.from_local``, differentiable twice. torch's own backward pass (2.13) sums the gradient's summands over the
processes without a graph, so that a double backward is cut off there, silently: the value is right, and every parameter before it learns something else.

    x = the same on all processes:   gx = Σ_processes gx_p,   made by `redistribute`, whose second derivative torch has

Must not know of models, engines or terms.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from inputgrad.distributed.joined import is_joined
from inputgrad.torch_internals.function_modes import unseen_by_modes


class _FromLocal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, made: Any, placements: Any) -> Any:
        ctx.mesh, ctx.placements = made.device_mesh, placements
        return made.view_as(made)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Tensor, None, None]:
        return gradient.redistribute(ctx.mesh, ctx.placements).to_local(), None, None


_USERS = 0
_LOCK = RLock()
_TORCHS: Any = None


def twice_differentiable_from_local() -> AbstractContextManager[None]:
    """While active, in any thread, ``DTensor.from_local`` is ours; its values are torch's. Nothing where no processes are joined: then there is no mesh."""
    if "torch.distributed.tensor" not in sys.modules or not is_joined():
        return _NOTHING
    return _exchanged()


_NOTHING = nullcontext()


@contextmanager
def _exchanged() -> Iterator[None]:
    _exchange(+1)
    try:
        yield
    finally:
        _exchange(-1)


def _exchange(step: int) -> None:
    global _USERS, _TORCHS
    from torch.distributed.tensor import DTensor

    with _LOCK:
        if _USERS == 0:
            _TORCHS = DTensor.from_local
        _USERS += step
        DTensor.from_local = staticmethod(_from_local) if _USERS else staticmethod(_TORCHS)  # type: ignore[method-assign]  # put back by the last user


def _from_local(local_tensor: Tensor, device_mesh: Any = None, placements: Any = None, **settings: Any) -> Any:
    with unseen_by_modes():  # no doing of the model's, whatever follows its functions
        if not local_tensor.requires_grad or not torch.is_grad_enabled():
            return _TORCHS(local_tensor, device_mesh, placements, **settings)
        from torch.distributed.tensor import Replicate

        made = _TORCHS(local_tensor.detach(), device_mesh, placements, **settings)
        wanted = settings.get("grad_placements") or [Replicate() if placement.is_partial() else placement for placement in made.placements]
        return _FromLocal.apply(local_tensor, made, wanted)
