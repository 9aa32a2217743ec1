"""The record of one training run: everything that a report shows, as plain data that JSON holds without loss.

Written by the study, read by the reports; knows neither torch nor a file format.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data. parts: the base loss ("base") and each term's mean without its weight. score: accuracy (0..1) or mean squared error."""

    number: int
    loss: float
    parts: dict[str, float]
    train_score: float
    test_score: float
    seconds: float


@dataclass(frozen=True)
class AttackCurve:
    """Accuracy (0..1) on held-out samples under one attack, for each ε."""

    name: str
    """What a reader can look up, such as ``"LinfPGD(steps=40, rel_stepsize=0.1)"``."""
    epsilons: list[float]
    accuracies: list[float]


@dataclass(frozen=True)
class Pictures:
    """Images of held-out samples (the same ones for every run on the same data), rows of pixels: ``[samples][height][width]``."""

    inputs: list[list[list[float]]]
    gradients: list[list[list[float]]]
    """∂s/∂x of the trained network at these samples."""
    labels: list[str]
    score: str
    """Which s was differentiated, in words."""


@dataclass(frozen=True)
class Path:
    """Where `follow_gradient` leads: ``[samples][steps + 1][height][width]``, and the score at each step ``[samples][steps + 1]``."""

    images: list[list[list[list[float]]]]
    scores: list[list[float]]
    score: str
    step_size: float


@dataclass(frozen=True)
class RunRecord:
    """One finished run. Fields that do not apply (pictures of tabular data, attacks on a regression) are None or empty."""

    name: str
    title: str
    task: Literal["classification", "regression"]
    data: str
    model: str
    loss: str
    settings: dict[str, Any]
    epochs: list[Epoch]
    test_score_before: float
    test_score: float
    gradient_norms_before: list[float]
    """‖∂loss_n/∂x_n‖₂ of each held-out sample before training, and after."""
    gradient_norms: list[float]
    attacks: list[AttackCurve] = field(default_factory=list)
    mean_cosine: float | None = None
    """Mean cosine between input gradient and wanted direction on held-out samples, where a direction was asked for."""
    pictures: Pictures | None = None
    path: Path | None = None
    seconds: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RunRecord":
        """The record that `to_json` gave. Raises `TypeError` or `KeyError` where ``data`` is no such thing."""
        fields = dict(data)
        fields["epochs"] = [Epoch(**epoch) for epoch in data["epochs"]]
        fields["attacks"] = [AttackCurve(**curve) for curve in data["attacks"]]
        fields["pictures"] = Pictures(**data["pictures"]) if data["pictures"] else None
        fields["path"] = Path(**data["path"]) if data["path"] else None
        return cls(**fields)
