"""How the higher derivatives of a model are found, in words, for whoever asks."""

from typing import Any

from torch import nn

from inputgrad.memory import memory
from inputgrad.operators.taylor.plan import SMALL, Plan
from inputgrad.operators.taylor.trust import remembered


def how_computed(model: nn.Module) -> dict[str, str]:
    """For each operator or field that was asked of this model: "Taylor arithmetic", or "nested reverse mode" and why.

    Nothing is listed that was not asked yet, nor what is left to reverse mode because that is cheaper, such as first derivatives.

    >>> import torch
    >>> from inputgrad import operators
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> _ = operators.laplacian(model, torch.rand(5, 3))
    >>> operators.how_computed(model)
    {'laplacian': 'Taylor arithmetic'}
    """
    return {_named(asked): _told(model, asked, why) for asked, why in remembered(model).items()}


def _told(model: nn.Module, asked: Any, why: str | None) -> str:
    if why is None and isinstance(asked, tuple) and memory(model).measured.get((SMALL, asked[-1])):
        why = "the batch is small, and so it is quicker"
    return "Taylor arithmetic" if why is None else f"nested reverse mode: {why}"


def _named(asked: Any) -> str:
    if not (isinstance(asked, tuple) and isinstance(asked[-1], Plan)):
        return str(asked)
    plan = asked[-1]
    single = [_spelled(plan, index) for index in plan.layout.single]
    return "field: " + ", ".join([*single, *("sum of " + " ".join(_spelled(plan, index) for _, index in sum_) for sum_ in plan.layout.sums)])


def _spelled(plan: Plan, index: tuple[int, ...]) -> str:
    """The numbers of the coordinates of a derivative."""
    return "d(" + ",".join(str(plan.coordinates[place]) for place in index) + ")"
