"""The Taylor-valued tensor: a value with coefficients, which a model is run on and which its functions find their rules for.

It has no storage, so whatever does not ask for a rule (a kernel in C++, a scripted module, a custom Function) raises instead of computing with the value
alone. Where a function has no rule the pass is given up: `NoRuleError`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.operators.taylor.algebra import Coefficients, mapped
from inputgrad.operators.taylor.layout import Layout
from inputgrad.torch_internals.checkpoints import in_checkpoint
from inputgrad.torch_internals.function_modes import homes_of_functions, own_body
from inputgrad.torch_internals.tensors import without_storage

Rule = Callable[..., Any]
"""Called with the function and its arguments, which hold at least one jet."""

RULES: dict[Any, Rule] = {}
"""torch's function -> its rule."""

CONSTANTS: set[Any] = set()
"""Functions whose results have no derivative: they are called with the values."""

NOT_COMPUTED = ("backward", "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "share_memory_", "storage", "__deepcopy__", "__reduce_ex__")
"""Functions written in Python that compute nothing from a tensor."""


class NoRuleError(Exception):
    """A function without a rule has met a jet, or a rule does not cover its arguments: the derivatives have to be found in another way."""


class TaylorPass:
    """One run of a model on jets: the layout of the coefficients, and what kept it from an end."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.operations = self.numbers = 0
        """How many rules were applied, and how many numbers the values hold that came of them."""
        self.is_open = True
        self.obstacle: str | None = None

    def refuse(self, why: str) -> NoRuleError:
        """The signal that gives the pass up; noted here too, since the model may catch it."""
        self.obstacle = self.obstacle or why
        return NoRuleError(why)


class Jet(Tensor):
    """A value ``[*S]``, and blocks of coefficients ``[M, *S]``."""

    value: Tensor
    blocks: Coefficients
    run: TaylorPass
    shares: bool
    """Whether another tensor may look at the same values, so that nothing may be written in place."""

    @staticmethod
    def __new__(cls, value: Tensor, blocks: Coefficients, run: TaylorPass, *, is_shared: bool = False) -> "Jet":
        jet = without_storage(cls, value)
        jet.value, jet.blocks, jet.run, jet.shares = value, blocks, run, is_shared
        return jet

    def mapped(self, value: Tensor, function: Callable[[Tensor], Tensor], *, is_shared: bool = False) -> "Jet":
        """A linear function of it, of which the value is known."""
        return Jet(value, mapped(self.blocks, function), self.run, is_shared=is_shared)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        run = first_jet(args, kwargs).run
        if not run.is_open:  # one that a model has kept: an ordinary tensor from now on
            return func(*valued(args), **valued(kwargs))
        if func in CONSTANTS:
            return func(*valued(args), **valued(kwargs))
        if not torch.is_grad_enabled():
            raise run.refuse(f"{named(func)} runs under no_grad or in a custom autograd.Function")
        if in_checkpoint():
            raise run.refuse("a checkpointed region runs again in the backward pass")
        rule = RULES.get(func)
        if rule is not None:
            result = rule(func, *args, **kwargs)
            if isinstance(result, Jet):
                run.operations += 1
                run.numbers += result.value.numel()
            return result
        body = own_body(func) if is_formula(func) else None
        if body is None:
            raise run.refuse(f"{named(func)} has no rule")
        return body(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # a class method, as torch asks for; its stub says otherwise
        raise first_jet(args, kwargs or {}).run.refuse(f"{func} was called from C++, where no rule sees it")

    # what models read of a tensor all the time, without a call of a rule

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    device = property(lambda self: self.value.device)
    ndim = property(lambda self: self.value.ndim)
    requires_grad = property(lambda self: True)
    is_leaf = property(lambda self: False)

    def dim(self) -> int:
        return self.value.dim()

    def size(self, *args: Any, **kwargs: Any) -> Any:
        return self.value.size(*args, **kwargs)

    def numel(self) -> int:
        return self.value.numel()

    def __len__(self) -> int:
        return len(self.value)

    def is_floating_point(self) -> bool:
        return True


def is_formula(function: Any) -> bool:
    """Whether a function of torch that is Python computes something, so that it may be run as it is written: what it calls has rules of its own."""
    name = getattr(function, "__name__", "")
    return name not in NOT_COMPUTED and (
        getattr(torch.nn.functional, name, None) is function or function in (getattr(torch, name, None), getattr(Tensor, name, None))
    )


def jets_in(*arguments: Any) -> list[Jet]:
    """The jets among the arguments, in sequences and mappings too."""
    found: list[Jet] = []
    for argument in arguments:
        if isinstance(argument, Jet):
            found.append(argument)
        elif isinstance(argument, (tuple, list)):
            found += jets_in(*argument)
        elif isinstance(argument, Mapping):
            found += jets_in(*argument.values())
    return found


def first_jet(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Jet:
    """The first jet among the arguments of a call. All are of the same pass."""
    for argument in args:
        if isinstance(argument, Jet):
            return argument
    return jets_in(*args, *kwargs.values())[0]


def valued(argument: Any) -> Any:
    """The argument with the value in place of each jet."""
    if isinstance(argument, Jet):
        return argument.value
    if isinstance(argument, (tuple, list)):
        items = [valued(item) for item in argument]
        return type(argument)(*items) if hasattr(argument, "_fields") else type(argument)(items)
    return {key: valued(item) for key, item in argument.items()} if isinstance(argument, Mapping) else argument


def value_of(tensor: Any) -> Any:
    return tensor.value if isinstance(tensor, Jet) else tensor


def named(function: Any) -> str:
    """A function of torch in words."""
    name = getattr(function, "__name__", None) or str(function)
    return str(getattr(getattr(function, "__self__", None), "__name__", name) if name in ("__get__", "__set__") else name)


def rule_for(*functions: Any) -> Callable[[Rule], Rule]:
    """Register a rule for functions of torch, and the methods and operators that are other forms of them."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, rule))
        return rule

    return register


def forms(*names: str) -> list[Any]:
    """Every form of a function of torch under these names, wherever it can be called."""
    homes = (*homes_of_functions(), torch.special, torch.linalg)
    return [form for name in names for home in homes if (form := getattr(home, name, None)) is not None]
