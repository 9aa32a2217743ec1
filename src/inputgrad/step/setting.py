"""How a batch is evaluated, as one frozen record. Must not know the evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.engines.base import Engine
from inputgrad.passes.frozen import FrozenDecisions
from inputgrad.passes.outputs import default_output, one_output

BaseLoss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Setting:
    """How a batch is evaluated.

    pick: the output tensor of what the model returns. differentiable: whether gradients go on to the parameters. is_training_step: whether running
    statistics of terms go on. immediate: whether `PullBack.run` is what comes of the evaluation, so that all leaf gradients are collected in one go.
    single_term: whether one term is due, which hardly asks for a second gradient. frozen: what is recorded or replayed, where the value is wanted as a
    function of the parameters alone (`verification`). lean: least memory, not least time: a pass whose graph is needed again is made again.
    """

    base: BaseLoss | None
    engine: Engine
    pick: Callable[[Any], Tensor]
    differentiable: bool = True
    is_training_step: bool = False
    immediate: bool = False
    single_term: bool = False
    frozen: FrozenDecisions | None = None
    lean: bool = False

    @property
    def pick_one(self) -> Callable[[Any], Tensor]:
        """``pick``, for passes of one output alone: of several without a first one it takes none."""
        return one_output if self.pick is default_output else self.pick
