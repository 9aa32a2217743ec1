"""How the processes hold a model in one step: local, replicated (DDP), sharded (FSDP), split (tensor parallelism); and what a pass of it needs therefore.

One object, found once and asked by the passes, the engines and the way back, so that none of them knows a wrapper. Must not know engines and terms.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import wide
from inputgrad.distributed import ddp, fsdp
from inputgrad.distributed.joined import is_joined


class Placement:
    """The placement of one model. Every question is answered at most once; for a model of one process none walks through its modules."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.local = not is_joined()

    @cached_property
    def replicas(self) -> list[Any]:
        """The DistributedDataParallel modules in the model, itself among them."""
        return [] if self.local else ddp.replicas(self.model)

    @cached_property
    def fsdp_modules(self) -> list[Any]:
        """The modules that ``fully_shard`` was applied to."""
        return [] if self.local else fsdp.fsdp_modules(self.model)

    @cached_property
    def is_fsdp1(self) -> bool:
        """Whether it is sharded by FullyShardedDataParallel, the predecessor of ``fully_shard``."""
        return not self.local and ddp.is_fsdp1(self.model)

    @cached_property
    def is_sharded(self) -> bool:
        """Whether its parameters are pieces of larger ones."""
        return not self.local and ddp.is_sharded(self.model)

    @property
    def is_fsdp(self) -> bool:
        """Whether ``fully_shard`` gathers its parameters around each pass."""
        return bool(self.fsdp_modules)

    @property
    def shares_out_batches(self) -> bool:
        """Whether each process has a share of the batch; tensor parallelism alone splits the model, and no batch."""
        return not self.local and (bool(self.replicas) or self.is_fsdp or self.is_fsdp1 or ddp.active_ddp(self.model) is not None)

    def why_untraceable(self) -> str | None:
        """What a compiled step would pass by unseen, in words."""
        return ddp.why_untraceable(self.model)

    def largest(self, number: float) -> float:
        """The largest of the numbers of all replicas' processes, so that they decide alike; the number itself where there is one process."""
        if not self.replicas:
            return number
        tensor = wide(torch.tensor(number, device=next(self.model.parameters()).device))
        for module in self.replicas:
            torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX, group=module.process_group)
        return float(tensor)

    # around passes

    def gathered(self) -> fsdp.UnshardedParameters | None:
        """The whole parameters for the passes of one step, where they are sharded by ``fully_shard``."""
        return fsdp.UnshardedParameters(self.model) if self.is_fsdp else None

    def first_pass(self, buffers_are_there: Callable[[], None]) -> AbstractContextManager[None]:
        """Around the first pass of a step, the one that replicas hear of; told when a replica has handed out the buffers of rank 0."""
        self.forget_casts()
        return ddp.after_broadcast(self.replicas, buffers_are_there) if self.replicas else nullcontext()

    def further_pass(self) -> AbstractContextManager[None]:
        """Around a further pass of a step: replicas hand the call on to the module inside."""
        return ddp.bypass_ddp(self.replicas) if self.replicas else nullcontext()

    def unnoticed_backward(self) -> AbstractContextManager[None]:
        """Around a backward pass that stops short of the parameters: no reducer takes it for the step's own."""
        return ddp.pause_static_graph(self.replicas) if self.replicas else nullcontext()

    def forget_casts(self) -> None:
        """Before a pass: a cast of a parameter that an earlier pass made would take this one's gradients to where they were reduced already."""
        if self.is_fsdp:
            torch.clear_autocast_cache()

    def reset_after_error(self) -> None:
        """After a pass that was broken off: sharded modules would take the next one for its continuation."""
        if self.is_fsdp:
            fsdp.reset_after_error(self.fsdp_modules)

    # the way back

    def finish(self, loss: Tensor, output: Tensor | None) -> Tensor:
        """The loss, whose backward pass reaches every parameter that a reducer waits for. output: of the pass that went through the replica."""
        return loss if self.local else ddp.touch_all_parameters(loss, self.model, self.replicas, output)
