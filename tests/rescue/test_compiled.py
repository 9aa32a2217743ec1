"""Models that the user has wrapped in ``torch.compile``: run as the Python that they were made of inside the loss, and left compiled elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.rescue import models
from tests.rescue.served import EXACT, TOLERANCE, WAYS, distance, ours, plain, reference, told

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, raised while torch._dynamo and torch.func.jvp import their parts
    pytest.mark.filterwarnings("ignore:module .* couples the samples:UserWarning"),
]
UPSTREAM = "torch.compile with aot_autograd does not currently support double backward"
NORMS: list[Callable[[int], nn.Module] | None] = [None, nn.LayerNorm, nn.BatchNorm1d, lambda width: nn.GroupNorm(4, width)]
NAMES = ["plain", "layer_norm", "batch_norm", "group_norm"]


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    torch.compiler.reset()


def _batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(7, models.FEATURES, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)


def _pair(activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module] | None = None) -> tuple[nn.Module, nn.Module]:
    """A model, and the same compiled."""
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        made.append(models.mlp(activation, norm).double())
    return made[0], torch.compile(made[1], backend="aot_eager")


def test_plain_torch_raises() -> None:
    _, compiled = _pair(nn.SiLU)
    with pytest.raises(RuntimeError) as raised:
        plain(compiled, *_batch())
    assert str(raised.value) == UPSTREAM


@pytest.mark.parametrize("engine", TOLERANCE)
@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU])
@pytest.mark.parametrize("norm", NORMS, ids=NAMES)
def test_served_by_the_named_engine(norm: Any, activation: Callable[[], nn.Module], engine: str) -> None:
    """ReLU by differences too: uncompiled, its decisions are seen and replayed."""
    for base, by_call in WAYS:
        eager, compiled = _pair(activation, norm)
        with told() as messages:
            found = ours(compiled, *_batch(), engine=engine, base=base, by_call=by_call)
        assert distance(found, plain(eager, *_batch(), base)) < TOLERANCE[engine]
        assert messages == []


def test_relu_by_differences_replays_what_it_decided() -> None:
    """Every unit of the first sample stands on its edge: without replay the difference would be wrong by several times its size."""
    eager, compiled = _pair(nn.ReLU)
    x, target = _batch()
    with torch.no_grad():
        for model in (eager, compiled):
            first = next(module for module in model.modules() if isinstance(module, nn.Linear))
            first.bias.copy_(1e-9 - F.linear(x[0], first.weight))
    assert distance(ours(compiled, x, target, engine="finite_difference"), plain(eager, x, target)) < 1e-6


@pytest.mark.parametrize("wrap", ["module", "call", "part", "function"])
def test_auto_is_exact_and_says_once_that_it_runs_uncompiled(wrap: str) -> None:
    model = models.mlp().double()
    expected = plain(model, *_batch(), "mse")
    wrapped = model
    if wrap == "module":
        wrapped = torch.compile(model, backend="aot_eager")
    elif wrap == "call":
        model.compile(backend="aot_eager")
    elif wrap == "part":
        wrapped = nn.Sequential(*model[:2], torch.compile(model[2:], backend="aot_eager"))
    else:
        wrapped = models.Calling(torch.compile(model.forward, backend="aot_eager"), model)
    with told() as first:
        found = ours(wrapped, *_batch(), engine="auto", base="mse")
    with told() as second:
        after = ours(wrapped, *_batch(), engine="auto", base="mse", by_call=False)
    assert max(distance(found, expected), distance(after, expected)) < EXACT
    assert second == []
    (message,) = first
    assert "torch.compile has no double backward" in message
    assert "takes 'double_backward' (exact)" in message
    assert {"part": "module '2'"}.get(wrap, "the model") in message


@pytest.mark.parametrize("engine", TOLERANCE)
def test_what_was_compiled_stays_compiled(engine: str) -> None:
    """torch gives up a module that is called inside torch.func.jvp, and others of its kind with it: here it is not called compiled."""
    runs = 0

    def counting(graph: torch.fx.GraphModule, _examples: list[Tensor]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal runs
            runs += 1
            return graph(*args)

        return run

    x, target = _batch()
    torch._dynamo.reset()
    compiled = torch.compile(models.mlp().double(), backend=counting)
    compiled(x)
    ours(compiled, x, target, engine=engine)
    ours(compiled, x, target, engine=engine, by_call=False)
    assert runs == 1
    compiled(x)
    torch.compile(models.mlp(nn.Tanh).double(), backend=counting)(x)
    assert runs == 3


def test_attention_inside_a_compiled_model() -> None:
    eager = models.Attention(is_causal=True).double()
    x, target = torch.randn(5, models.TOKENS, models.WIDTH, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    expected = reference(eager, x, target)
    assert distance(ours(torch.compile(eager, backend="aot_eager"), x, target, engine="double_backward"), expected) < EXACT


def test_a_module_inside_a_compiled_model_can_be_the_variable() -> None:
    import inputgrad as ig

    eager, compiled = _pair(nn.SiLU)
    x, target = _batch()
    for model in (eager, compiled):
        ig.InputGradientLoss(None, [ig.GradientNorm(of="output", wrt="module:1")], engine="double_backward")(model, x, target).backward()
    pairs = zip(eager.parameters(), compiled.parameters(), strict=True)
    assert all((a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad) for a, b in pairs)


def test_inductor() -> None:
    torch.manual_seed(1)
    model = models.mlp(norm=nn.LayerNorm)
    x, target = (part.float() for part in _batch())
    expected = plain(model, x, target)
    compiled = torch.compile(model)
    compiled(x)
    for engine in ("double_backward", "reverse_over_forward"):
        assert distance(ours(compiled, x, target, engine=engine), expected) < 1e-5
