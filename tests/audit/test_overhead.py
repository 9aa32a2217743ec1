"""What watching costs on small steps, counted in Python calls, and that the function mode which is taken away during a step comes back."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from inputgrad.audit.probes.run_watcher import RunWatcher
from inputgrad.audit.rule_runner import run_rules

MOST = 2900
"""Python calls in a watched step of the network below with a penalty, of which some 200 are the step's own; 4100 in November 2026 before the mode left."""


def network() -> nn.Module:
    layers = [nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 50), nn.Tanh(), nn.Linear(50, 50), nn.Tanh(), nn.Linear(50, 1)]
    return nn.Sequential(*layers)


def loss_of(net: nn.Module, *, graph: bool = True) -> torch.Tensor:
    x = torch.rand(64, 2, requires_grad=True)
    u = net(x)
    (g,) = torch.autograd.grad(u.sum(), x, create_graph=graph, retain_graph=True)
    return u.square().mean() + 0.1 * g.norm(dim=1).mean()


def calls_of(run: Callable[[], object]) -> int:
    count = 0

    def counting(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def step_by(optimizer: torch.optim.Optimizer, net: nn.Module) -> Callable[[], object]:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        return loss

    def plain() -> None:
        closure()
        optimizer.step()

    return (lambda: optimizer.step(closure)) if isinstance(optimizer, torch.optim.LBFGS) else plain


def watched_calls(make: Callable[[nn.Module], torch.optim.Optimizer]) -> int:
    net = network()
    step = step_by(make(net), net)
    with RunWatcher(1000):
        for _ in range(3):
            step()
        return calls_of(step)


def test_a_watched_step_makes_few_calls() -> None:
    adam = watched_calls(lambda net: torch.optim.Adam(net.parameters()))
    assert adam <= MOST
    evaluations = 4
    lbfgs = watched_calls(lambda net: torch.optim.LBFGS(net.parameters(), max_iter=evaluations, max_eval=evaluations, tolerance_change=0, tolerance_grad=0))
    assert lbfgs / evaluations <= 1.1 * adam


class Own(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Failing(torch.optim.SGD):
    fails = False

    def step(self, closure=None):
        if self.fails:
            raise ValueError("this once")
        return super().step(closure)


@pytest.mark.parametrize("kind", ["plain", "a mode of one's own", "a step that raises"])
def test_what_comes_after_a_step_is_followed(kind: str) -> None:
    torch.manual_seed(0)
    net, watcher = network(), RunWatcher(4)
    optimizer = Failing(net.parameters(), lr=0.1)
    with watcher:
        for number in range(3):
            with Own() if kind == "a mode of one's own" else torch.enable_grad():
                loss = loss_of(net, graph=number < 1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.fails = kind == "a step that raises" and number == 0
                if optimizer.fails:
                    with pytest.raises(ValueError, match="this once"):
                        optimizer.step()
                else:
                    optimizer.step()
    assert [finding.code for finding in run_rules(watcher.facts)] == ["IG101"]
