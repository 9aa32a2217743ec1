"""Models under ``DistributedDataParallel``, whose reducer waits for a gradient of every parameter in every backward pass.

The input gradient depends on fewer parameters than the output: the last layer's bias shifts the output, and no derivative of it. Where the pass at the
place itself carries no base loss, the reducer would wait for that bias, and the next step would raise. So the loss as a whole reaches every parameter.

A step is one forward pass to a replica, whatever number of passes it takes: the first goes through the replica, which then expects gradients and has
handed out buffers; the further ones go to the module inside. And it is one backward pass: everything goes back together.

Where a whole training step is the module that is replicated (Lightning), the criterion is called inside the replica's forward pass, with the module inside:
its parameters are waited for just so.

A compiled step knows nothing of reducers. It is traced on the module inside, and what it gives is handed out as if it were that module's forward pass.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from inputgrad.distributed.joined import is_joined
from inputgrad.torch_internals import ddp
from inputgrad.torch_internals.autograd_graph import leaves_of

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape


def touch_all_parameters(loss: Tensor, model: nn.Module, held: Sequence[DistributedDataParallel], output: Tensor | None = None) -> Tensor:
    """The loss, whose backward pass also hands a gradient of zero to each parameter that a reducer waits for.

    output: of the pass that went through the replica. Where a reducer looks for unused parameters, it has found those that this does not reach.
    """
    waited_for = {id(parameter): parameter for module in held for parameter in module.parameters() if parameter.requires_grad}
    if any(module.find_unused_parameters and not module.static_graph for module in held):
        used = {id(leaf) for leaf in leaves_of([] if output is None else [output])}
        waited_for = {key: parameter for key, parameter in waited_for.items() if key in used}
    if active_ddp(model) is not None:
        waited_for |= {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}
    if not waited_for or not loss.requires_grad:
        return loss
    result: Tensor = _TouchAllParameters.apply(loss, list(held), *waited_for.values())
    return result


class _TouchAllParameters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, replicas: list[DistributedDataParallel], *parameters: Tensor) -> Tensor:
        ctx.replicas, ctx.parameters = replicas, parameters
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        for module in ctx.replicas:
            _reduce_at_the_end(module)
        return (grads[0], None, *[torch.zeros_like(parameter) for parameter in ctx.parameters])


def _reduce_at_the_end(module: DistributedDataParallel) -> None:
    """The first backward pass of a static graph is reduced when it is over; its own sign for that is at the output, where the loss need not come by."""
    if ddp.is_first_reduction_open(module):
        ddp.reduce_after_backward(module)
        ddp.set_first_reduction(module, is_open=False)


@contextmanager
def pause_static_graph(held: Sequence[DistributedDataParallel]) -> Iterator[None]:
    """Around a backward pass that stops short of the parameters: a static graph does not take it for its first one."""
    waiting = [module for module in held if ddp.is_first_reduction_open(module)]
    for module in waiting:
        ddp.set_first_reduction(module, is_open=False)
    try:
        yield
    finally:
        for module in waiting:
            ddp.set_first_reduction(module, is_open=True)


@contextmanager
def bypass_ddp(held: Sequence[DistributedDataParallel]) -> Iterator[None]:
    """Around a further pass of a step: replicas hand the call on to the module inside."""
    bypassed = [module for module in held if module.mixed_precision is None and not module.device_ids]
    kept = [(module, module.__dict__.get("forward")) for module in bypassed]
    for module in bypassed:
        module.__dict__["forward"] = module.module.__call__
    try:
        yield
    finally:
        for module, forward in kept:
            if forward is None:
                del module.__dict__["forward"]
            else:  # one bypass inside another
                module.__dict__["forward"] = forward


@contextmanager
def after_broadcast(held: Sequence[DistributedDataParallel], act: Callable[[], None]) -> Iterator[None]:
    """Around the first pass of a step: ``act`` is called when a replica has handed out the buffers of rank 0."""
    handles = [module.module.register_forward_pre_hook(lambda *_: act()) for module in held]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_wrapper_branches(held: Sequence[DistributedDataParallel], sharded: Sequence[nn.Module], tape: "BranchTape") -> Iterator[None]:
    """Around a pass that is recorded or replayed: the tape is paused while a replica or a sharded module does its own work around the module's forward."""

    def pause(*_: Any) -> None:
        tape.paused = True

    def resume(*_: Any) -> None:
        tape.paused = False

    handles = []
    for module in held:
        handles += [module.register_forward_pre_hook(pause), module.module.register_forward_pre_hook(resume)]
        handles += [module.module.register_forward_hook(pause), module.register_forward_hook(resume)]
    for unit in sharded:  # its own hooks come first before the forward, and last after it: these stand around them
        handles += [unit.register_forward_pre_hook(pause, prepend=True), unit.register_forward_pre_hook(resume)]
        handles += [unit.register_forward_hook(pause, prepend=True), unit.register_forward_hook(resume)]
    try:
        yield
    finally:
        tape.paused = False
        for handle in handles:
            handle.remove()


def replicas(model: nn.Module) -> list[DistributedDataParallel]:
    """The replicas in the model, itself among them."""
    if not is_joined():
        return []
    return [module for module in model.modules() if isinstance(module, DistributedDataParallel)]


def active_ddp(model: nn.Module) -> DistributedDataParallel | None:
    """The replica in whose own forward pass this call is made, a training step that is wrapped whole; None where none holds the model."""
    if not is_joined():
        return None
    active = ddp.active_replica()
    held = {id(parameter) for parameter in active.parameters()} if active is not None else set()
    return active if any(id(parameter) in held for parameter in model.parameters()) else None


def is_sharded(model: nn.Module) -> bool:
    """Whether its parameters are pieces of larger ones."""
    return is_fsdp1(model) or any(type(parameter).__name__ == "DTensor" for parameter in model.parameters())


def is_fsdp1(model: nn.Module) -> bool:
    """Whether it is sharded by ``FullyShardedDataParallel`` (FSDP1), which makes flat parameters. By name: few processes have that module loaded."""
    if not is_joined():
        return False
    return any(kind.__name__ == "FullyShardedDataParallel" for module in model.modules() for kind in type(module).__mro__)


def unwrap_ddp(model: nn.Module) -> nn.Module:
    """The module that a replica wraps; the model itself where it is none."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def why_untraceable(model: nn.Module) -> str | None:
    """What a program of the whole step would pass by unseen, in words."""
    for name, module in model.named_modules():
        if isinstance(module, DistributedDataParallel):
            return f"its module {name!r} is a DistributedDataParallel, whose reducer a program bypasses; wrap the whole model in its place"
    if is_fsdp1(model):
        return "it is sharded by FullyShardedDataParallel, and torch ends the process where its flat parameters are traced"
    if is_sharded(model):
        return "its parameters are sharded (DTensor), and a program knows nothing of gathering them"
    return None


def as_forward_pass(model: nn.Module, made: Callable[[], Tensor]) -> Tensor:
    """``made()``, a loss that hands out gradients, as the forward pass of a replica, so that its reducer waits for them as for any others."""
    if not isinstance(model, DistributedDataParallel):
        return touch_all_parameters(made(), model, replicas(model))
    with ddp.forward_replaced(model, made):
        found: Tensor = model(None)
    return touch_all_parameters(found, model, replicas(model), found)
