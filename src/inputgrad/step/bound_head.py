"""A head with what it takes of the base loss: the loss itself for ``of="loss"``, and where the labels are for ``of="label"``."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from inputgrad.base_losses import OnTarget, OwnLoss
from inputgrad.heads import Head, LabelOutput, Of, Output, resolve
from inputgrad.tensor_refs import part_of_target


class LabelsOnTarget(Head):
    """``of="label"`` where the base loss is an `OnTarget`: the class labels are the part of the target that it names."""

    def __init__(self, key: str | int) -> None:
        self.key = key

    def identity(self) -> Hashable:
        return (LabelsOnTarget, self.key)

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        labels = part_of_target("OnTarget: key", self.key, target) if isinstance(target, (Mapping, tuple, list)) else target
        return LabelOutput()(output, labels)


def bound_head(of: Of, base: Callable[[Any, Any], Tensor] | None) -> Head:
    """The head that ``of`` names, with what it takes of the base loss: the loss itself, or where the labels are."""
    if isinstance(of, str) and of == "loss":
        return OwnLoss(base)
    head = resolve(of)
    if not isinstance(base, OnTarget):
        return head
    if head == LabelOutput():
        return LabelsOnTarget(base.key)
    return replace(head, of=LabelsOnTarget(base.key)) if isinstance(head, Output) and head.head == LabelOutput() else head
