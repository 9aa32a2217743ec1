"""What a model returned, with the tensor that is the output: one tensor, or several outputs. Must not know engines and terms."""

from typing import Any

from torch import Tensor

from inputgrad.base_losses import OwnLoss, sees_everything
from inputgrad.heads import NAMED, Head, Output
from inputgrad.passes.output_views import OfLosses, OnPart
from inputgrad.passes.outputs import Part, check_one_output, check_output, tensors_in, with_tensors


class Returned:
    """output: what was picked of it. is_default: whether nobody has said which output is meant."""

    __slots__ = ("are_several", "everything", "output")

    def __init__(self, everything: Any, output: Tensor, is_default: bool) -> None:
        self.everything, self.output = everything, output
        self.are_several = is_default and not isinstance(everything, Tensor)
        """Whether the model returned no tensor, and nobody has said which output is meant."""

    def one(self) -> Tensor:
        """The output. Raises `TypeError` where there are several, of which none is the first."""
        if self.are_several:
            check_one_output(self.everything)
        return self.output

    def is_seen_whole_by(self, base: Any) -> bool:
        """Whether a base loss sees all of it."""
        return self.are_several and sees_everything(base)

    def sizes(self) -> list[int]:
        """How many samples there may be: the rows of the output, or those of each of several."""
        if not self.are_several:
            return [self.output.shape[0]]
        return [self.output.shape[0], *(tensor.shape[0] for tensor in tensors_in(self.everything) if tensor.dim())]

    def of(self, head: Head, target: Any) -> tuple[Head, Tensor]:
        """A head, and the tensor of which it takes its scores."""
        if head is NAMED["output"]:
            return head, self.one()
        if isinstance(head, Output):
            check_output(part := Part(head.key)(self.everything))
            return OnPart(head), part
        if isinstance(head, OwnLoss) and self.is_seen_whole_by(head.base):
            return OfLosses(head), head(self.everything, target)
        return head, self.one()

    def detached(self) -> Any:
        """All of it, without its graph."""
        return with_tensors(self.everything, Tensor.detach)
