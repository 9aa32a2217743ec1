"""A trace takes in all that it does not get as an argument. Nothing of it may change unnoticed: each case is one eager and one compiled loop."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from tests.joint.loops import batch, compiled, loss, network


class Scaled(nn.Module):
    """A plain setting that the forward pass reads, and a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.scale = 1.0
        self.shift = torch.zeros(3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale + self.shift * self.body(x).square()


def _exchange_a_layer(model: Scaled) -> None:
    model.body[1] = nn.Tanh()


def _set(name: str, value: Any) -> Callable[[Scaled], None]:
    return lambda model: setattr(model, name, value)


CHANGES: dict[str, Callable[[Scaled], Any]] = {
    "a layer": _exchange_a_layer,
    "a setting": _set("scale", 3.0),
    "a loose tensor": _set("shift", torch.ones(3, dtype=torch.float64)),
    "a hook": lambda model: model.body[0].register_forward_hook(lambda module, args, output: 2 * output),
}


def gradients(criterion: nn.Module, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(criterion(model, *batch()), list(model.parameters())))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_in_the_model_makes_another_program(change: Callable[[Scaled], Any]) -> None:
    model, eager, joint = Scaled(), loss("double_backward"), loss(compiled(after=0))
    for _ in range(2):
        for a, b in zip(gradients(eager, model), gradients(joint, model), strict=True):
            torch.testing.assert_close(a, b)
        change(model)


def test_a_tensor_that_a_terms_function_holds_may_be_exchanged() -> None:
    held = {"direction": torch.ones(6, dtype=torch.float64)}
    criteria = [ig.InputGradientLoss("cross_entropy", ig.DirectionMatch(lambda b: held["direction"]), engine=kind) for kind in ("double_backward", compiled())]
    model = network()
    for step in range(3):
        for a, b in zip(*(gradients(criterion, model) for criterion in criteria), strict=True):
            torch.testing.assert_close(a, b)
        held["direction"] = torch.linspace(-1, step + 1, 6, dtype=torch.float64)


SHARPNESS = [1.0]


def test_a_number_that_a_terms_function_reads_may_change() -> None:
    """From a closure and from a global; a program that took it in would go on with the old one."""
    scale = 1.0

    @ig.term
    def steep(b: ig.Batch) -> Tensor:
        return scale * (SHARPNESS[0] * b.gradient(of="loss").square().sum(1)).tanh()

    model, criteria = network(), [ig.InputGradientLoss("cross_entropy", steep, engine=kind) for kind in ("double_backward", compiled(after=0))]
    for step in range(3):
        for a, b in zip(*(gradients(criterion, model) for criterion in criteria), strict=True):
            torch.testing.assert_close(a, b)
        scale, SHARPNESS[0] = scale + (step == 0), SHARPNESS[0] + (step == 1)
    SHARPNESS[0] = 1.0


def test_a_base_loss_that_is_another_function() -> None:
    def entropy(smoothing: float) -> Callable[..., Tensor]:
        return lambda output, target, reduction="mean": nn.functional.cross_entropy(output, target, reduction=reduction, label_smoothing=smoothing)

    model = network()
    joint = ig.InputGradientLoss(entropy(0.1), ig.GradientNorm(of="loss", power=2), engine=compiled(after=0))
    for smoothing in (0.0, 0.5):
        joint.base = entropy(smoothing)
        eager = ig.InputGradientLoss(joint.base, joint.terms, engine="double_backward")
        for a, b in zip(gradients(eager, model), gradients(joint, model), strict=True):
            torch.testing.assert_close(a, b)


def test_a_tensor_from_nowhere_is_refused() -> None:
    """Made by a call whose result differs from step to step, out of sight of fields, closures and globals."""

    class Changing:
        def __init__(self) -> None:
            self.__slots = iter([torch.full((6,), float(k), dtype=torch.float64) for k in range(1, 99)])

        def __call__(self, b: ig.Batch) -> Tensor:
            return next(self.__slots)

    criterion = ig.InputGradientLoss("cross_entropy", ig.DirectionMatch(Changing()), engine=compiled())
    with pytest.warns(UserWarning, match="a tensor of shape .* enters the step from outside"):
        criterion(network(), *batch()).backward()


def test_a_base_loss_that_is_exchanged() -> None:
    model, joint, eager = network(), loss(compiled(after=0)), loss("double_backward")
    gradients(joint, model)
    joint.base = eager.base = nn.CrossEntropyLoss(label_smoothing=0.3)
    for a, b in zip(gradients(eager, model), gradients(joint, model), strict=True):
        torch.testing.assert_close(a, b)


def test_no_target_and_steps_that_require_grad_are_served_and_not_given_up() -> None:
    model, x = network(), batch()[0]
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine=compiled())
    criterion(model, x).backward()
    leaf = x.clone().requires_grad_()
    with pytest.warns(UserWarning, match="where the inputs or the target require grad"):
        criterion(model, leaf).backward()
    assert leaf.grad is not None
    criterion(model, x).backward()


def test_accumulation_goes_into_the_gradient_that_is_there() -> None:
    """Gradients may be views of one flat buffer."""
    model, criterion = network(), loss(compiled())
    flat = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    offset = 0
    for parameter in model.parameters():
        parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
        offset += parameter.numel()
    criterion.backward(model, *batch())
    assert flat.norm() > 0


def test_programs_keep_no_model_alive() -> None:
    model, criterion = network(), loss(Compiled(backend="eager"))
    criterion(model, *batch()).backward()
    gone = weakref.ref(model), weakref.ref(criterion)
    del model, criterion
    torch.compiler.reset()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
