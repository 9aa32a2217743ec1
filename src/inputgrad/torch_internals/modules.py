"""What an ``nn.Module`` keeps in its private fields, and kinds of modules that have no public base class."""

import operator
import weakref
from collections.abc import Iterable, Mapping, MutableMapping
from itertools import compress, repeat
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.torch_internals.required import Required


def forward_hooks(module: nn.Module) -> MutableMapping[int, Any]:
    """The hooks that run after its forward, by key; what replaces one runs in its place. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _HOOKS:
        return module._forward_hooks


def forward_pre_hooks(module: nn.Module) -> MutableMapping[int, Any]:
    """The hooks that run before its forward, likewise. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _HOOKS:
        return module._forward_pre_hooks


def backward_hooks(module: nn.Module) -> int:
    """How many hooks run before or after its backward pass. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _HOOKS:
        return len(module._backward_hooks) + len(module._backward_pre_hooks)


def running_facts(module: nn.Module) -> tuple[Any, ...]:
    """What of a module decides how it runs and can change: kind, mode, hooks and buffers by number, own forward, parts, which parameters learn, switches.

    For `run_alike`; the module itself is held weakly. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    with _HOOKS:
        counts, parts = _hook_counts(module), list(map(id, module._modules.values()))
        learns = list(map(getattr, module._parameters.values(), _LEARNS, _NONE))
        buffers = len(module._buffers)
    switched = None if is_torchs(module) else switches(module)
    return weakref.ref(module), type(module), module.training, counts, _replaced(vars(module)), parts, learns, buffers, switched


def run_alike(facts: Iterable[tuple[Any, ...]]) -> bool:
    """Whether the modules of these facts still run as they did.

    Asked at every step: it looks into what modules keep, without a call where there is nothing to compare. Read in torch 2.6 to 2.15.
    """
    for reference, kind, mode, counts, replaced, parts, learns, buffers, switched in facts:
        module = reference()
        if type(module) is not kind:  # None, where it is no more
            return False
        own = module.__dict__
        hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
        if own["training"] is not mode or ((hooked or counts) and _hook_counts(module) != counts):
            return False
        if (replaced or "forward" in own or "_compiled_call_impl" in own) and _replaced(own) != replaced:
            return False
        if ((held := own["_modules"]) or parts) and list(map(id, held.values())) != parts:
            return False
        if ((held := own["_parameters"]) or learns) and list(map(getattr, held.values(), _LEARNS, _NONE)) != learns:
            return False
        if len(own["_buffers"]) != buffers:
            return False
        if switched is not None and switches(module) != switched:
            return False
    return True


def runs_its_class_alone(module: nn.Module) -> bool:
    """Whether a call of it runs its class's forward and nothing else: no hook of its own or of all modules, no forward of its own.

    Read in torch 2.6 to 2.15. Missing: False.
    """
    own, of_all = module.__dict__, nn.modules.module
    try:
        hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
        hooked_all = of_all._global_forward_hooks or of_all._global_forward_pre_hooks or of_all._global_backward_hooks or of_all._global_backward_pre_hooks
    except (KeyError, AttributeError):
        return False
    return not (hooked or hooked_all or _replaced(own))


def _hook_counts(module: nn.Module) -> tuple[int, ...]:
    """How many hooks of each kind; empty where there is none."""
    counts = (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks), len(module._backward_pre_hooks))
    return counts if any(counts) else ()


def _replaced(own: Mapping[str, Any]) -> tuple[int, ...]:
    """What runs in place of the class's forward; empty where nothing does."""
    return tuple(id(own[name]) for name in ("forward", "_compiled_call_impl") if own.get(name) is not None)


def switches(module: nn.Module) -> list[bool]:
    """What a module of the user's own switches by an attribute, such as ``gradient_checkpointing``; numbers and texts may be another at each step.

    Read in torch 2.6 to 2.15.
    """
    values = vars(module).values()
    return list(compress(values, map(operator.is_, map(type, values), repeat(bool))))


def is_torchs(module: nn.Module) -> bool:
    """Whether its class is one of ``torch.nn``. Read in torch 2.6 to 2.15."""
    return type(module).__module__.startswith("torch.nn.modules.")


def module_forms(model: nn.Module) -> list[Any]:
    """What tells whether a model has changed: type, mode, number of hooks and flags of each module.

    In one loop, for it is asked at every step. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    forms: list[Any] = []
    seen, waiting = {id(model)}, [model]
    with _HOOKS:
        while waiting:
            m = waiting.pop()
            backward = len(m._backward_hooks) + len(m._backward_pre_hooks)
            forms.append((id(type(m)), m.training, len(m._forward_hooks), len(m._forward_pre_hooks), backward))
            if not is_torchs(m):
                forms.append(tuple(switches(m)))
            for child in m._modules.values():
                if child is not None and id(child) not in seen:
                    seen.add(id(child))
                    waiting.append(child)
    return forms


def own_parameters(module: nn.Module) -> MutableMapping[str, Any]:
    """Its own parameters by name; here a tensor that is no parameter may take the place of one. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with Required("torch.nn.Module._parameters", "fully_shard under engine 'double_backward'", "Use engine='reverse_over_forward'"):
        return module._parameters


def held(module: nn.Module, name: str) -> Any:
    """What it holds under a name, a module or a plain value, for less than ``getattr`` costs. Read in torch 2.6 to 2.15. Missing: by ``getattr``."""
    own = module.__dict__
    found = own.get(name)
    return own["_modules"].get(name) if found is None and "_modules" in own else found


def own_buffers(module: nn.Module) -> MutableMapping[str, Tensor | None]:
    """Its own buffers by name; here one may be exchanged without a check. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with Required("torch.nn.Module._buffers", "running a model several times per step without a trace in its buffers"):
        return module._buffers


def refresh_weight_list(module: Any) -> None:
    """Have a recurrent layer let go of exchanged weights: it keeps a list of those of its last pass. Read in torch 2.6 to 2.15. Missing: nothing to do."""
    if hasattr(module, "_flat_weights_names"):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it normalises by statistics of the batch. Read in torch 2.6 to 2.15. Missing: told by the public classes, without others of the same base."""
    base = getattr(nn.modules.batchnorm, "_BatchNorm", None)
    return isinstance(module, base or (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm))


def is_dropout(module: nn.Module) -> bool:
    """Whether it is one of torch's dropouts, with a share ``p``. Read in torch 2.6 to 2.15. Missing: False."""
    return _is_from("torch.nn.modules.dropout", module)


def is_loss(base: Any) -> bool:
    """Whether it is one of torch's loss modules, all of which need a target. Read in torch 2.6 to 2.15. Missing: False."""
    return isinstance(base, nn.Module) and _is_from("torch.nn.modules.loss", base)


def scripted_module_of(method: Any, model: nn.Module) -> nn.Module | None:
    """The scripted module of the model whose method it is; None where the model holds none such. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OWNER:
        return next((m for m in model.modules() if isinstance(m, torch.jit.ScriptModule) and m._c == method.owner), None)


def _is_from(home: str, module: nn.Module) -> bool:
    return any(kind.__module__ == home for kind in type(module).__mro__)


_LEARNS, _NONE = repeat("requires_grad"), repeat(None)
_OWNER = Required(
    "torch.ScriptMethod.owner and torch.jit.ScriptModule._c", "a scripted module under engine 'reverse_over_forward'", "Use engine='double_backward'"
)
_HOOKS = Required("torch.nn.Module._forward_hooks or _backward_hooks", "telling whether a model has changed since it was checked")
