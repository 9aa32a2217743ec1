"""What an engine wants done around the runs of a model."""

from dataclasses import dataclass

from inputgrad.derivatives import BackwardTarget
from inputgrad.passes.branches.tape import BranchTape


@dataclass(frozen=True)
class PassOptions:
    """What an engine wants done around the runs of the model."""

    tape: BranchTape | None = None
    phase: BackwardTarget | None = None
    whole: bool = False
    """Whether sharded parameters must be whole for the step."""
    any_order: bool = False
    """Whether the output will be differentiated more than twice."""
    recompute: bool = False
    """Whether what is cheap to make again is not held by the graph."""
    spent_at_once: bool = False
    """Whether the pass that gives the input gradient may free the graph: whoever wants another gradient runs the model again."""
