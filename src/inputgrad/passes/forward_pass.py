"""The forward pass: the model as a function of the variables that are differentiated.

All that an engine sees of the user's model. It can be run at the variables' own values or after a change of them; every run of a step sees the
same random draws and buffers (`RandomAndBufferState`), and none touches the user's tensors.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.derivatives import BackwardTarget, SecondDerivatives, differentiable_to_any_order
from inputgrad.distributed.ddp import without_wrapper_branches
from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.memory import memory
from inputgrad.passes.branches.kernels import DecidingKernels
from inputgrad.passes.branches.tape import BranchTape
from inputgrad.passes.changes import Change, module_hook, opened, unchanged
from inputgrad.passes.outputs import DEPENDS, check_graph, check_output, default_output, representative, with_tensors
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.recomputed.saving import PRODUCTS, Recomputation
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.run import Run as Run
from inputgrad.passes.run import Slopes, writes
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.torch_internals.function_modes import unseen_by_modes
from inputgrad.torch_internals.tensors import times_written
from inputgrad.variables import MODULE, Key, ModelInputs, inner_module, is_module


class ForwardPass:
    """The model with its inputs filled in, as a function of the variables ``wrt``.

    watch: what the engine wants done around the runs. With a tape, the first run records the model's branch decisions and the later runs replay them;
    with a phase, the first run is made with our own second derivatives in place.
    output_module: the inner module whose output is taken in place of the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        wrt: tuple[Key, ...],
        pick: Callable[[Any], Tensor],
        replay: RandomAndBufferState,
        watch: PassOptions | None = None,
        output_module: str | None = None,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.wrt = wrt
        self._pick, self._replay = pick, replay
        self.placement = replay.placement
        self.output_module = output_module
        self.takes_default_output = pick is default_output and output_module is None
        """Whether nobody has said which output is meant, should the model return several."""
        self._tape, self.any_order = (watch := watch or PassOptions()).tape, watch.any_order
        self.phase = BackwardTarget() if watch.any_order else watch.phase
        """What our own derivatives look at, where the first run is made with them in place."""
        self._recomputation = Recomputation(_held_anyway(model, inputs), PRODUCTS) if watch.recompute else None
        if watch.whole:
            replay.gather()
        self._primal: Run | None = None
        self._spent = self._whole = False
        self.may_free_graph, self.outside = watch.spent_at_once, watch.outside
        """Whether the pass that gives the input gradient may free the graph as it goes: nothing else is expected to go back through it."""
        self.writes_on_inputs = False
        """Whether the model worked in place on a variable that it was handed."""
        self.own_leaves: list[Tensor] = []
        """Leaves that an engine made for its own use: no gradient of theirs is wanted."""
        self.slopes = Slopes()
        self._writes = 0
        self.proven: set[Any] = set()
        """What was checked of the model as it is now, where that is known."""

    @property
    def reentrant(self) -> bool:
        """Whether the model checkpoints in the re-entrant way, which gives parameters no gradient unless the region's input requires one."""
        return self._replay.reentrant

    @reentrant.setter
    def reentrant(self, found: bool) -> None:
        self._replay.reentrant = found  # every pass of the step has to know

    @property
    def made(self) -> bool:
        """Whether the run at the variables' own values has been made."""
        return self._primal is not None

    def primal(self) -> Run:
        """The run at the variables' own values, made once and shared by all heads."""
        if self._primal is not None and self._replay.whole and not self._whole:
            self.free_graph()
        if self._primal is None or self._spent:
            with self.own_derivatives():
                self._primal, self._spent, self._whole = self.run({}), False, self._replay.whole
            self._writes = writes(self._primal.output)
            if self.any_order and differentiable_to_any_order([self._primal.output]) and self.phase:
                self.phase.has_exchanged = True
            if self.wrt and DEPENDS not in memory(self.model).checked:
                check_graph(self._primal.output)
        return self._primal

    @property
    def is_output_written(self) -> bool:
        """Whether somebody has written on the output since the run."""
        return self._primal is not None and writes(self._primal.output) != self._writes

    def own_derivatives(self) -> AbstractContextManager[None]:
        """Around the run at the variables' own values: the library's own derivatives in place, where they are wanted."""
        return self._own_derivatives()

    @contextmanager
    def _own_derivatives(self) -> Iterator[None]:
        with self._graph(), SecondDerivatives(self.phase, any_order=self.any_order) if self.phase else nullcontext():
            yield

    def _graph(self, *, backward: bool = False) -> AbstractContextManager[None]:
        return self._recomputation.recording(backward=backward) if self._recomputation else nullcontext()

    def gather(self) -> None:
        """Have sharded parameters whole from here on: a run that was made without is made again."""
        self._replay.gather()

    def free_graph(self) -> None:
        """Free the graph of the run at the variables' own values; its values stay, and `here` runs again should the graph be asked for after all."""
        here = self.values()
        self.own_leaves += here.variables.values()
        self._primal = Run(here.output.detach(), {key: z.detach() for key, z in here.variables.items()}, with_tensors(here.returned, Tensor.detach))
        self._spent = True
        self.slopes.clear()

    def let_go(self) -> None:
        """Free the graph of the run at the variables' own values while something else is done: a first step is to need no more memory than later ones.

        Not of a model of several processes, which have heard of that run.
        """
        if self.placement.local:
            self.free_graph()

    def values(self) -> Run:
        """The run at the variables' own values, with or without its graph."""
        return self._primal if self._primal is not None else self.primal()

    def record_branches(self) -> None:
        """Record the branch decisions at the variables' own values, by a run for that alone where the first run did not."""
        if self._tape is None:
            self._tape = BranchTape()
            self.run({})

    @property
    def unseen_branches(self) -> str | None:
        """Where a branch decision was met that will not be replayed when it counts, in words."""
        return self._tape.unseen if self._tape is not None else None

    def deciding_kernels(self) -> DecidingKernels | None:
        """What notes decisions out of the tape's sight, to be active around one replay; None where there is no tape, or parameters are sharded."""
        return None if self._tape is None or self.placement.is_sharded or self.placement.is_fsdp else DecidingKernels(self._tape)

    @property
    def dtypes_of_functions(self) -> set[torch.dtype]:
        """The types of what custom Functions computed inside, where the first run was recorded; no graph shows them."""
        return self._tape.dtypes_of_functions if self._tape is not None else set()

    @contextmanager
    def input_gradient_phase(self) -> Iterator[None]:
        """Around the backward pass that gives the input gradient alone."""
        with self._graph(backward=True), self.phase.input_gradient() if self.phase and not self.any_order else twice_differentiable_from_local():
            yield

    def run(self, changes: Mapping[Key, Change]) -> Run:
        """A run with each variable z under a key of ``changes`` replaced by ``changes[key](z)``."""
        variables: dict[Key, Tensor] = {}
        handed: dict[Key, Tensor] = {}
        default = unchanged if changes else opened
        if not self.wrt:
            handed = {key: z.clone() for key, z in self.inputs.tensors()}
        for key in self.wrt:
            if not is_module(key):
                changed = changes.get(key, default)(self.inputs.variable(key))
                variables[key] = opened(changed) if self.reentrant and not (changed.is_leaf and changed.requires_grad) else changed
                handed[key] = variables[key].clone()  # a model that works in place on its input spoils neither the variable nor the user's tensor
        eager = uncompiled() if self.wrt else nullcontext()
        with eager, twice_differentiable_from_local(), self._replay.run(), self._module_variables(variables, changes), self._taped():
            returned = self._returned(self.inputs.replaced(handed))
        check_output(output := representative(self._pick, returned) if self.output_module is None else returned)
        with unseen_by_modes():
            self.writes_on_inputs |= any(map(times_written, handed.values()))
        if self._replay.output is None and not self.placement.local:
            self._replay.output = output
        for key in self.wrt:
            if key not in variables:
                raise ValueError(f"wrt={key!r}: this module was not called in the model's forward pass, so there is nothing to differentiate")
        return Run(output, variables, returned)

    @contextmanager
    def _taped(self) -> Iterator[None]:
        if self._tape is None:
            yield
            return
        with self._tape.run(), without_wrapper_branches(self.placement.replicas, self.placement.fsdp_modules, self._tape):
            yield

    def _returned(self, inputs: ModelInputs) -> Any:
        if self.output_module is None:
            return inputs.call(self.model)
        caught: dict[Key, Tensor] = {}
        key = f"{MODULE}{self.output_module}"
        handle = inner_module(self.model, key).register_forward_hook(module_hook(key, caught, unchanged))
        try:
            inputs.call(self.model)
        finally:
            handle.remove()
        if not caught:
            raise ValueError(f"heads.Inner({self.output_module!r}): this module was not called in the model's forward pass")
        return caught[key]

    def at(self, values: Mapping[Key, Tensor]) -> "ForwardPass":
        """This pass, with its own values of the variables replaced by these leaves: the run that `here` gives."""
        self._primal = self.run({key: lambda _, value=value: value for key, value in values.items()})  # type: ignore[misc]
        return self

    def of_first_samples(self, count: int) -> "ForwardPass":
        """The same on the first samples of the batch where the inputs can be cut, and without a trace: its passes start from a state that is put back."""
        size = self.inputs.variable(self.wrt[0]).shape[0]
        few = {key: z[:count] for key, z in self.inputs.tensors() if z.dim() and z.shape[0] == size}
        state = RandomAndBufferState(self.model, self.inputs)
        state.remember()
        return ForwardPass(self.model, self.inputs.replaced(few), self.wrt, self._pick, state, PassOptions(whole=True, any_order=True))

    @contextmanager
    def _module_variables(self, variables: dict[Key, Tensor], changes: Mapping[Key, Change]) -> Iterator[None]:
        handles = []
        for key in self.wrt:
            if isinstance(key, str) and is_module(key):
                hook = module_hook(key, variables, changes.get(key, unchanged if changes else opened))
                handles.append(inner_module(self.model, key).register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _held_anyway(model: nn.Module, inputs: ModelInputs) -> list[Tensor]:
    """What lives on after the step: the parameters, the buffers, and the inputs that were given."""
    return [*model.parameters(), *model.buffers(), *(tensor.detach() for _, tensor in inputs.tensors())]
