"""The form of a step: all that decides whether a gradient is right, so that it is verified once for each form. Must not know engines by name."""

from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from inputgrad.identity import identity_of, sketch
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.objective import Objective
from inputgrad.variables import ModelInputs


def form_of_step(objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> Hashable:
    """All that decides whether a gradient is right; not the size of the batch."""
    kinds = tuple((key, z.dim(), z.dtype) for key, z in inputs.tensors())
    terms = tuple((item.fraction, alike(item.term), *map(alike, item.sample_weights)) for item in active)
    learning = tuple(parameter.requires_grad for parameter in model.parameters())
    return (objective.engine, alike(objective.base), terms, kinds, model_fingerprint(model), learning)


def is_hashable(key: Any) -> bool:
    """Whether every setting can be told from others; where one cannot, the step itself says so."""
    try:
        hash(key)
    except TypeError:
        return False
    return True


def alike(value: Any) -> Hashable:
    """What settings made anew alike have in common: of records their fields, of modules their description, of functions their code."""
    if is_dataclass(value):
        return (type(value), *(alike(getattr(value, field.name)) for field in fields(value)))
    if isinstance(value, nn.Module):
        return (type(value), value.extra_repr())
    return identity_of(value) if callable(value) and not isinstance(value, type) else sketch(value)
