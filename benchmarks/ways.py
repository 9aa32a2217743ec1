"""The ways of making one training step of a workload: plain, handwritten, and each engine of the library."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.workloads import Workload

Step = Callable[[], None]
ENGINES = ("double_backward", "reverse_over_forward", "finite_difference")


def steps(workload: Workload, model: nn.Module, inputs: Tensor, target: object) -> dict[str, Step]:
    """Every way by name; each leaves the parameter gradients in ``.grad``."""
    ways: dict[str, Step] = {
        "plain": lambda: _finish(model, workload.plain(model, inputs, target)),
        "handwritten": lambda: _finish(model, workload.textbook(model, inputs, target)),
    }
    for engine in ENGINES:
        ways[engine] = _by(workload, engine, model, inputs, target)
    return ways


def _by(workload: Workload, engine: str, model: nn.Module, inputs: Tensor, target: object) -> Step:
    criterion = workload.criterion(engine)

    def step() -> None:
        model.zero_grad()
        criterion.backward(model, inputs, target)

    return step


def _finish(model: nn.Module, loss: Tensor) -> None:
    model.zero_grad()
    loss.mean().backward()


def term_error(workload: Workload, way: Step, model: nn.Module, inputs: Tensor, target: object) -> float:
    """The error of a way's gradient relative to the TERM's own gradient in float64: ‖grad − reference‖ / ‖term's reference‖."""
    way()
    found = flat([p.grad for p in model.parameters()], model)
    exact = copy.deepcopy(model).double()
    double = [t.double() if isinstance(t, Tensor) and t.is_floating_point() else t for t in (inputs, target)]
    if isinstance(target, tuple):
        double[1] = tuple(t.double() for t in target)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            total = _gradient(exact, workload.textbook(exact, *double))
            base = _gradient(exact, workload.plain(exact, *double).mean())
    finally:
        torch.set_default_dtype(default)
    return float((found.double() - total).norm() / (total - base).norm())


def _gradient(model: nn.Module, loss: Tensor) -> Tensor:
    return flat(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True), model)


def flat(gradients: object, model: nn.Module) -> Tensor:
    pairs = zip(gradients, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
