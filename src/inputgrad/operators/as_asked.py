"""Operators of a trained model: where the caller has switched gradients off, results come without a graph."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Operator = TypeVar("Operator", bound=Callable[..., Any])


def as_asked(operator: Operator) -> Operator:
    """The operator, whose tensors have a graph where gradients are enabled for the caller, and none under ``no_grad`` and ``inference_mode``."""

    @functools.wraps(operator)
    def called(*args: Any, **settings: Any) -> Any:
        result = operator(*args, **settings)
        return result if torch.is_grad_enabled() else _detached(result)

    return cast(Operator, called)


def in_any_mode(method: Operator) -> Operator:
    """The method of an object that takes derivatives when it is asked: under ``no_grad`` and ``inference_mode`` too, and then without a graph."""

    @functools.wraps(method)
    def called(self: Any, *args: Any) -> Any:
        if torch.is_grad_enabled():
            return method(self, *args)
        if any(isinstance(quantity, Tensor) and not quantity.requires_grad for quantity in args):  # its derivative would be zero, without a word
            raise ValueError(f"{method.__name__} takes a quantity with a graph, and this one was made under no_grad: leave no_grad out around both")
        with torch.inference_mode(False), torch.enable_grad():
            return _detached(method(self, *args))

    return cast(Operator, called)


def _detached(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_detached, result))
    return result.detach() if isinstance(result, Tensor) else result
