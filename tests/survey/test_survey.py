"""`explain` and `validate`: what they say is so, and what they leave behind is nothing."""

import copy
import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.diagnosis.records import WIDTH, Explanation, Validation
from inputgrad.engines import ENGINES, Compiled, FiniteDifference
from tests.rescue import models as rescue
from tests.survey import models
from tests.survey.models import FEATURES, OUTPUTS, SAMPLES
from tests.traced import BACKEND

EXACT = ("double_backward", "reverse_over_forward")


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, FEATURES, dtype=torch.float64), torch.randn(SAMPLES, OUTPUTS, dtype=torch.float64)


def criterion(**settings: Any) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("mse", 0.1 * ig.GradientNorm(power=2), **settings)


def narrow(record: Explanation | Validation) -> str:
    text = str(record)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not text.endswith("\n")
    return text


def kinds(record: Validation) -> set[str]:
    return {finding.what for finding in record.findings}


@pytest.mark.parametrize("make", [models.mlp, models.convolutional, models.normed])
def test_every_engine_serves_an_ordinary_model(make: Callable[[], nn.Module]) -> None:
    found = criterion().explain(make().double(), *batch())
    assert {verdict.engine for verdict in found.verdicts} == set(ENGINES)
    assert found
    assert (found.taken, found.reference) == ("double_backward", "double_backward")
    for name in (*EXACT, "auto"):
        assert found[name].works == "exactly", name
        assert found[name].difference is not None
        assert found[name].difference < 1e-12
    assert found["finite_difference"].works == "approximately"
    assert 0 < (found["finite_difference"].difference or 0) < 1e-6
    assert all(found[name].time and found[name].passes and found[name].memory for name in (*EXACT, "finite_difference"))
    assert found["compiled"].works == "not tried"
    assert "engine='auto' takes 'double_backward'" in narrow(found)
    with pytest.raises(KeyError, match="this explanation knows auto"):
        found["magic"]


@pytest.mark.parametrize("make", [models.mlp, rescue.Once, models.convolutional, lambda: rescue.Checkpointed(nn.ReLU, reentrant=True)])
def test_what_auto_is_said_to_take_is_what_it_takes(make: Callable[[], nn.Module]) -> None:
    model = make().double()
    taken = criterion().explain(model, *batch()).taken
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if taken is None:
            with pytest.raises(ig.EngineError, match="no engine supports"):
                criterion()(model, *batch())
            return
        criterion()(model, *batch()).backward()
    told = [str(warning.message) for warning in caught if "takes '" in str(warning.message)]
    assert len(told) == (taken != "double_backward")  # the explanation has not used up the warning
    assert all(f"takes {taken!r}" in text for text in told)
    again = criterion().explain(model, *batch())
    assert again.taken == taken
    assert taken == "double_backward" or "an earlier step" in again.why


def test_once_differentiable() -> None:
    model = rescue.Once().double()
    found = criterion().explain(model, *batch())
    assert not found
    assert (found.taken, found.reference) == ("finite_difference", None)
    assert "once_differentiable" in (found["double_backward"].reason or "")
    assert "\n" not in (found["double_backward"].reason or "")
    assert found["finite_difference"].difference is None
    assert "once_differentiable" in narrow(found)
    record = ig.validate(model, batch()[0])
    assert not record.ok
    assert {"no second derivative", "no forward mode"} <= kinds(record)
    assert "way out: engine='auto' takes 'finite_difference'" in narrow(record)


@pytest.mark.parametrize(
    ("engine", "taken", "why"),
    [
        ("double_backward", None, r"it raises EngineError; engine='auto' takes 'finite_difference'"),
        ("finite_difference", "finite_difference", "it was named, and works approximately"),
        (FiniteDifference("one_sided"), "finite_difference", "works approximately"),
        ("compiled", "compiled", "it was named, and was not tried here.*'finite_difference'"),
    ],
)
def test_an_engine_that_was_named(engine: Any, taken: str | None, why: str) -> None:
    found = criterion(engine=engine).explain(rescue.Once().double(), *batch())
    assert found.taken == taken
    assert re.search(why, found.why), found.why


def test_differences_that_do_not_see_run_when_they_are_named() -> None:
    model = rescue.Recurrent(nn.RNN, nonlinearity="relu").double()
    found = criterion(engine="finite_difference").explain(model, *batch())
    assert found.taken == "finite_difference"
    assert found["finite_difference"].works == "not supported"
    assert "runs with one warning" in found.why
    assert "unseen branches" in kinds(ig.validate(model, batch()[0]))
    with pytest.warns(UserWarning, match="cannot be replayed"):  # the one warning is still to come
        criterion(engine="finite_difference")(model, *batch())


def test_the_compiled_engine_is_tried_on_request() -> None:
    engine = Compiled(backend=BACKEND)
    model = models.mlp().double()
    found = criterion(engine=engine).explain(model, *batch(), compile=True)
    assert found["compiled"].works == "exactly", found["compiled"].reason
    assert found.taken == "compiled"
    x, y = batch()
    refused = criterion(engine=engine).explain(model, x.requires_grad_(), y, compile=True)
    assert refused["compiled"].works == "not supported"
    assert "inputs or the target require grad" in (refused["compiled"].reason or "")


def test_a_term_that_is_not_due_and_one_of_weight_zero_are_tried_all_the_same() -> None:
    terms = [(0.1 * ig.GradientNorm()).scheduled(every=7), (lambda step: 0.0) * ig.GradientNorm(of="loss").scheduled(fraction=0.5)]
    loss = ig.InputGradientLoss("mse", terms)
    loss.step_number = 3
    found = loss.explain(models.mlp().double(), *batch())
    assert found["finite_difference"].difference
    assert loss.step_number == 3


def test_an_engine_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from inputgrad.engines import ReverseOverForward, reverse_over_forward

    right = reverse_over_forward._derivative
    monkeypatch.setattr(reverse_over_forward, "_derivative", lambda *given: 1.1 * right(*given))
    assert ReverseOverForward.traits.exact
    model = models.mlp().double()
    found = criterion().explain(model, *batch())
    assert found["reverse_over_forward"].works == "wrong"
    assert found["reverse_over_forward"].misfit == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert found["reverse_over_forward"].difference == pytest.approx(0.1)
    assert "wrong gradient" in kinds(ig.validate(model, batch()[0]))


# validate


def test_nothing_to_be_found() -> None:
    record = ig.validate(models.mlp().double(), *batch())
    assert record.findings == ()
    assert record
    assert "nothing stands in the way" in narrow(record)


def test_batch_norm_dropout_and_frozen_parameters() -> None:
    model = models.normed().double()
    model[0].requires_grad_(False)
    record = ig.validate(model, *batch())
    assert kinds(record) == {"coupled samples", "dropout active", "frozen parameters"}
    assert record.ok
    assert "'1' (BatchNorm1d)" in narrow(record)
    assert kinds(ig.validate(model.eval(), *batch())) == {"frozen parameters"}
    assert kinds(ig.validate(model.requires_grad_(False), *batch())) == {"nothing to train"}


def test_integer_inputs_are_tried_at_the_embedding() -> None:
    record = ig.validate(models.Tokens().double(), torch.randint(0, 20, (4, 5)))
    assert 'wrt="module:embedding"' in narrow(record)
    assert "integer inputs" in kinds(record)
    assert record.explanation["double_backward"].works == "exactly"  # our own second derivative of fused attention
    assert record.explanation["finite_difference"].works == "approximately"
    assert "no forward mode" in kinds(record)
    without = ig.validate(models.mlp().double(), torch.randint(0, 20, (SAMPLES, FEATURES)))
    assert not without
    assert {"integer inputs", "cannot be run"} <= kinds(without)


def test_in_place_and_unused() -> None:
    x, _ = batch()
    given = x.clone()
    record = ig.validate(models.Spoiling().double(), x)
    assert kinds(record) == {"in place", "unused parameters"}
    assert "'idle.weight'" in narrow(record)
    assert torch.equal(x, given)


def test_no_path() -> None:
    record = ig.validate(models.Detached().double(), batch()[0])
    assert not record.ok
    assert kinds(record) == {"no path"}
    assert record.explanation.taken is None
    narrow(record)


def test_numbers_that_are_not_finite() -> None:
    x, y = batch()
    x[0, 0], y[1, 1] = float("nan"), float("inf")
    record = ig.validate(models.mlp().double(), x, y)
    text = narrow(record)
    assert "inputs[0] has 1 of 30" in text
    assert "target has 1 of 15" in text
    assert "the model's output has 3 of 15" in text


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: nn.Linear(FEATURES + 1, 2).double(), "mat1 and mat2 shapes cannot be multiplied"),
        (lambda: nn.LazyLinear(2), "lazy parameters"),
        (lambda: nn.Sequential(nn.Linear(FEATURES, 1).double(), nn.Flatten(0), nn.Threshold(0, 0), _Integers()), "TypeError"),
    ],
)
def test_a_model_that_cannot_be_run_is_no_exception(model: Callable[[], nn.Module], told: str) -> None:
    record = ig.validate(model(), batch()[0])
    assert not record.ok
    assert told in narrow(record)


class _Integers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long()


def test_parameters_made_under_inference_mode() -> None:
    with torch.inference_mode():
        model = models.mlp().double()
    record = ig.validate(model, batch()[0])
    assert not record.ok
    assert "inference tensor" in narrow(record)


def test_bad_arguments_raise() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        ig.validate(torch.sin, batch()[0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="inputs must be a tensor"):
        ig.validate(models.mlp(), None)
    with pytest.raises(ValueError, match="has no terms"):
        ig.InputGradientLoss("mse").explain(models.mlp().double(), *batch())
    with pytest.raises(ValueError, match="needs a target"):
        criterion().explain(models.mlp().double(), batch()[0])
    with pytest.raises(ValueError, match="lazy parameters"):
        criterion().explain(nn.LazyLinear(OUTPUTS), *batch())


# what is left behind


def state(model: nn.Module, tensors: list[Tensor]) -> list[Any]:
    held = [*model.parameters(), *model.buffers(), *tensors]
    return [
        [(id(tensor), tensor.detach().clone().tolist(), tensor._version, tensor.requires_grad) for tensor in held],
        [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in (*model.parameters(), *tensors)],
        [(module.training, len(module._forward_hooks)) for module in model.modules()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
    ]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("make", [models.normed, models.Warning_, models.Spoiling, lambda: rescue.Checkpointed(reentrant=True), rescue.Once, models.Detached])
@pytest.mark.parametrize("by", ["explain", "validate", "compile"])
def test_nothing_is_touched_and_nothing_warns(make: Callable[[], nn.Module], by: str) -> None:
    model, (x, y), loss = make().double(), batch(), criterion(engine=Compiled(backend=BACKEND) if by == "compile" else "auto")
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    model.register_forward_hook(lambda *_: None)
    next(model.parameters()).register_post_accumulate_grad_hook(_accumulated)
    before, settings = copy.deepcopy(state(model, [x, y])), copy.deepcopy(loss.state_dict())
    reentrant = isinstance(model, rescue.Checkpointed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.survey.test_survey.ALLOWED", reentrant)
        record = ig.validate(model, x, y) if by == "validate" else loss.explain(model, x, y, compile=by == "compile")
    assert state(model, [x, y]) == before
    assert loss.state_dict() == settings
    if isinstance(model, models.Warning_):
        assert "warned meanwhile: the model speaks" in narrow(record)


ALLOWED = False


def _accumulated(_parameter: Tensor) -> None:
    assert ALLOWED, "an optimiser in the backward pass would have stepped"


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_off(off: Callable[[], Any]) -> None:
    model, (x, y) = models.mlp().double(), batch()
    with off():
        x = x + 0  # an inference tensor under inference_mode
        found, record = criterion().explain(model, x, y), ig.validate(model, x, y)
        assert not torch.is_grad_enabled()
    assert found.ok
    assert record.ok
    assert record.findings == ()


def test_the_same_random_draws_for_every_engine() -> None:
    """Without a replay the masks would differ, and so would the gradients, by their own size."""
    found = criterion().explain(models.Warning_().double(), *batch())
    assert (found["reverse_over_forward"].difference or 0) < 1e-12
    assert (found["finite_difference"].difference or 0) < 1e-6
