"""Private parts of ``DistributedDataParallel``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from inputgrad.torch_internals.autograd import after_backward
from inputgrad.torch_internals.required import Required


def active_replica() -> DistributedDataParallel | None:
    """The replica in whose forward pass this call is made; None outside of any. Read in torch 2.6 to 2.15. Missing: None."""
    ask = getattr(DistributedDataParallel, "_get_active_ddp_module", None)
    return ask() if ask else None


def is_first_reduction_open(module: DistributedDataParallel) -> bool:
    """Whether its graph is static and its first backward pass is still to come. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _STATIC:
        return module.static_graph and not module._static_graph_delay_allreduce_enqueued


def set_first_reduction(module: DistributedDataParallel, *, is_open: bool) -> None:
    """Tell the replica so. Read in torch 2.6 to 2.15. Missing: `is_first_reduction_open` raises before."""
    module._static_graph_delay_allreduce_enqueued = not is_open


def reduce_after_backward(module: DistributedDataParallel) -> None:
    """Reduce the gradients of a static graph's first backward pass when it is over. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _STATIC:
        reduce: Callable[[], None] = getattr(module.reducer, "_delay_all_reduce")  # noqa: B009  # the stubs do not know it
    after_backward(reduce)


@contextmanager
def forward_replaced(module: DistributedDataParallel, forward: Callable[[], Tensor]) -> Iterator[None]:
    """While active, what is called inside the replica's forward pass is ``forward``. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _INNER:
        module._run_ddp_forward  # noqa: B018  # a field that torch does not read would be silent
    module.__dict__["_run_ddp_forward"] = lambda *_, **__: forward()
    try:
        yield
    finally:
        del module.__dict__["_run_ddp_forward"]


_STATIC = Required("DistributedDataParallel._static_graph_delay_allreduce_enqueued", "static_graph=True", "Use DistributedDataParallel(static_graph=False)")
_INNER = Required("DistributedDataParallel._run_ddp_forward", "engine 'compiled' with DistributedDataParallel", "Use engine='double_backward'")
