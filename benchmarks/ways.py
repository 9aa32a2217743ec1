"""The ways of making one training step of a workload: plain, handwritten, and each engine of the library."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import inputgrad as ig
from benchmarks.workloads import Workload
from inputgrad.engines import Engine, FiniteDifference

Step = Callable[[], None]
ENGINES: dict[str, str | Engine] = {
    "double_backward": "double_backward",
    "reverse_over_forward": "reverse_over_forward",
    "central": FiniteDifference("central"),
    "one_sided": FiniteDifference("one_sided"),
    "compiled": "compiled",
}


def steps(workload: Workload, model: nn.Module, inputs: Tensor, target: object) -> dict[str, Step]:
    """Every way by name; each leaves the parameter gradients in ``.grad``."""
    ways: dict[str, Step] = {
        "plain": lambda: _finish(model, workload.plain(model, inputs, target)),
        "handwritten": lambda: _finish(model, workload.textbook(model, inputs, target)),
    }
    for engine in ENGINES:
        ways[engine] = _by(workload.criterion(ENGINES[engine]), model, inputs, target)
    return ways


def _by(criterion: ig.InputGradientLoss, model: nn.Module, inputs: Tensor, target: object) -> Step:
    def step() -> None:
        model.zero_grad()
        criterion.backward(model, inputs, target)

    return step


def _finish(model: nn.Module, loss: Tensor) -> None:
    model.zero_grad()
    loss.mean().backward()


def term_error(workload: Workload, engine: str, model: nn.Module, inputs: Tensor, target: object) -> float:
    """How far an engine's parameter gradient of the TERM by itself is from the textbook's in float64, relative.

    By itself: on a fresh network the term is a thousandth of the total, and a difference of totals in float32 shows its rounding alone.
    """
    criterion = ig.InputGradientLoss(workload.silenced_base(), workload.terms(), engine=ENGINES[engine])
    _by(criterion, model, inputs, target)()
    found = flat([p.grad for p in model.parameters()], model)
    reference = term_reference(workload, model, inputs, target)
    return float((found.double() - reference).norm() / reference.norm())


def term_reference(workload: Workload, model: nn.Module, inputs: Tensor, target: object) -> Tensor:
    """The textbook's gradient of the term in float64, attention by the math kernel: that of the total less that of the base loss."""
    exact = copy.deepcopy(model).double()
    given = [pytree.tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, value) for value in (inputs, target)]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return _gradient(exact, workload.textbook(exact, *given)) - _gradient(exact, workload.plain(exact, *given).mean())
    finally:
        torch.set_default_dtype(default)


def _gradient(model: nn.Module, loss: Tensor) -> Tensor:
    return flat(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True), model)


def flat(gradients: object, model: nn.Module) -> Tensor:
    pairs = zip(gradients, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
