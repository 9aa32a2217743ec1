"""What an ``nn.Module`` keeps in its private fields, and kinds of modules that have no public base class."""

import operator
from collections.abc import MutableMapping, Sequence
from itertools import chain, compress, repeat
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


def running_facts(modules: Sequence[nn.Module]) -> list[object]:
    """What of modules decides how they run and can change: kind, mode, numbers of hooks, forward of its own, parts, which parameters learn.

    Asked at every step, and so without a loop in Python. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    owns = list(map(vars, modules))
    try:
        modes, forward, forward_pre, backward, backward_pre, parts, parameters = zip(*map(_FIELDS, owns), strict=True)
    except KeyError as error:
        with _HOOKS:
            raise AttributeError(error.args[0]) from error
    facts: list[object] = [*map(type, modules), *modes, *map(len, chain(forward, forward_pre, backward, backward_pre))]
    facts += map(dict.get, chain(owns, owns), chain(repeat("forward", len(owns)), repeat("_compiled_call_impl")))
    facts += map(id, chain.from_iterable(map(dict.values, parts)))
    facts += map(getattr, chain.from_iterable(map(dict.values, parameters)), repeat("requires_grad"), repeat(None))
    return facts


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


_FIELDS = operator.itemgetter("training", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_modules", "_parameters")
_OWNER = Required(
    "torch.ScriptMethod.owner and torch.jit.ScriptModule._c", "a scripted module under engine 'reverse_over_forward'", "Use engine='double_backward'"
)
_HOOKS = Required("torch.nn.Module._forward_hooks or _backward_hooks", "telling whether a model has changed since it was checked")
