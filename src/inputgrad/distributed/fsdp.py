"""Models under ``fully_shard`` (FSDP2), made whole for a step: its hooks free the parameters between two derivatives, and a double backward needs them.

Each parameter is put together once per step and stands in its module in place of the process's share, while the hooks rest. Its gradient goes back as
theirs does: averaged over the processes, in the dtype of the mixed-precision policy, to the share that each process holds. For that step the parameters
take the memory of a model that is not sharded; gradients and the optimiser's state stay sharded.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.distributed.joined import is_joined
from inputgrad.errors import EngineError
from inputgrad.torch_internals import fsdp, pytree
from inputgrad.torch_internals.checkpoints import recomputed_in
from inputgrad.torch_internals.modules import own_parameters, refresh_weight_list


@dataclass(frozen=True)
class _ParameterSite:
    """Where a parameter stands, and how it was sharded."""

    module: nn.Module
    name: str
    how: "_Sharding"


@dataclass(frozen=True)
class _Sharding:
    """What ``fully_shard`` was told of a parameter: the mixed-precision policy, what gradients are divided by, and the mesh of the processes."""

    policy: Any
    divisor: float
    mesh: Any


class UnshardedParameters:
    """The parameters of a model, whole, for the passes of one step."""

    def __init__(self, model: nn.Module) -> None:
        self._units = fsdp_modules(model)
        grouped = {id(fsdp.state_of(unit)): unit for unit in self._units}.values()
        self._places = [place for unit in grouped for place in _parameter_sites(unit)]
        for unit in grouped:
            unit.reshard()  # after a pass of its own the root keeps its parameters together
        wholes: dict[int, Any] = {}
        for place in self._places:
            share = own_parameters(place.module)[place.name]
            wholes[id(share)] = wholes[id(share)] if id(share) in wholes else _Gather.apply(share, place.how)
        self._wholes = [wholes[id(own_parameters(place.module)[place.name])] for place in self._places]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a pass of the model, and around a checkpointed region of it that runs again in the backward pass."""
        shares = [own_parameters(place.module)[place.name] for place in self._places]
        hooks = [(entries, key, entries[key], other) for unit in self._units for entries, key, other in _hooks(unit)]
        try:
            for place, whole in zip(self._places, self._wholes, strict=True):
                own_parameters(place.module)[place.name] = whole  # no leaf, so no nn.Parameter
            for entries, key, _, other in hooks:
                entries[key] = other
            self._flatten()
            with _RecomputedIn(self.run):
                yield
        finally:
            for place, share in zip(self._places, shares, strict=True):
                own_parameters(place.module)[place.name] = share
            for entries, key, own, _ in hooks:
                entries[key] = own
            self._flatten()

    def _flatten(self) -> None:
        """Recurrent layers keep a list of the weights of their last pass."""
        for module in dict.fromkeys(place.module for place in self._places):
            if isinstance(module, nn.RNNBase):
                refresh_weight_list(module)


class _RecomputedIn(TorchFunctionMode):
    """While active, checkpointed regions are told to run again under ``mode``."""

    def __init__(self, mode: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        recomputed_in(self._mode)
        return func(*args, **(kwargs or {}))


def fsdp_modules(model: nn.Module) -> list[Any]:
    """The modules in the model that ``fully_shard`` was applied to."""
    if not is_joined():
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def tensor_parallel_mesh(model: nn.Module) -> Any:
    """The mesh of the processes that split the model's layers between them (tensor parallelism); None where each has its layers whole."""
    if not is_joined():
        return None
    from torch.distributed.tensor import DTensor

    shards = {id(share): fsdp.mesh_of(group).ndim for unit in fsdp_modules(model) for group in fsdp.groups_of(unit) for share in fsdp.shares_of(group)}
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            first = shards.get(id(parameter), 0)
            mesh, names = parameter.device_mesh, parameter.device_mesh.mesh_dim_names or ()
            if any(placement.is_shard() for placement in parameter.placements[first:]):
                return mesh[names[first:]] if first else mesh
    return None


def reset_after_error(modules: Sequence[Any]) -> None:
    """After a pass that was broken off: units of sharding would take the next one for its continuation."""
    for unit in modules:
        if hasattr(unit, "reset_iter_state") and fsdp.is_root(unit):
            unit.reset_iter_state()


def _parameter_sites(unit: Any) -> Iterator[_ParameterSite]:
    """Where the parameters of a unit stand; a shared one at each of its places."""
    from torch.distributed.fsdp import CPUOffloadPolicy

    for group in fsdp.groups_of(unit):
        _refuse_pending_state(unit, group)
        if isinstance(fsdp.offload_policy_of(group), CPUOffloadPolicy):
            raise EngineError(
                "engine 'double_backward' puts sharded parameters together where they lie, and CPUOffloadPolicy has them where the model does not "
                "compute. engine='reverse_over_forward' leaves them to fully_shard"
            )
        how = _Sharding(fsdp.policy_of(unit), fsdp.divisor_of(group), fsdp.mesh_of(group))
        yield from (_ParameterSite(module, name, how) for module, name in fsdp.sites_of(group))


def _refuse_pending_state(unit: Any, group: Any) -> None:
    """What would be lost by a pass that `fully_shard` does not see."""
    if fsdp.holds_gradients(group):
        raise EngineError(
            f"engine 'double_backward' puts the parameters of {type(unit).__name__} together, and gradients of an earlier pass are kept back in them "
            "(set_requires_gradient_sync(False) or set_requires_all_reduce(False)): they would be lost. Let every pass reduce its gradients, which adds "
            "them up all the same, or take engine='reverse_over_forward'"
        )
    if fsdp.has_reduction_hook(group):
        raise EngineError(
            "engine 'double_backward' would pass by the hook of set_all_reduce_hook. engine='reverse_over_forward' leaves communication to fully_shard"
        )


def _hooks(unit: Any) -> Iterator[tuple[MutableMapping[Any, Any], Any, Any]]:
    """What acts around a unit's methods, by its dict and key, and what stands in its place."""
    yield from _casting_alone(unit)
    yield from fsdp.methods_with_hooks(unit)


def _casting_alone(unit: Any) -> Iterator[tuple[MutableMapping[Any, Any], Any, Any]]:
    """The hooks of ``fully_shard`` on a unit, by their dict and key, and what is left of each: the casts of the mixed-precision policy."""
    policy = fsdp.policy_of(unit)
    inputs = policy.param_dtype if policy.cast_forward_inputs else None

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        return _cast(args, inputs), _cast(kwargs, inputs)

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        return _cast(output, policy.output_dtype)

    yield from ((entries, key, before if is_before else after) for entries, key, is_before in fsdp.hooks_on_forward(unit))


def _cast(values: Any, dtype: torch.dtype | None) -> Any:
    return values if dtype is None else pytree.map_only(Tensor, lambda value: value.to(dtype) if value.is_floating_point() else value, values)


class _Gather(torch.autograd.Function):
    """A parameter from the processes' shares; its gradient back to them: one sum over the processes each, and a division.

    Where tensor parallelism splits the parameter as well, it stays split over those processes.
    """

    @staticmethod
    def forward(ctx: Any, share: Any, how: _Sharding) -> Tensor:
        from torch.distributed.tensor import Replicate

        ctx.mesh, ctx.placements, ctx.dtype, ctx.how, ctx.replicas = share.device_mesh, share.placements, share.dtype, how, how.mesh.ndim
        whole: Any = share.detach().redistribute(placements=[*[Replicate()] * ctx.replicas, *ctx.placements[ctx.replicas :]])
        local: Tensor = whole.to_local().to(how.policy.param_dtype or ctx.dtype)
        return _split(local, ctx, share.shape, share.stride())

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Any, None]:
        from torch.distributed.tensor import DTensor, Partial

        shape, stride = gradient.shape, gradient.stride()
        if isinstance(gradient, DTensor):
            gradient = gradient.redistribute(placements=ctx.placements[ctx.replicas :]).to_local()
        gradient = gradient.to(ctx.how.policy.reduce_dtype or gradient.dtype) / ctx.how.divisor
        placements = [*[Partial()] * ctx.replicas, *ctx.placements[ctx.replicas :]]
        summands = DTensor.from_local(gradient, ctx.mesh, placements, run_check=False, shape=shape, stride=stride)
        return summands.redistribute(placements=ctx.placements).to(ctx.dtype), None


def _split(local: Tensor, ctx: Any, shape: torch.Size, stride: tuple[int, ...]) -> Any:
    """What the passes see: the whole, or this process's part of it under tensor parallelism."""
    from torch.distributed.tensor import DTensor

    names = (ctx.mesh.mesh_dim_names or ())[ctx.replicas :]
    if ctx.mesh.ndim == ctx.replicas:
        return local
    return DTensor.from_local(local, ctx.mesh[names], ctx.placements[ctx.replicas :], run_check=False, shape=shape, stride=stride)
