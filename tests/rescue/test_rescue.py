"""Each case: what plain torch says, which engine supports it, how exactly, and what the others say."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue import models
from tests.rescue.served import TOLERANCE, WAYS, distance, ours, plain, reference, told

ATTENTION = "derivative for aten::_scaled_dot_product_flash_attention_for_cpu_backward is not implemented"
ONCE = "trying to differentiate twice a function that was marked with @once_differentiable"
REENTRANT = (
    "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to .backward(). To resolve this error, "
    "you can either set use_reentrant=False, or call .backward() without passing the `inputs` argument."
)
NO_FORWARD_MODE = r"_scaled_dot_product_flash_attention_for_cpu has no such derivative"
SETUP_CONTEXT = "a custom autograd.Function without setup_context"


def features() -> Tensor:
    return torch.randn(7, models.FEATURES, dtype=torch.float64)


def tokens() -> Tensor:
    return torch.randn(5, models.TOKENS, models.WIDTH, dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """One model.

    upstream: what plain double backward raises; None where torch supports it. taken: what ``auto`` takes; None where it refuses.
    refused: engine -> what it says.
    """

    name: str
    build: Callable[[], nn.Module]
    upstream: str | None
    taken: str | None = "double_backward"
    refused: dict[str, str] = field(default_factory=dict)
    inputs: Callable[[], Tensor] = features
    training: bool = True

    def make(self) -> tuple[nn.Module, Tensor, Tensor]:
        torch.manual_seed(1)
        model, x = self.build().double().train(self.training), self.inputs()
        return model, x, torch.randn(len(x), 3, dtype=torch.float64)

    def expected(self, base: str | None) -> list[Tensor | None]:
        model, x, target = self.make()
        model.hindered = False
        return reference(model, x, target, base)


def attention(name: str, build: Callable[[], nn.Module], *, training: bool = True) -> Case:
    return Case(name, build, ATTENTION, refused={"reverse_over_forward": NO_FORWARD_MODE}, inputs=tokens, training=training)


def _mask() -> Tensor:
    return torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)


once = {"double_backward": "once_differentiable", "reverse_over_forward": SETUP_CONTEXT}
reentrant = {"double_backward": "re-entrant checkpointing allows no such derivative", "reverse_over_forward": r"requires_grad_\(\).*re-entrant checkpointing"}
again = {"reverse_over_forward": "torch.utils.checkpoint computes its region again" if torch.__version__ >= "2.13" else "autograd.Function has no such"}
asks = {"reverse_over_forward": r"Tensor.requires_grad_\(\)"}

CASES = [
    attention("attention", models.Attention),
    attention("attention_causal", lambda: models.Attention(is_causal=True)),
    attention("attention_masked", lambda: models.Attention(attn_mask=_mask())),
    attention("encoder", models.Encoder),
    attention("encoder_eval", models.Encoder, training=False),
    attention("encoder_gelu_causal", lambda: models.Encoder("gelu", causal=True)),
    attention("encoder_padded", lambda: models.Encoder(masked=True)),
    Case("checkpoint_reentrant", lambda: models.Checkpointed(reentrant=True), REENTRANT, "finite_difference", reentrant),
    Case("checkpoint", lambda: models.Checkpointed(reentrant=False), None, refused=again),
    Case("once_differentiable", models.Once, ONCE, "finite_difference", once),
    Case("once_differentiable_relu", lambda: models.Once(nn.ReLU), ONCE, "finite_difference", once),
    Case("hardsigmoid", models.HardSigmoid, "derivative for aten::hardsigmoid_backward is not implemented", refused={"reverse_over_forward": "hardsigmoid"}),
    Case("glu", models.GatedLinear, None),
    Case("rnn", lambda: models.Recurrent(nn.RNN), None),
    Case("gru", lambda: models.Recurrent(nn.GRU), None),
    Case("lstm", lambda: models.Recurrent(nn.LSTM), None),
    Case("asks_the_caller", models.AsksTheCaller, None, refused=asks),
]
SERVED = [(case, engine) for case in CASES for engine in TOLERANCE if engine not in case.refused]
REFUSED = [(case, engine) for case in CASES for engine in case.refused]


def _named(value: object) -> str:
    return value.name if isinstance(value, Case) else str(value)


@pytest.mark.parametrize("case", [case for case in CASES if case.upstream], ids=_named)
def test_plain_torch_raises(case: Case) -> None:
    """Where torch has learned it, this fails: then the case moves to those that torch supports."""
    with pytest.raises(RuntimeError) as raised:
        plain(*case.make())
    assert str(raised.value) == case.upstream


@pytest.mark.parametrize("case", [case for case in CASES if not case.upstream], ids=_named)
def test_plain_torch_serves(case: Case) -> None:
    assert distance(plain(*case.make()), case.expected(None)) < 1e-12


@pytest.mark.parametrize(("case", "engine"), SERVED, ids=_named)
def test_served_by_the_named_engine(case: Case, engine: str) -> None:
    for base, by_call in WAYS:
        with told() as messages:
            found = ours(*case.make(), engine=engine, base=base, by_call=by_call)
        assert distance(found, case.expected(base)) < TOLERANCE[engine]
        assert messages == []


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_served_by_auto_with_one_warning(case: Case) -> None:
    assert case.taken
    for base, by_call in WAYS:
        model, x, target = case.make()
        expected = case.expected(base)
        with told() as first:
            found = ours(model, x, target, engine="auto", base=base, by_call=by_call)
        with told() as second:
            after = ours(model, x, target, engine="auto", base=base, by_call=by_call)
        assert max(distance(found, expected), distance(after, expected)) < TOLERANCE[case.taken]
        assert second == []
        if case.taken == "double_backward":
            assert first == []
        else:
            (message,) = first
            assert case.upstream
            assert f"takes '{case.taken}' (approximate" in message
            assert case.upstream[:60] in message


@pytest.mark.parametrize(("case", "engine"), REFUSED, ids=_named)
def test_refused_in_one_error(case: Case, engine: str) -> None:
    for base, by_call in WAYS:
        with pytest.raises(ig.EngineError, match=case.refused[engine]) as refused:
            ours(*case.make(), engine=engine, base=base, by_call=by_call)
        assert "engine='finite_difference'" in str(refused.value)


def test_differences_in_single_precision() -> None:
    case = next(case for case in CASES if case.name == "once_differentiable")
    model, x, target = case.make()
    found = ours(model.float(), x.float(), target.float(), engine="finite_difference")
    assert distance([None if part is None else part.double() for part in found], case.expected(None)) < 1e-3
