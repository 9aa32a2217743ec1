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


def _detached(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_detached, result))
    return result.detach() if isinstance(result, Tensor) else result
