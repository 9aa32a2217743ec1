"""What a step that is made at once is asked for, and what it gives. Plain records, cheap to import; must not know engines and terms."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

StepFunction = Callable[[Any, Any, Sequence[Tensor]], tuple[Tensor, dict[str, Tensor], Any, set[int]]]
"""(inputs, target, weights) -> the loss with its graph, its parts by name, the model's output, and the leaves of the graph that the library made itself, by
identity. Run in whatever tensors the model holds."""


@dataclass(frozen=True)
class StepRequest:
    """One training step.

    owner: the criterion. step: the step as a function, for tracing. weights: of the terms, 0-d. schedule, holders: what else the form of the step depends
    on: names and shares of the terms, and the objects (base loss, terms) whose contents a trace takes in.
    """

    owner: nn.Module
    model: nn.Module
    step: StepFunction
    inputs: Any
    target: Any
    weights: Sequence[Tensor]
    schedule: Hashable
    holders: Sequence[Any]


class Program(Protocol):
    """A compiled step, for a model that it was made for."""

    def run(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Any, target: Any, weights: Sequence[Tensor]) -> "StepResult": ...


@dataclass(frozen=True)
class StepResult:
    """What a step gives: detached values, and the gradient of each parameter that the loss reaches.

    program: what may be run at once at the next step of the same form, where it needs nothing around it.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    output: Any
    gradients: dict[str, Tensor]
    program: Program | None = None
