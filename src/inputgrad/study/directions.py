"""Wanted directions of the input gradient, made of the training data: what `DirectionMatch` of a config takes.

Knows the data and what a batch offers; knows no model and no loss.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.study.data import Data
from inputgrad.study.imports import load_callable
from inputgrad.study.problems import StudyError
from inputgrad.study.settings import CallableReference, NeedsDataError, Settings


@dataclass(frozen=True, eq=False)
class TowardsPoint:
    """d_n = point − x_n ``[N, *input]``: from each sample towards one point ``[*input]``."""

    point: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        x = batch.variable(0)
        return self.point.to(x) - x


@dataclass(frozen=True, eq=False)
class OfTheLabel:
    """d_n = directions[y_n] ``[N, *input]``: one direction ``[C, *input]`` a class."""

    directions: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        return self.directions.to(batch.output.device)[batch.target]


class TowardsClass(Settings):
    """From each sample towards the mean training sample of one class: the gradient of −½‖x − mean‖². Following it makes that class of anything."""

    label: int

    def make(self, data: Data | None = None) -> Any:
        return TowardsPoint(class_means(data)[_index(self.label, data)])


class ClassMean(Settings):
    """The mean training sample of one class minus the mean of all ``[*input]``: the same direction for every sample."""

    label: int

    def make(self, data: Data | None = None) -> Any:
        means = class_means(data)
        return means[_index(self.label, data)] - means.mean(0)


class OwnClass(Settings):
    """For each sample the mean of its own class minus the mean of all: with ``of: label`` the logit rises towards what its class has of its own."""

    def make(self, data: Data | None = None) -> Any:
        means = class_means(data)
        return OfTheLabel(means - means.mean(0))


class OwnDirection(Settings):
    """A direction of the user's own: ``package.module:name`` of a callable of the batch that gives ``[*input]`` or ``[N, *input]``."""

    callable: CallableReference

    def make(self, data: Data | None = None) -> Any:
        return load_callable(self.callable)


DIRECTIONS: dict[str, type[Settings]] = {"towards_class": TowardsClass, "class_mean": ClassMean, "own_class": OwnClass, "own": OwnDirection}


def class_means(data: Data | None) -> Tensor:
    """The mean training sample of each class, ``[C, *input]``. Raises `StudyError` for a regression."""
    if data is None:
        raise NeedsDataError
    if data.task != "classification":
        raise StudyError(f"direction: the means of classes were asked for, and {data.name} is a regression: give the direction as package.module:callable")
    return data.class_means()


def _index(label: int, data: Data | None) -> int:
    count = len(data.classes) if data is not None else 0
    if not 0 <= label < count:
        raise StudyError(f"direction: label={label} is not a class; {data.name if data else 'the data'} has the classes 0 to {count - 1}")
    return label
