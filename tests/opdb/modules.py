"""torch's own list of modules with sample inputs, ``module_db``, in training and in evaluation mode, for third derivatives.

Of every module `SAMPLES` of its samples, spread over its list. A module is a function with parameters of its own: see `wrapped`.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db
from torch.utils import _pytree as pytree

from tests.opdb.wrapped import Case, differentiable

SAMPLES = 8
MODULES: dict[str, ModuleInfo] = {info.name: info for info in module_db}


def cases(name: str) -> Iterator[Case]:
    """What is tried of a module."""
    info = MODULES[name]
    for training in (True, False):
        torch.default_generator.manual_seed(0)
        given = list(enumerate(info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)))
        usable = [(n, sample) for n, sample in given if _usable(sample)]
        for n, sample in usable[:: math.ceil(len(usable) / (SAMPLES // 2)) or 1]:
            call = sample.forward_input
            yield Case(name, f"{n}, {'training' if training else 'evaluation'}", _module(info, sample, training), tuple(call.args), dict(call.kwargs))


def _module(info: ModuleInfo, sample: ModuleInput, training: bool) -> nn.Module:
    """The module, its parameters moved away from the special values that torch starts from."""
    torch.default_generator.manual_seed(0)
    module: nn.Module = info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).double().train(training)
    with torch.no_grad():
        for parameter in module.parameters():
            if not is_lazy(parameter):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def _usable(sample: ModuleInput) -> bool:
    leaves = pytree.tree_leaves((sample.forward_input.args, sample.forward_input.kwargs))
    return any(differentiable(leaf) and leaf.numel() for leaf in leaves)
