"""Branch decisions: which side every ReLU-like unit took and which element every max-pool chose, recorded at x and replayed elsewhere.

A piecewise smooth model is differentiated on the piece that it is on at x. A displaced pass that changes the side of one unit jumps by O(1), which a
difference divides by its step; with the decisions of x replayed it does not. Seen are the functions of torch that a model calls from Python; what a
compiled module, a scripted one or a kernel of its own decides inside is not (`module_with_hidden_branches`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.errors import EngineError
from inputgrad.passes.branches.rules import RULES
from inputgrad.passes.constants import NoGradRegion
from inputgrad.passes.scripted import watched_scripts
from inputgrad.torch_internals.checkpoints import in_checkpoint


class BranchTape:
    """The decisions of one pass, in the order in which they were taken."""

    def __init__(self) -> None:
        self._decisions: list[Tensor] = []
        self._next: int | None = None
        self.unseen: str | None = None
        """Where decisions were met that will not be replayed: in a checkpointed region, which runs again in the backward pass, under no_grad, in a script."""

    @property
    def recorded(self) -> bool:
        return self._next is not None

    def decide(self, decision: Callable[[], Tensor]) -> Tensor:
        """The decision taken at x: made and kept while recording, read while replaying."""
        if self._next is None:
            self._decisions.append(decision().detach())
            return self._decisions[-1]
        if self._next >= len(self._decisions):
            raise EngineError(
                "the displaced pass took more branches than the pass at x: the model's control flow is not the same in both, so differences cannot serve"
            )
        self._next += 1
        return self._decisions[self._next - 1]

    @property
    def length(self) -> int:
        """How many decisions have been recorded."""
        return len(self._decisions)

    def cut(self, length: int) -> None:
        """Forget what was recorded after the first ``length`` decisions: it was no doing of the model's."""
        if not self.recorded:
            del self._decisions[length:]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a pass: the first one records, the later ones replay."""
        recording = not self.recorded
        if not recording:
            self._next = 0
        with _BranchMode(self), watched_scripts(self._meet_script):
            yield
        self._next = 0

    def _meet_script(self, name: str) -> None:
        self.unseen = f"the scripted function {name!r}"


class _BranchMode(TorchFunctionMode):
    def __init__(self, tape: BranchTape) -> None:
        super().__init__()
        self._tape = tape
        self._region = NoGradRegion()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        self._region.follow(func, args)
        floating = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, Tensor) and value.is_floating_point()]
        if self._region.inside and any(value.requires_grad and not value.is_leaf for value in floating):
            self._tape.unseen = "what it computes under no_grad"
        rule = RULES.get(func)
        if rule is None or not floating or self._region.inside:
            return func(*args, **(kwargs or {}))
        if _runs_again():
            self._tape.unseen = "a checkpointed region"
            return func(*args, **(kwargs or {}))
        return rule(self._tape, func, args, kwargs or {})


def _runs_again() -> bool:
    """Whether this is a checkpointed region: a re-entrant one runs without gradients first, the other kind packs what it saves."""
    return not torch.is_grad_enabled() or in_checkpoint()


def module_with_hidden_branches(model: nn.Module) -> str | None:
    """The module whose branches no tape can see, in words; None where every module of the model is ordinary Python."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            return f"{name or 'the model'} ({kind}: scripted)"
        if isinstance(module, nn.RNNBase) and module.mode == "RNN_RELU":
            return f"{name or 'the model'} ({kind} with ReLU: one fused kernel)"
    return None
