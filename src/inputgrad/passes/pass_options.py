"""What an engine wants done around the runs of a model."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
    outside: Callable[[], AbstractContextManager[None]] = nullcontext
    """What a run that is made in the middle of a term's formula has to run under, so as not to count as a part of it."""
    spent_at_once: bool = False
    """Whether the pass that gives the input gradient may free the graph: whoever wants another gradient runs the model again."""
