"""Bad input: one clear error each, told by its text. What must hold, what was found, what to do."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled

FEATURES, OUTPUTS, N = 5, 3, 4


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, OUTPUTS))


X, Y = torch.randn(N, FEATURES), torch.randn(N, OUTPUTS)
LABELS = torch.tensor([0, 2, 1, 1])


def calling(terms: Any = None, *, base: Any = "mse", model: Callable[[], Any] = model, x: Any = X, y: Any = Y, **settings: Any) -> Callable[[], Any]:
    return lambda: ig.InputGradientLoss(base, ig.GradientNorm() if terms is None else terms, **settings)(model(), x, y)


def returning(value: Any, per: Any = "sample") -> ig.Term:
    return ig.term(per=per)(lambda batch: value)


class Wrapped(nn.Module):
    """A forward of the test's own round a sound model."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.function = model(), forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self.inner, x)


def wrapped(forward: Callable[[nn.Module, Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Wrapped(forward)


def under(context: Callable[[], Any]) -> Callable[[nn.Module, Tensor], Tensor]:
    def forward(inner: nn.Module, x: Tensor) -> Tensor:
        with context():
            return inner(x)

    return forward


def made_under_inference() -> nn.Module:
    with torch.inference_mode():
        return model()


def with_nan(tensor: Tensor) -> Tensor:
    tensor = tensor.clone()
    tensor[1, 2] = math.nan
    return tensor


def twice(inner: nn.Module, x: Tensor) -> Tensor:
    inner(x)
    return inner(x)


class Selfish(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "output"


CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # shapes
    "direction": (
        calling(ig.DirectionMatch(torch.ones(7))),
        ValueError, r"direction has shape \[7\]; expected that of one sample's input gradient, \[5\], or one per sample, \[4, 5\]"
    ),
    "direction of rows": (calling(ig.DirectionMatch(torch.ones(3, 5))), ValueError, r"direction has shape \[3, 5\]; expected"),
    "direction callable": (calling(ig.DirectionMatch(lambda batch: 3)), TypeError, "callable direction must return a tensor, got int"),
    "target": (calling(y=torch.randn(N)), ValueError, r"target has shape \[4\] and the model's output \[4, 3\]: MSELoss would broadcast.*target\[:, None\]"),
    "target of another batch": (
        calling(base="cross_entropy", y=LABELS[:3]),
        ValueError, r"target has shape \[3\], and the model's output \[4, 3\]: expected one target per sample"
    ),
    "float labels": (calling(base="cross_entropy", y=torch.rand(N)), ValueError, r"class labels as integers \(target.long\(\)\)"),
    "no target": (calling(y=None), ValueError, "MSELoss needs a target"),
    "label without labels": (calling(ig.GradientNorm(of="label")), ValueError, r"integer class labels of shape \[N\] = \[4\], got \[4, 3\] of torch.float32"),
    "label of a vector": (
        calling(ig.GradientNorm(of="label"), base=None, model=lambda: nn.Flatten(0), x=torch.randn(4, 1)),
        ValueError, r"outputs of shape \[N, C\], got \[4\]"
    ),
    # inputs
    "integers": (
        calling(x=torch.ones(N, FEATURES, dtype=torch.long)),
        TypeError, r"inputs\[0\] is torch.int64: there is no derivative with respect to integers.*module:"
    ),
    "complex": (calling(x=torch.ones(N, FEATURES, dtype=torch.complex64)), TypeError, "complex64: input gradients are taken of real inputs"),
    "empty batch": (calling(x=torch.ones(0, FEATURES)), ValueError, r"shape \[0, 5\]: expected a batch \[N, ...\] of at least one sample"),
    "no batch": (calling(x=torch.tensor(1.0)), ValueError, r"shape \[\]: expected a batch"),
    "no tensor": (calling(x="inputs"), TypeError, "inputs must be a tensor, a tuple.* or a dict.*got str"),
    "empty tuple": (calling(x=()), TypeError, "not empty; got an empty tuple"),
    "tuple of other things": (calling(x=(3, X)), TypeError, "wrt=0 must name a tensor of the inputs, got int; choose another with wrt="),
    "nan input": (calling(x=with_nan(X)), ValueError, r"inputs\[0\] has 1 of 20 values that are NaN or infinite, and so is the loss"),
    "nan target": (calling(y=with_nan(Y)), ValueError, "target has 1 of 12 values that are NaN or infinite"),
    # models
    "function": (calling(model=lambda: torch.tanh), TypeError, "model must be an nn.Module, got builtin"),
    "class": (calling(model=lambda: nn.Linear), TypeError, "model must be an nn.Module, got type"),
    "made under inference_mode": (
        calling(model=made_under_inference),
        RuntimeError, r"parameter '0.weight' is an inference tensor.*Trainer\(inference_mode=False\)"
    ),
    "forward under no_grad": (calling(model=wrapped(under(torch.no_grad))), ValueError, "carries no graph to the input.*no_grad"),
    "forward under inference_mode": (calling(model=wrapped(under(torch.inference_mode))), ValueError, "carries no graph to the input.*inference_mode"),
    "detached input": (calling(model=wrapped(lambda inner, x: inner(x.detach()))), ValueError, "does not depend on wrt=0: no path leads from it.*detach"),
    "detached output": (calling(model=wrapped(lambda inner, x: inner(x).detach())), ValueError, "carries no graph"),
    "integer output": (
        calling(model=wrapped(lambda inner, x: inner(x).argmax(1))),
        TypeError, "output must be a floating-point tensor.*got a tensor of torch.int64.*output=callable"
    ),
    "no tensor as output": (calling(model=Selfish), TypeError, "output must be a floating-point tensor.*got str"),
    "scalar output": (calling(model=wrapped(lambda inner, x: inner(x).sum())), ValueError, r"output has shape \[\]: expected \[N, ...\]"),
    "input that is not used": (calling(ig.GradientNorm(wrt=1), model=lambda: Second(), x=(X, X)), ValueError, "does not depend on wrt=1"),
    # names
    "head": (calling(ig.GradientNorm(of="lable")), ValueError, "of='lable' is not a head; did you mean 'label'\\?"),
    "head of another kind": (calling(ig.GradientNorm(of=3)), TypeError, "of must be a name, a head of inputgrad.heads, or a callable.*got int"),
    "position": (calling(ig.GradientNorm(wrt=2)), ValueError, "wrt=2 is not an input of this call"),
    "name": (calling(ig.GradientNorm(wrt="imput")), ValueError, "wrt='imput' is not an input.*did you mean 'input'\\?"),
    "module": (calling(ig.GradientNorm(wrt="module:00")), ValueError, "wrt='module:00' is not a module of Sequential; did you mean '0'\\?"),
    "module called twice": (calling(ig.GradientNorm(wrt="module:inner"), model=wrapped(twice)), ValueError, "called several times in one forward pass"),
    "module never called": (
        calling(ig.GradientNorm(wrt="module:inner"), model=wrapped(lambda inner, x: x)),
        ValueError, "not called in the model's forward pass"
    ),
    "wrt of another kind": (calling(ig.GradientNorm(wrt=1.5)), TypeError, "wrt must be a position, a name.*got 1.5"),
    "nothing to differentiate": (calling(ig.GradientNorm(wrt=())), TypeError, "wrt is empty"),
    "place": (calling(ig.GradientNorm(at="here")), TypeError, "at must be a place.*got str"),
    "interpolate": (
        calling(ig.GradientNorm(at=ig.Interpolate(torch.ones(2, 2)))),
        ValueError, r"Interpolate: other must be a tensor of the inputs' shape \[4, 5\]"
    ),
    # terms
    "term gives a scalar": (
        calling(returning(torch.tensor(1.0))),
        ValueError, r"must return one number per sample, \[N\] = \[4\]; got shape \[\].*takes the mean itself.*per=\"batch\""
    ),
    "term of the wrong length": (calling(returning(torch.ones(3))), ValueError, r"must return one number per sample, \[N\] = \[4\]; got shape \[3\]"),
    "term gives a list": (calling(returning([1.0] * N)), TypeError, "must return one number per sample.*got list"),
    "term gives integers": (calling(returning(torch.ones(N, dtype=torch.long))), TypeError, "must return one number per sample.*got torch.int64"),
    "batch term of samples": (
        calling(returning(torch.ones(N), per="batch")),
        ValueError, r"must return a 0-d tensor, since it declares per='batch'; got shape \[4\]"
    ),
    "head of the wrong length": (
        calling(ig.GradientNorm(of=lambda output, target: output.sum())),
        ValueError, r"must return one floating-point score per sample, \[N\] = \[4\]"
    ),
    "head without a graph": (
        calling(ig.GradientNorm(of=lambda output, target: output.detach().sum(1))),
        ValueError, "scores carry no graph.*without detach or no_grad"
    ),
    "perturbation of rows": (calling(ig.Adversarial(ig.FGSM(0.1, of=ig.heads.EachOutput()))), ValueError, "FGSM needs a head of one score per sample"),
    "weight of no number": (
        calling((lambda step: None) * ig.GradientNorm()),
        ValueError, "weight of gradient_norm at step 0 must be a finite number, got None"
    ),
    "weight of nan": (calling(math.nan * ig.GradientNorm()), ValueError, "must be a finite number, got nan"),
    "loss without a base": (calling(ig.GradientNorm(of="loss"), base=None), ValueError, 'of="loss" needs a base loss, and this InputGradientLoss has none'),
    "base gives no tensor": (calling(base=lambda output, target: 1.0), TypeError, "must return a tensor, got float"),
}  # fmt: skip


class Second(nn.Module):
    """Ignores its second input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.inner(a)


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_one_clear_error(name: str) -> None:
    call, kind, text = CALLS[name]
    with pytest.raises(kind, match=text):
        call()


def test_an_operation_without_second_derivative_is_named_with_the_way_out() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return 2 * ctx.saved_tensors[0] * grads[0]

    with pytest.raises(ig.EngineError, match=r"engine 'double_backward' cannot differentiate Wrapped twice.*once_differentiable.*finite_difference"):
        calling(model=wrapped(lambda inner, x: inner(Once.apply(x))), engine="double_backward")()


@pytest.mark.parametrize("engine", ["auto", "reverse_over_forward", Compiled(backend="eager")], ids=str)
def test_nan_in_a_later_step_is_named_by_every_engine(engine: Any) -> None:
    criterion, trained = ig.InputGradientLoss("mse", ig.GradientNorm(), engine=engine), model()
    for step in (criterion, criterion.evaluate, criterion.backward):
        step(trained, X, Y)
        with pytest.raises(ValueError, match=r"inputs\[0\] has 1 of 20 values that are NaN"):
            step(trained, with_nan(X), Y)


@pytest.mark.parametrize(("steps", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), (0.5, TypeError), ("all", TypeError)], ids=str)
def test_check_finite_is_a_number_of_steps(steps: Any, kind: type[Exception]) -> None:
    criterion = nn.MSELoss() + ig.GradientNorm()
    criterion.check_finite = steps
    with pytest.raises(kind, match=r"criterion.check_finite must be None or a number of steps"):
        criterion(model(), X, Y)


def test_check_finite_stays_with_sums_and_multiples() -> None:
    criterion, other = nn.MSELoss() + ig.GradientNorm(), nn.MSELoss() + ig.GradientNorm()
    criterion.check_finite, other.check_finite = 100, 10
    assert [made.check_finite for made in (2 * criterion, criterion + ig.GradientNorm(), criterion + other, other + (nn.MSELoss() + ig.GradientNorm()))] == [
        *(100, 100, 10, 10)
    ]


def test_a_model_that_fails_fails_with_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        calling(x=torch.randn(N, FEATURES + 1))()
