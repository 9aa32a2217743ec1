"""What torch says of an operation that a `TorchDispatchMode` sees."""

from typing import Any

import torch

from inputgrad.torch_internals.required import Required

_OPERATION = Required("torch._ops.OpOverload._schema, tags and is_view", "engine DoubleBackward(recompute=...)", "Use engine='double_backward'")


def full_name(operation: Any) -> str:
    """Its name without the overload, such as ``"aten::add_"``. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OPERATION:
        return operation._schema.name


def is_elementwise(operation: Any) -> bool:
    """Whether each number of the result is made of the numbers at its place. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OPERATION:
        return torch.Tag.pointwise in operation.tags


def is_view(operation: Any) -> bool:
    """Whether the result lies in the memory of an argument, which is not written to. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OPERATION:
        return operation.is_view


def is_pure(operation: Any) -> bool:
    """Whether it writes to none of its arguments and draws no random number. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OPERATION:
        return not operation._schema.is_mutable and torch.Tag.nondeterministic_seeded not in operation.tags


def written_arguments(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that it writes to. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _OPERATION:
        given = {argument.name: value for argument, value in zip(operation._schema.arguments, args, strict=False)} | kwargs
        return [given.get(argument.name) for argument in operation._schema.arguments if argument.is_write]
