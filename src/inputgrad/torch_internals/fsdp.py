"""Private parts of ``fully_shard`` (FSDP2): how the parameters of a module are sharded, and the hooks that gather and free them."""

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import nn

from inputgrad.torch_internals.modules import forward_hooks, forward_pre_hooks
from inputgrad.torch_internals.required import Required

_HOME = "torch.distributed.fsdp"
_SHARDED = Required("torch.distributed.fsdp FSDPState", "engine 'double_backward' for a sharded model", "engine='reverse_over_forward' leaves it as it is")


def state_of(unit: Any) -> Any:
    """What ``fully_shard`` keeps of a module; one object for modules that were sharded together. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        return unit._get_fsdp_state()


def is_root(unit: Any) -> bool:
    """Whether it is the outermost sharded module, known from its first pass on. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    state = state_of(unit)
    with _SHARDED:
        return bool(state._is_root)


def policy_of(unit: Any) -> Any:
    """Its mixed-precision policy. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    state = state_of(unit)
    with _SHARDED:
        return state._mp_policy


def groups_of(unit: Any) -> list[Any]:
    """Its groups of parameters, gathered together; before torch 2.13 one at most. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    state = state_of(unit)
    with _SHARDED:
        if hasattr(state, "_fsdp_param_groups"):
            return list(state._fsdp_param_groups)
        return [state._fsdp_param_group] if state._fsdp_param_group else []


def mesh_of(group: Any) -> Any:
    """The processes that its parameters are sharded over. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        return group.mesh_info.mesh


def offload_policy_of(group: Any) -> Any:
    """Where its parameters lie between the passes. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        return group.offload_policy


def divisor_of(group: Any) -> float:
    """What its gradients are divided by when they are reduced. Read in torch 2.6 to 2.15. Missing (2.6): `MissingInternalError` where one was set."""
    with _SHARDED:
        if not hasattr(group, "gradient_divide_factor") and group.reduce_scatter_reduce_op is None:
            return mesh_of(group).size()
        return group.gradient_divide_factor or mesh_of(group).size()


def shares_of(group: Any) -> list[Any]:
    """This process's share of each of its parameters: the model's own parameters. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        return [parameter.sharded_param for parameter in group.fsdp_params]


def sites_of(group: Any) -> list[tuple[nn.Module, str]]:
    """Where its parameters stand; a shared one at each of its places. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        infos = [parameter._module_info for parameter in group.fsdp_params]
        return [site for info in infos for site in zip([info.module, *info.shared_modules], [info.param_name, *info.shared_param_names], strict=True)]


def holds_gradients(group: Any) -> bool:
    """Whether gradients of an earlier pass are kept back, not yet reduced. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SHARDED:
        accumulated = [parameter.unsharded_accumulated_grad is not None for parameter in group.fsdp_params]
        waiting = [getattr(getattr(parameter, "_unsharded_param", None), "grad", None) is not None for parameter in group.fsdp_params]  # unset before a pass
        return any(accumulated) or any(waiting) or group._partial_reduce_output is not None


def works_under_transforms() -> bool:
    """Whether the gradient of a pass inside ``torch.func.jvp`` is averaged over the processes. Read in torch 2.6 to 2.15. Missing (before 2.13): False.

    Without it each process keeps its own gradient, and torch says nothing: the hooks that start the average go on outputs that require a gradient, and
    inside a transform none says that it does.
    """
    try:
        return hasattr(importlib.import_module("torch.distributed.fsdp._fully_shard._fsdp_common"), "_disable_functorch_if_active")
    except ImportError:
        return False


def has_reduction_hook(group: Any) -> bool:
    """Whether a hook of ``set_all_reduce_hook`` is on it. Read in torch 2.6 to 2.15. Missing (in 2.6, as the setter is): False."""
    return getattr(group, "_all_reduce_hook", None) is not None


def hooks_on_forward(unit: nn.Module) -> Iterator[tuple[MutableMapping[Any, Any], Any, bool]]:
    """The hooks that gather and free its parameters, by their dict and key, and whether each runs before the forward. Read in torch 2.6 to 2.15."""
    for entries, is_before in ((forward_pre_hooks(unit), True), (forward_hooks(unit), False)):
        yield from ((entries, key, is_before) for key, hook in list(entries.items()) if str(getattr(hook, "__module__", "")).startswith(_HOME))


def methods_with_hooks(unit: nn.Module) -> Iterator[tuple[MutableMapping[str, Any], str, Any]]:
    """Methods given the same hooks (``register_fsdp_forward_method``), by dict and name, and what each was before. Read in torch 2.6 to 2.15."""
    for name, value in list(vars(unit).items()):
        function = getattr(value, "__func__", None)
        if function is not None and hasattr(function, "__wrapped__") and "_fully_shard" in function.__code__.co_filename:
            yield vars(unit), name, function.__wrapped__
