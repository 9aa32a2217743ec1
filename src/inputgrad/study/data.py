"""Data sets: what ships with scikit-learn, split and scaled; and the record that every data set becomes.

Knows no model and no loss. Files of the user's own are read next door, in `inputgrad.study.files`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor

from inputgrad.study.problems import DataError

Task = Literal["classification", "regression"]
PIXEL_LEVELS = 16
"""scikit-learn's digits count ink from 0 to 16."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split. Inputs ``[N, *input]`` float32; labels ``[N]``: class numbers (int64) or wanted values (float32).

    classes: their names in the order of their numbers, empty for a regression. bounds: (low, high) of an input. scale: what was done to the inputs.
    """

    name: str
    task: Task
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    bounds: tuple[float, float]
    scale: str
    columns: tuple[str, ...] = ()
    """Names of the features, of a table that has some."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train_inputs.shape[1:])

    @property
    def output_size(self) -> int:
        """Outputs a model needs: one per class, or one wanted value."""
        return len(self.classes) or 1

    @property
    def is_image(self) -> bool:
        """Whether an input is one picture of grey values, ``[1, height, width]``."""
        return len(self.input_shape) == 3 and self.input_shape[0] == 1

    def class_means(self) -> Tensor:
        """The mean training sample of each class, ``[C, *input]``."""
        return torch.stack([self.train_inputs[self.train_labels == label].mean(0) for label in range(len(self.classes))])

    def describe(self) -> str:
        shape = "×".join(map(str, self.input_shape))
        return f"{self.name}: {len(self.train_inputs)} training and {len(self.test_inputs)} held-out samples of {shape}, {self.scale}"


def digits(held_out: float, split_seed: int) -> Data:
    """1,797 images of handwritten digits, ``[N, 1, 8, 8]`` in 0..1."""
    found: Any = datasets.load_digits()
    images = (found.data / PIXEL_LEVELS).reshape(-1, 1, 8, 8)
    return split("digits", "classification", images, found.target, held_out, split_seed, tuple(map(str, range(10))), scale="scaled to 0..1")


def breast_cancer(held_out: float, split_seed: int) -> Data:
    """569 samples of 30 features, two classes; standardised."""
    found: Any = datasets.load_breast_cancer()
    return split("breast_cancer", "classification", found.data, found.target, held_out, split_seed, tuple(map(str, found.target_names)), columns=_names(found))


def diabetes(held_out: float, split_seed: int) -> Data:
    """442 samples of 10 features with the progression of the disease; inputs and target standardised."""
    found: Any = datasets.load_diabetes()
    return split("diabetes", "regression", found.data, found.target, held_out, split_seed, (), columns=_names(found))


def _names(found: Any) -> tuple[str, ...]:
    return tuple(map(str, found.feature_names))


def split(
    name: str,
    task: Task,
    inputs: np.ndarray,
    labels: np.ndarray,
    held_out: float,
    seed: int,
    classes: tuple[str, ...],
    *,
    scale: str | None = None,
    columns: Sequence[str] = (),
) -> Data:
    """Split (stratified by class), and standardise by the training part unless ``scale`` says what was done already.

    Raises `DataError` where there are too few samples to split.
    """
    chosen = labels if task == "classification" else None
    try:
        parts = train_test_split(inputs, labels, test_size=held_out, random_state=seed, stratify=chosen)
    except ValueError as error:
        raise DataError(f"{name}: {len(inputs)} samples cannot be split with held_out={held_out}: {error}") from error
    train, test, train_labels, test_labels = parts
    if scale is None:
        train, test = _standardised(train, test)
    if task == "regression":
        train_labels, test_labels = _standardised(train_labels, test_labels)
    kind = torch.int64 if task == "classification" else torch.float32
    train_inputs, test_inputs = (torch.as_tensor(part, dtype=torch.float32) for part in (train, test))
    if not all(bool(part.isfinite().all()) for part in (train_inputs, test_inputs)):
        raise DataError(f"{name}: numbers too large for 32 bits (above 1e38): scale the columns, or take their logarithms")
    bounds = (0.0, 1.0) if scale == "scaled to 0..1" else (float(train_inputs.min()), float(train_inputs.max()))
    return Data(
        name, task, train_inputs, torch.as_tensor(train_labels, dtype=kind), test_inputs, torch.as_tensor(test_labels, dtype=kind),
        classes, bounds, scale or "standardised by the training part", tuple(columns),
    )  # fmt: skip


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean 0 and standard deviation 1 by the training part; a constant column becomes 0."""
    with np.errstate(over="ignore", invalid="ignore"):  # told by the caller
        mean, deviation = train.mean(0), train.std(0)
        deviation = np.where(deviation > 0, deviation, 1)
        return (train - mean) / deviation, (test - mean) / deviation
