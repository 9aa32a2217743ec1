"""Models that return several outputs: what base loss and heads see of them, in value and parameter gradient, against plain torch."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.heads import EachOutput, Output
from tests.traced import traced

ENGINES = ["double_backward", "reverse_over_forward", "compiled"]


class Pair(NamedTuple):
    energy: Tensor
    charges: Tensor


@dataclass(frozen=True)
class Record:
    energy: Tensor
    charges: Tensor
    name: str = "a"


KINDS: dict[str, Callable[..., Any]] = {
    "dict": lambda energy, charges: {"energy": energy, "charges": charges, "step": 3},
    "named tuple": Pair,
    "dataclass": Record,
    "object": lambda energy, charges: SimpleNamespace(energy=energy, charges=charges),
}


class TwoHeads(nn.Module):
    """A trunk with two outputs, ``[N]`` and ``[N, 3]``, and a third that nobody asks for."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.kind = kind
        self.trunk = nn.Linear(4, 8)
        self.energy, self.charges = nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        hidden = self.trunk(x).tanh()
        return self.kind(self.energy(hidden).squeeze(1), self.charges(hidden).sin())


def parts(returned: Any) -> tuple[Tensor, Tensor]:
    return (returned["energy"], returned["charges"]) if isinstance(returned, dict) else (returned.energy, returned.charges)


def both(returned: Any, target: dict[str, Tensor]) -> Tensor:
    energy, charges = parts(returned)
    return (energy - target["energy"]).square().mean() + 0.5 * (charges - target["charges"]).abs().mean()


def each(returned: Any, target: dict[str, Tensor]) -> Tensor:
    """One loss per sample."""
    energy, charges = parts(returned)
    return (energy - target["energy"]).square() + 0.5 * (charges - target["charges"]).square().sum(1)


def problem(kind: str = "dict") -> tuple[nn.Module, Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = TwoHeads(KINDS[kind]).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    return model, x, {"energy": torch.randn(5, dtype=torch.float64), "charges": torch.randn(5, 3, dtype=torch.float64)}


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    found = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found


def same(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, f"{name} has a gradient, and plain torch gives it none"
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


def reference(model: nn.Module, x: Tensor, target: Any, base: Any, scores: Callable[[Any], Tensor], weight: float) -> tuple[Tensor, dict[str, Tensor | None]]:
    x = x.clone().requires_grad_()
    returned = model(x)
    (g,) = torch.autograd.grad(scores(returned).sum(), x, create_graph=True)
    loss = base(returned, target).mean() + weight * g.square().sum(1).mean()
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_of_the_users_sees_everything_and_a_head_one_output(kind: str, engine: str) -> None:
    model, x, target = problem(kind)
    expected, expected_gradients = reference(model, x, target, both, lambda out: parts(out)[0], 0.3)
    criterion = ig.InputGradientLoss(both, 0.3 * ig.GradientNorm(of=Output("energy"), power=2), engine=traced(engine))
    for step in range(3):  # from the second one on simple steps take another way
        loss = criterion(model, x, target)
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-10, atol=0, msg=f"step {step}")
        loss.backward()
        same(gradients(model), expected_gradients)
    for _ in range(2):
        assert torch.allclose(criterion.backward(model, x, target).loss, expected, rtol=1e-10)
        same(gradients(model), expected_gradients)


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "finite_difference"])
def test_each_samples_own_loss_of_everything(engine: str) -> None:
    model, x, target = problem()
    expected, expected_gradients = reference(model, x, target, each, lambda out: each(out, target), 0.2)
    criterion = ig.InputGradientLoss(each, 0.2 * ig.GradientNorm(of="loss", power=2), engine=engine)
    tolerance = 1e-4 if engine == "finite_difference" else 1e-9
    for _ in range(3):
        loss = criterion(model, x, target)
        torch.testing.assert_close(loss.detach(), expected, rtol=tolerance, atol=0)
        loss.backward()
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, expected_gradients[name], rtol=tolerance, atol=tolerance)


def test_differences_replay_the_branches_of_a_loss_of_everything() -> None:
    """The sign of an absolute error is a branch decision inside the base loss."""
    model, x, target = problem()

    def absolute(returned: Any, target: Any) -> Tensor:
        return (returned["energy"] - target["energy"]).abs() + (returned["charges"] - target["charges"]).abs().sum(1)

    x = x[:1]
    target = {"energy": model(x)["energy"].detach() + 1e-9, "charges": target["charges"][:1]}  # so near that a step to the side changes the sign
    _, expected = reference(model, x, target, absolute, lambda out: absolute(out, target), 1.0)
    ig.InputGradientLoss(absolute, ig.GradientNorm(of="loss", power=2), engine="finite_difference").backward(model, x, target)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


def test_an_output_that_nobody_asked_for_gives_its_parameters_no_gradient() -> None:
    model, x, target = problem()

    def energy_alone(returned: Any, target: Any) -> Tensor:
        return (returned["energy"] - target["energy"]).square().mean()

    expected, expected_gradients = reference(model, x, target, energy_alone, lambda out: out["energy"], 0.3)
    criterion = ig.InputGradientLoss(energy_alone, 0.3 * ig.GradientNorm(of=Output("energy"), power=2))
    for _ in range(3):
        (loss := criterion(model, x, target)).backward()
        torch.testing.assert_close(loss.detach(), expected)
        found = gradients(model)
        assert found["charges.weight"] is None
        same(found, expected_gradients)


def test_any_head_on_one_output() -> None:
    model, x, _ = problem()
    labels = torch.arange(5) % 3

    def charges_loss(returned: Any, target: Any) -> Tensor:
        return F.cross_entropy(returned["charges"], target)

    for of, scores in {
        "label": lambda out: out["charges"].gather(1, labels[:, None]).squeeze(1),
        "log_prob": lambda out: out["charges"].log_softmax(1).sum(1),
        ig.heads.OneOutput(1): lambda out: out["charges"][:, 1],
    }.items():
        expected, expected_gradients = reference(model, x, labels, charges_loss, scores, 0.3)
        criterion = ig.InputGradientLoss(charges_loss, 0.3 * ig.GradientNorm(of=Output("charges", of=of), power=2))
        for _ in range(3):
            (loss := criterion(model, x, labels)).backward()
            torch.testing.assert_close(loss.detach(), expected)
            same(gradients(model), expected_gradients)
    jacobian = ig.gradient(model, x, of=Output("charges", of=EachOutput()))
    torch.testing.assert_close(jacobian, torch.func.vmap(torch.func.jacrev(lambda row: model(row[None])["charges"][0]))(x))


@pytest.mark.parametrize("key", ["energy", lambda out: out["energy"]])
def test_output_takes_a_key_or_a_callable(key: Any) -> None:
    model, x, target = problem()
    expected, expected_gradients = reference(model, x, target["energy"], lambda out, target: F.mse_loss(out["energy"], target), lambda out: out["energy"], 0.3)
    criterion = ig.InputGradientLoss(nn.MSELoss(), 0.3 * ig.GradientNorm(power=2), output=key)
    for _ in range(3):
        (loss := criterion(model, x, target["energy"])).backward()
        torch.testing.assert_close(loss.detach(), expected)
        same(gradients(model), expected_gradients)
        assert criterion.evaluate(model, x, target["energy"]).output.shape == (5,)


def test_terms_on_several_outputs_of_one_pass() -> None:
    model, x, target = problem("named tuple")
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    terms = 0.3 * ig.GradientNorm(of=Output(0), power=2) + 0.1 * ig.GradientNorm(of=Output("charges"), power=2)
    criterion = ig.InputGradientLoss(both, terms, verify=False)
    z = x.clone().requires_grad_()
    out = model(z)
    first, second = (torch.autograd.grad(part.sum(), z, create_graph=True)[0] for part in parts(out))
    expected = both(out, target) + 0.3 * first.square().sum(1).mean() + 0.1 * second.square().sum(1).mean()
    expected.backward()
    expected_gradients = gradients(model)
    for _ in range(3):
        calls.clear()
        step = criterion.evaluate(model, x, target)
        assert len(calls) == 1, "one pass serves base loss and both outputs"
        step.loss.backward()
        torch.testing.assert_close(step.loss.detach(), expected.detach())
        same(gradients(model), expected_gradients)


def test_the_step_gives_everything_back_detached() -> None:
    model, x, target = problem()
    criterion = ig.InputGradientLoss(both, 0.3 * ig.GradientNorm(of=Output("energy")))
    for _ in range(3):
        step = criterion.evaluate(model, x, target)
        assert set(step.output) == {"energy", "charges", "step"}
        assert step.output["step"] == 3
        assert not step.output["energy"].requires_grad
    with torch.no_grad():
        assert torch.allclose(criterion(model, x, target), criterion.evaluate(model, x, target).loss)


class WithLoss(nn.Module):
    """As the models of Hugging Face: given labels it returns its own loss beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
        logits = self.out(self.embedding(input_ids).tanh().mean(1))
        return SimpleNamespace(loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits)


def test_a_models_own_loss_with_labels_among_the_inputs() -> None:
    torch.manual_seed(0)
    model = WithLoss().double()
    inputs = {"input_ids": torch.randint(11, (5, 4)), "labels": torch.randint(3, (5,))}
    terms = 0.2 * ig.GradientNorm(of=Output("logits", of="log_prob"), wrt="module:embedding", power=2)
    criterion = ig.InputGradientLoss(lambda out, target: out.loss, terms)
    embedded = model.embedding(inputs["input_ids"])
    logits = model.out(embedded.tanh().mean(1))
    (g,) = torch.autograd.grad(logits.log_softmax(1).sum(), embedded, create_graph=True)
    expected = F.cross_entropy(logits, inputs["labels"]) + 0.2 * g.square().flatten(1).sum(1).mean()
    expected.backward()
    expected_gradients = gradients(model)
    for _ in range(3):
        (loss := criterion(model, inputs)).backward()
        torch.testing.assert_close(loss.detach(), expected.detach())
        same(gradients(model), expected_gradients)


def test_adversarial_training_on_a_loss_of_everything() -> None:
    model, x, target = problem()
    criterion = ig.InputGradientLoss(each, ig.Adversarial(ig.FGSM(0.1)))
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(each(model(z), target).sum(), z)
    expected = each(model(x), target).mean() + each(model(x + 0.1 * g.sign()), target).mean()
    for _ in range(3):
        torch.testing.assert_close(criterion(model, x, target).detach(), expected.detach())


def test_a_term_of_ones_own_asks_for_one_output() -> None:
    model, x, target = problem()

    @ig.term
    def slope(batch: ig.Batch) -> Tensor:
        return batch.gradient(of=Output("energy")).sum(1).square()

    criterion = ig.InputGradientLoss(both, slope)
    z = x.clone().requires_grad_()
    out = model(z)
    (g,) = torch.autograd.grad(out["energy"].sum(), z, create_graph=True)
    (expected := both(out, target) + g.sum(1).square().mean()).backward()
    expected_gradients = gradients(model)
    for _ in range(3):
        (loss := criterion(model, x, target)).backward()
        torch.testing.assert_close(loss.detach(), expected.detach())
        same(gradients(model), expected_gradients)


def test_terms_alone_on_a_dict() -> None:
    model, x, _ = problem()
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(of=Output("energy"), power=2))
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z)["energy"].sum(), z)
    for _ in range(3):
        torch.testing.assert_close(criterion(model, x).detach(), g.square().sum(1).mean())


def test_errors_show_the_line_to_write() -> None:
    model, x, target = problem()
    for criterion in (nn.MSELoss() + ig.GradientNorm(), ig.InputGradientLoss(both, ig.GradientNorm())):
        with pytest.raises(TypeError, match=r"output='energy'.*of=ig\.heads\.Output\('energy'\)"):
            criterion(model, x, target["energy"] if isinstance(criterion.base, nn.MSELoss) else target)
    with pytest.raises(ValueError, match=r"the output 'energie' is not among.*did you mean 'energy'"):
        ig.InputGradientLoss(both, ig.GradientNorm(of=Output("energie")))(model, x, target)
    with pytest.raises(TypeError, match="must be a key, or a callable"):
        ig.InputGradientLoss(both, output=1.5)
    with pytest.raises(AttributeError) as raised:
        ig.InputGradientLoss(lambda output, target: F.mse_loss(output, target))(model, x, target["energy"])
    assert "given what the model returned, whole" in raised.value.__notes__[0]
    with pytest.raises(TypeError, match=r"write of=ig\.heads\.OneOutput\(2\)"):
        ig.InputGradientLoss(None, ig.GradientNorm(of=2))(nn.Linear(4, 3), x.float())


def test_heads_show_heads_only() -> None:
    assert {"Output", "EachOutput", "OneOutput", "Inner"} <= set(dir(ig.heads))
    assert all(issubclass(getattr(ig.heads, name), ig.heads.Head) for name in dir(ig.heads))
