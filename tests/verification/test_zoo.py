"""Many kinds of models at their first step: correct ones pass in silence, mistakes are found, and gradients that are changed on purpose are reported."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import inputgrad as ig
from inputgrad.step.active_terms import active_terms
from inputgrad.step.verifier import Verification, Verifier
from inputgrad.variables import ModelInputs
from tests.verification.models import Wrong, by_a_factor, by_five_percent, cut
from tests.verification.zoo import ZOO, N, Of, flat, layers

TERMS = {"loss": ig.GradientNorm(power=2, of="loss"), "label": ig.GradientNorm(of="label")}
UNTOLD = ("zero last layer",)
"""The value is a square that is 0 in the last layer's weight, so that float32 cannot tell its slope."""
HIDDEN = ("checkpointed ReLU",)
"""Branch decisions are taken where they cannot be held fixed, so that nothing can be told of a misfit."""


@pytest.fixture(autouse=True)
def verifying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INPUTGRAD_VERIFY", raising=False)
    torch.default_generator.manual_seed(0)


def made(name: str, dtype: torch.dtype) -> tuple[nn.Module, Any, Tensor]:
    model, inputs = ZOO[name]()
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    model(*given)  # lazy layers learn their sizes
    given = tuple(x.to(dtype) if x.is_floating_point() else x for x in given)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            tensor.data = tensor.data.to(dtype.to_complex() if tensor.is_complex() else dtype)
    return model, given if isinstance(inputs, tuple) else given[0], torch.randint(3, (N,))


def verified(name: str, engine: Any, dtype: torch.dtype, head: str = "loss") -> Verification:
    model, x, y = made(name, dtype)
    criterion = ig.InputGradientLoss("cross_entropy", TERMS[head], engine=engine)
    return Verifier(criterion.objective, model, ModelInputs.of(x), y, active_terms(criterion.terms, 0, training=True)).verify(criterion.engine)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ZOO)
def test_nothing_is_said_of_a_right_model(name: str, dtype: torch.dtype) -> None:
    for head, term in TERMS.items():
        model, x, y = made(name, dtype)
        criterion = ig.InputGradientLoss("cross_entropy", term)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                criterion(model, x, y).backward()
        told = [str(warning.message) for warning in caught if warning.category is UserWarning and "couples the samples" not in str(warning.message)]
        assert told == []
        found = verified(name, "auto", dtype, head)
        assert found.status == "verified" or (name in UNTOLD and found.status == "not verified"), found


@pytest.mark.one_in(4)
@pytest.mark.parametrize("mistake", [by_five_percent, by_a_factor, cut])
@pytest.mark.parametrize("name", [name for name in ZOO if name not in (*UNTOLD, *HIDDEN)])
def test_a_wrong_engine_is_found_in_it(name: str, mistake: Any) -> None:
    assert verified(name, Wrong(mistake), torch.float64).status == "wrong"


def first_step(model: nn.Module, engine: str = "auto") -> list[str]:
    """What is said at the first step of a classifier of eight features."""
    x, y = torch.randn(N, 8), torch.randint(3, (N,))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ig.InputGradientLoss("cross_entropy", TERMS["label"], engine=engine)(model, x, y).backward()
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


class Rounded(torch.autograd.Function):
    """Rounding, whose gradient is that of the identity."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch's stub takes any number of gradients
        return gradient


def hooked(_m: Any, h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(lambda gradient: 0.1 * gradient)
    return h.tanh()


@pytest.mark.parametrize("function", [lambda _m, h: Rounded.apply(4 * h).tanh(), hooked], ids=["straight through", "hook"])
def test_what_changes_gradients_on_purpose_is_told_and_not_refused(function: Any) -> None:
    told = first_step(flat(function)[0])
    assert len(told) == 1
    assert "on purpose" in told[0]


def test_a_kernel_that_rounds_is_not_refused() -> None:
    for scale in (0.05, 0.1, 0.3):
        first_step(flat(lambda _m, h, scale=scale: torch.fake_quantize_per_tensor_affine(h, scale, 0, -128, 127).tanh())[0])


def test_reentrant_checkpointing_is_verified() -> None:
    model = Of(lambda m, x: m.o(checkpoint(m.a, x, use_reentrant=True)), a=nn.Sequential(nn.Linear(8, 16), nn.Tanh()), o=nn.Linear(16, 3))
    told = [text for text in first_step(model) if "inputgrad" in text or "engine" in text]
    assert len(told) == 1
    assert "re-entrant" in told[0]


def test_two_heads_on_one_pass() -> None:
    model, x = layers(nn.SiLU())
    criterion = ig.InputGradientLoss("cross_entropy", [TERMS["loss"], TERMS["label"]])
    for _ in range(2):
        assert criterion(model, x, torch.randint(3, (N,))).isfinite()


def test_each_form_of_a_model_is_verified_once() -> None:
    model, x = layers(nn.Dropout(0.1), nn.SiLU())
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    criterion = ig.InputGradientLoss("cross_entropy", TERMS["loss"])

    def passes(rows: int = N) -> int:
        calls.clear()
        criterion(model, x[:rows], torch.randint(3, (rows,))).backward()
        return len(calls)

    assert passes() > passes() == 1
    assert passes(5) == 1  # another size of the batch is the same form
    model[0].requires_grad_(False)
    assert passes() > passes() == 1
    model[0].requires_grad_(True)
    assert passes() == 1
    model.eval()
    assert passes() > passes() == 1


def test_a_closure_of_lbfgs() -> None:
    model, x = layers(nn.Tanh())
    y, criterion = torch.randint(3, (N,)), ig.InputGradientLoss("cross_entropy", TERMS["loss"])
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(model, x, y)
        loss.backward()
        return loss.detach()

    first = float(optimizer.step(closure))
    assert float(closure()) < first


def test_several_criteria_on_one_model() -> None:
    model, x = layers(nn.ReLU())
    y = torch.randint(3, (N,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for term in TERMS.values():
            for engine in ("auto", "finite_difference", "reverse_over_forward"):
                ig.InputGradientLoss("cross_entropy", term, engine=engine)(model, x, y).backward()


@pytest.mark.parametrize("kind", ["half", "weight"])
def test_what_is_not_verified_is_told_with_the_reason(kind: str) -> None:
    model, x = layers(nn.SiLU())
    model, x = (model.bfloat16(), x.bfloat16()) if kind == "half" else (model, x)
    explained = ig.InputGradientLoss("cross_entropy", TERMS["loss"]).explain(model, x, torch.randint(3, (N,)))
    reasons = {"half": ("double_backward", "half precision is too coarse"), "weight": ("weight_as_step", "it is approximate by the size of the weight")}
    engine, reason = reasons[kind]
    assert explained[engine].unverified == reason
    assert f"not verified: {reason}" in str(explained)
    assert kind == "weight" or f"not verified: {reason}" in str(ig.validate(model, x))


def test_a_term_on_a_share_of_the_batch() -> None:
    model, x = layers(nn.SiLU())
    criterion = ig.InputGradientLoss("cross_entropy", [TERMS["loss"], ig.GradientNorm(p=1).scheduled(fraction=0.5)])
    due = active_terms(criterion.terms, 0, training=True)
    found = Verifier(criterion.objective, model, ModelInputs.of(x), torch.randint(3, (N,)), due[1:]).verify(criterion.engine)
    assert found.status == "verified", found


class Detached(torch.autograd.Function):
    """sin(x·w), whose backward takes w for a constant: the input's derivatives are right, and what is learnt from them is not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (x * w).sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        slope = g * (x * w.detach()).cos()
        return slope * w.detach(), (slope * x).sum(0)


def test_what_a_backward_detaches_is_no_constant_of_the_model() -> None:
    model = Of(lambda m, x: m.o(Detached.apply(m.i(x), m.w)), i=nn.Linear(2, 6), o=nn.Linear(6, 1), w=nn.Parameter(torch.rand(6) + 0.5))
    with pytest.raises(ig.EngineError, match="off the change of their value"):
        ig.InputGradientLoss(None, ig.Residual(lambda u: u.laplacian(), names="xy"))(model, torch.randn(8, 2))
