"""The ways of making one training step of a workload: plain, handwritten, each engine of the library, and JAX."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from benchmarks import jax_ways
from benchmarks.workloads import Workload
from inputgrad.bench.ways import ENGINES, Step, engine_way, flat, gradient_of
from inputgrad.engines import DoubleBackward, Engine

EVERY = 16
OURS: dict[str, str | Engine] = {**ENGINES, "recompute": DoubleBackward(recompute=True)}
FEW = ("plain", "handwritten", "lean", "double_backward", "one_sided", "compiled")


@dataclass(frozen=True)
class Way:
    """step: one training step. term_gradient: the term's own parameter gradient, flat, in float64. note: what is to be known of the figure."""

    step: Step
    term_gradient: Callable[[], Tensor] | None = None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A workload with its model and batch made."""

    workload: Workload
    model: nn.Module
    inputs: Tensor
    target: Any

    @classmethod
    def of(cls, workload: Workload) -> "Case":
        torch.manual_seed(0)
        return cls(workload, workload.model(), *workload.data())

    def parts(self) -> tuple[Tensor, Tensor]:
        return self.workload.textbook(self.model, self.inputs, self.target)

    def plain(self) -> None:
        self.model.zero_grad()
        self.workload.plain(self.model, self.inputs, self.target).mean().backward()

    def ways(self) -> dict[str, Way]:
        """Every way by name; the plain step first."""
        found = {"plain": Way(self.plain), "plain_compiled": Way(self._plain_compiled())}
        found |= {"handwritten": self.handwritten(lean=False, math=False), "lean": self.handwritten(lean=True, math="transformer" in self.workload.name)}
        for engine in OURS:
            way = engine_way(self.workload.criterion("auto"), OURS[engine], self.model, self.inputs, self.target)
            found[engine] = Way(way.step, lambda way=way: way.term_gradient(self.plain))  # type: ignore[misc]  # a default binds the loop's value
        return found | {name: Way(*steps) for name, steps in jax_ways.ways(self.workload.name, self.model, self.inputs, self.target).items()}

    def every(self) -> Step:
        """EVERY consecutive steps of a loss whose term is taken at one of them."""
        workload = self.workload
        criterion = workload.criterion("double_backward")
        scheduled = type(criterion)(criterion.base, [term.scheduled(every=EVERY) for term in criterion.terms], engine="double_backward")

        def steps() -> None:
            for _ in range(EVERY):
                self.model.zero_grad()
                scheduled.backward(self.model, self.inputs, self.target)

        return steps

    def _plain_compiled(self) -> Step:
        loss = torch.compile(lambda inputs, target: self.workload.plain(self.model, inputs, target).mean(), dynamic=False)

        def step() -> None:
            self.model.zero_grad()
            loss(self.inputs, self.target).backward()

        return step

    def handwritten(self, *, lean: bool, math: bool) -> Way:
        """The step by hand. lean: nothing is differentiated that the step does not need. math: attention by torch's kernel that has a second derivative."""
        wanted = list(self.model.parameters()) if lean else None

        def step() -> None:
            self.model.zero_grad()
            with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
                sum(self.parts()).backward(inputs=wanted)  # type: ignore[union-attr]  # there are parts, so the sum is a tensor

        def alone() -> None:
            self.model.zero_grad()
            with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
                self.parts()[1].backward(inputs=wanted)

        return Way(step, lambda: gradient_of(alone, self.model), "attention by the math kernel" if math else "")

    def reference(self) -> Tensor:
        """The textbook's gradient of the term in float64, attention by the math kernel."""
        exact = copy.deepcopy(self.model).double()
        inputs, target = (pytree.tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, value) for value in (self.inputs, self.target))
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                term = self.workload.textbook(exact, inputs, target)[1]
                return flat(torch.autograd.grad(term, list(exact.parameters()), allow_unused=True), exact)
        finally:
            torch.set_default_dtype(default)
