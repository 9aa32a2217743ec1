"""Whether a step that was made in full could have been made as by hand. Must not know terms and engines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.traces import traces_of
from inputgrad.places.base import Place
from inputgrad.variables import is_module

if TYPE_CHECKING:
    from inputgrad.step.evaluation import Evaluation

FULL_PRECISION = (torch.float32, torch.float64)


@dataclass
class FurtherRuns:
    """Runs of the model that no term shares, at other values of the inputs: how many, and whether each needed nothing that a plain one has not."""

    count: int = 0
    are_as_by_hand: bool = True

    def note(self, forward: ForwardPass) -> None:
        self.count += 1
        self.are_as_by_hand &= is_as_by_hand(forward)


def is_plain(evaluation: "Evaluation") -> bool:
    """Whether all that was asked for came of passes as by hand: of one, or of several of a model whose traces are known."""
    setting = evaluation.setting
    if not setting.differentiable or setting.frozen or not _is_of_plain_passes(evaluation):
        return False
    return (count := runs(evaluation)) == 1 or bool(count and traces_of(evaluation.model).can_be_undone)


def runs(evaluation: "Evaluation") -> int:
    """How many times the model was run."""
    return evaluation.further.count + len(evaluation.passes()) + sum(map(runs, evaluation.subsets.values()))


def _is_of_plain_passes(evaluation: "Evaluation") -> bool:
    if evaluation.shared_base or not evaluation.further.are_as_by_hand or any(group.linearization.extra_passes for group in evaluation.trained_gradients()):
        return False
    below = all(isinstance(key, Place) and _is_of_plain_passes(part) for key, part in evaluation.subsets.items())
    return below and all(map(is_as_by_hand, evaluation.passes()))


def is_as_by_hand(forward: ForwardPass) -> bool:
    """Whether a pass that was made needed nothing that a plain one has not."""
    if forward.output_module is not None or forward.reentrant or forward.writes_on_inputs or not forward.placement.local or any(map(is_module, forward.wrt)):
        return False
    return not forward.made or all(z.dtype in FULL_PRECISION for z in (forward.values().output, *forward.values().variables.values()))
