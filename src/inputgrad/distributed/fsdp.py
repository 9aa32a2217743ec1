"""Models under ``fully_shard`` (FSDP2), made whole for a step: its hooks free the parameters between two derivatives, and a double backward needs them.

Each parameter is put together once a step and stands in its module in place of the process's share, while the hooks rest. Its gradient goes back as
theirs does: averaged over the processes, in the dtype of the mixed-precision policy, to the share that each process holds. For that step the parameters
take the memory of a model that is not sharded; gradients and the optimiser's state stay sharded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from inputgrad.errors import EngineError
from inputgrad.torch_internals.checkpoints import recomputed_in


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
        grouped = {id(unit._get_fsdp_state()): unit for unit in self._units}.values()
        self._places = [place for unit in grouped for place in _parameter_sites(unit)]
        for unit in grouped:
            unit.reshard()  # after a pass of its own the root keeps its parameters together
        wholes: dict[int, Any] = {}
        for place in self._places:
            share = place.module._parameters[place.name]
            wholes[id(share)] = wholes[id(share)] if id(share) in wholes else _Gather.apply(share, place.how)
        self._wholes = [wholes[id(place.module._parameters[place.name])] for place in self._places]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a pass of the model, and around a checkpointed region of it that runs again in the backward pass."""
        shares = [place.module._parameters[place.name] for place in self._places]
        hooks = [(entries, key, entries[key], other) for unit in self._units for entries, key, other in _hooks(unit)]
        try:
            for place, whole in zip(self._places, self._wholes, strict=True):
                place.module._parameters[place.name] = whole  # no leaf, so no nn.Parameter
            for entries, key, _, other in hooks:
                entries[key] = other
            self._flatten()
            with _RecomputedIn(self.run):
                yield
        finally:
            for place, share in zip(self._places, shares, strict=True):
                place.module._parameters[place.name] = share
            for entries, key, own, _ in hooks:
                entries[key] = own
            self._flatten()

    def _flatten(self) -> None:
        """Recurrent layers keep a list of their weights."""
        for module in dict.fromkeys(place.module for place in self._places):
            if isinstance(module, nn.RNNBase):
                module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


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
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def tensor_parallel_mesh(model: nn.Module) -> Any:
    """The mesh of the processes that split the model's layers between them (tensor parallelism); None where each has its layers whole."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    from torch.distributed.tensor import DTensor

    shards = {id(item.sharded_param): group.mesh_info.mesh.ndim for unit in fsdp_modules(model) for group in _groups(unit) for item in group.fsdp_params}
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
        if unit._get_fsdp_state()._is_root and hasattr(unit, "reset_iter_state"):
            unit.reset_iter_state()


def _parameter_sites(unit: Any) -> Iterator[_ParameterSite]:
    """Where the parameters of a unit stand; a shared one at each of its places."""
    from torch.distributed.fsdp import CPUOffloadPolicy

    state = unit._get_fsdp_state()
    try:
        for group in _groups(unit):
            _refuse_pending_state(unit, group)
            if isinstance(group.offload_policy, CPUOffloadPolicy):
                raise EngineError(
                    "engine 'double_backward' puts sharded parameters together where they lie, and CPUOffloadPolicy has them where the model does not "
                    "compute. engine='reverse_over_forward' leaves them to fully_shard"
                )
            mesh = group.mesh_info.mesh
            how = _Sharding(state._mp_policy, group.gradient_divide_factor or mesh.size(), mesh)
            for parameter in group.fsdp_params:
                own = parameter._module_info
                for module, name in zip([own.module, *own.shared_modules], [own.param_name, *own.shared_param_names], strict=True):
                    yield _ParameterSite(module, name, how)
    except AttributeError as error:
        raise EngineError(
            f"engine 'double_backward' does not know fully_shard of torch {torch.__version__} (tested: 2.13). engine='reverse_over_forward' leaves it as it is"
        ) from error


def _refuse_pending_state(unit: Any, group: Any) -> None:
    """What would be lost by a pass that `fully_shard` does not see."""
    held = [item.unsharded_accumulated_grad is not None or _gradient(item) is not None for item in group.fsdp_params]
    if any(held) or group._partial_reduce_output is not None:
        raise EngineError(
            f"engine 'double_backward' puts the parameters of {type(unit).__name__} together, and gradients of an earlier pass are kept back in them "
            "(set_requires_gradient_sync(False) or set_requires_all_reduce(False)): they would be lost. Let every pass reduce its gradients, which adds "
            "them up all the same, or take engine='reverse_over_forward'"
        )
    if group._all_reduce_hook is not None:
        raise EngineError(
            "engine 'double_backward' would pass by the hook of set_all_reduce_hook. engine='reverse_over_forward' leaves communication to fully_shard"
        )


def _gradient(parameter: Any) -> Any:
    return getattr(getattr(parameter, "_unsharded_param", None), "grad", None)


def _methods(unit: Any) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Methods that were given the same hooks (`register_fsdp_forward_method`), and what they were before."""
    for name, value in vars(unit).items():
        function = getattr(value, "__func__", None)
        if function is not None and hasattr(function, "__wrapped__") and "_fully_shard" in function.__code__.co_filename:
            yield vars(unit), name, function.__wrapped__


def _groups(unit: Any) -> list[Any]:
    state = unit._get_fsdp_state()
    if hasattr(state, "_fsdp_param_groups"):
        return list(state._fsdp_param_groups)
    return [state._fsdp_param_group] if state._fsdp_param_group else []  # of earlier releases


def _hooks(unit: Any) -> Iterator[tuple[dict[Any, Any], Any, Any]]:
    """What acts around a unit's methods, by its dict and key, and what stands in its place."""
    yield from _casting_alone(unit)
    yield from _methods(unit)


def _casting_alone(unit: Any) -> Iterator[tuple[dict[int, Any], int, Any]]:
    """The hooks of ``fully_shard`` on a unit, by their dict and key, and what is left of each: the casts of the mixed-precision policy."""
    policy = unit._get_fsdp_state()._mp_policy
    inputs = policy.param_dtype if policy.cast_forward_inputs else None

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        return _cast(args, inputs), _cast(kwargs, inputs)

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        return _cast(output, policy.output_dtype)

    for entries, other in ((unit._forward_pre_hooks, before), (unit._forward_hooks, after)):
        yield from ((entries, key, other) for key, hook in entries.items() if str(getattr(hook, "__module__", "")).startswith(_TORCHS))


_TORCHS = "torch.distributed.fsdp"


def _cast(values: Any, dtype: torch.dtype | None) -> Any:
    return values if dtype is None else tree_map_only(Tensor, lambda value: value.to(dtype) if value.is_floating_point() else value, values)


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
