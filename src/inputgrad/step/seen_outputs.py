"""The outputs of a pass as losses and terms see them: leaves, from which the way back starts. Must not know terms and engines."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor

from inputgrad import base_losses
from inputgrad.passes.changes import seen
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.outputs import tensors_in, with_tensors
from inputgrad.passes.precision import widened_under_autocast
from inputgrad.passes.returned import Returned

Base = Callable[[Any, Any], Tensor]


class SeenOutputs:
    """The output, and everything that the model returned, each made a leaf when it is first asked for."""

    def __init__(self, forward: ForwardPass) -> None:
        self._forward = forward
        self._output: Tensor | None = None
        self._returned: Any = None
        self.leaf: Tensor | None = None
        """The output; None where nobody asked for it."""
        self._others: list[Tensor] = []

    def output(self) -> Tensor:
        if self._output is None:
            output = self._of(self._forward.values()).one()
            self.leaf = self._opened(output) if self.leaf is None else self.leaf
            self._output = seen(self.leaf)
        return self._output

    def for_base(self, base: Base | None) -> Any:
        """What the base loss sees: the output, or all that the model returned."""
        here = self._of(self._forward.values())
        if not here.is_seen_whole_by(base):
            return self.output()
        if self._returned is None:
            self._returned = with_tensors(here.everything, self._other)
        return self._returned

    def per_sample(self, base: Base | None, run: Run, target: Any) -> Tensor:
        """The samples' own base losses of another run."""
        there = self._of(run)
        return base_losses.per_sample(base, run.returned if there.is_seen_whole_by(base) else there.one(), target)

    def sizes(self) -> list[int]:
        """How many samples there may be: the rows of the output, or those of each of several."""
        return self._of(self._forward.values()).sizes()

    def zero(self) -> Tensor:
        """0, with a way back to the output; of several to the first one."""
        if self.leaf is None:
            self.leaf = self._opened(self._forward.values().output)
        return self.leaf.sum() * 0 + 0.0  # -0.0 would be printed as such

    def detached(self) -> Any:
        """What was asked for, detached: the output, or else all that the model returned, or None."""
        return self._output.detach() if self._output is not None else self._returned and with_tensors(self._returned, Tensor.detach)

    # what the way back asks for

    def leaves(self) -> list[Tensor]:
        """The leaves, that of the output first."""
        return [*([] if self.leaf is None else [self.leaf]), *self._others]

    def in_graph(self) -> list[Tensor]:
        """What stands for each of `leaves` in the graph of the pass."""
        here = self._forward.primal()
        return [*([] if self.leaf is None else [here.output]), *(tensors_in(here.returned) if self._others else ())]

    def _of(self, run: Run) -> Returned:
        return Returned(run.returned, run.output, self._forward.takes_default_output)

    def _other(self, tensor: Tensor) -> Tensor:
        self._others.append(leaf := self._opened(tensor))
        return seen(leaf)

    def _opened(self, tensor: Tensor) -> Tensor:
        return widened_under_autocast(tensor.detach()).requires_grad_()  # small cotangents must not vanish


def sizes_of(passes: Iterable[ForwardPass]) -> Iterator[int]:
    """How many samples there may be at each pass. One that was made on jets alone, for a field, has one row per point."""
    for forward in passes:
        if forward.made:
            run = forward.values()
            yield run.output.shape[0]
            yield from Returned(run.returned, run.output, forward.takes_default_output).sizes()
        else:
            tensors = dict(forward.inputs.tensors())
            yield from (tensors[key].shape[0] for key in forward.wrt if key in tensors and tensors[key].dim())


def rows_apart(passes: Iterable[ForwardPass]) -> str | None:
    """In words, where a variable has another number of rows than the output has samples; a term that expects one row per sample then fails."""
    for forward in passes:
        for key, variable in forward.values().variables.items() if forward.made else ():
            if (samples := forward.values().output.shape[0]) != variable.shape[0]:
                return (
                    f"wrt={key!r} has the shape {list(variable.shape)}, and the output has {samples} samples: terms take one row of the input gradient per "
                    "sample, so the samples come first. Where several rows belong to a sample, such as the atoms of a molecule, pass index= to the term, the "
                    "number of each row's sample: GradientMatch(..., index='batch') with {'batch': ...} in the target. For sequences with time first use "
                    "batch_first=True, or transpose inside the model's forward"
                )
    return None
