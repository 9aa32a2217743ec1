"""PyTorch's own list of modules with sample inputs, which nobody here wrote: each is served exactly, or refused by the library's own error.

Plain torch decides which. For every sample, in training and in evaluation mode, the textbook of mean squared error + 0.1·mean ‖∂(Σ output)/∂x‖ is tried
first; where it goes through, the library must give its value and its gradients (of the parameters, and of an input that requires one); where it does
not, the library must refuse, for the reason that the textbook found.

Dim 0 of the output is the sample, whatever a module means by it. Where it is the sequence (nn.RNN without batch_first) or the channels (unbatched
images), ∂(Σ output)/∂x is still well defined, row by row, and the textbook says the same. Where input and output differ in dim 0 there is no number a
sample, and the library says so.
"""

import inspect
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db

import inputgrad as ig
from tests import textbook

WEIGHT = 0.1
REFUSALS = {
    "no number per sample": r"expected.*\[N, \.\.\.\]",
    "input and output differ in dim 0": r"one number per sample, \[N\]",
    "integer input": "no derivative with respect to integers",
    "no path from the input": "does not depend on|carries no graph",
    "empty batch": "at least one sample",
    "no second derivative": r"cannot differentiate \w+ twice: [\w ]+ has no such derivative here .*engine='finite_difference'",
}
"""Why the textbook cannot -> what the library's error must say."""

SERVED = "served"
EVERY = {
    "nn.LinearCrossEntropyLoss": 29,
    **dict.fromkeys(("nn.Transformer", "nn.TransformerDecoderLayer", "nn.MultiheadAttention"), 15),
    **dict.fromkeys(("nn.TransformerEncoder", "nn.TransformerEncoderLayer", "nn.RNN", "nn.LSTM", "nn.CrossEntropyLoss"), 9),
}
"""Module -> one sample in so many is tried, all by ``make study``: these bring 64 to 857 combinations of their options each, a minute in all."""
ROOTS = ("nn.LPPool1d", "nn.LPPool2d", "nn.LPPool3d")
"""Modules that take roots, of which torch's samples are negative: NaN whoever differentiates. They are tried at the samples' absolute values."""
LOGARITHMS = ("nn.KLDivLoss",)
"""Here torch's samples are logarithms of negative numbers: NaN before anything is differentiated. They are tried with positive numbers."""
ATTENTION = {"nn.Transformer", "nn.TransformerEncoder", "nn.TransformerEncoderLayer", "nn.TransformerDecoderLayer", "nn.MultiheadAttention"}
"""Modules that call torch's fused attention, which has no second derivative of its own: the textbook is tried on torch's attention arithmetic too."""
OUR_OWN = {"nn.LinearCrossEntropyLoss", "nn.MultiMarginLoss", "nn.MultiLabelMarginLoss"}
"""Modules whose kernels or chunks torch cannot differentiate twice; the library brings the derivative."""
CELLS = ("nn.RNNCell", "nn.GRUCell", "nn.LSTMCell")
"""Here torch's samples are single vectors, which have no dim of samples. They are tried as a batch of one."""


class Scaled(nn.Module):
    """A module without parameters, behind one that it can be judged by: a factor of its input."""

    def __init__(self, module: nn.Module, key: Any) -> None:
        super().__init__()
        self.module, self.key = module, key
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        entries = {**dict(enumerate(args)), **kwargs}
        entries[self.key] = entries[self.key] * self.factor
        return self.module(*[entries[n] for n in range(len(args))], **{name: entries[name] for name in kwargs})


@dataclass(frozen=True)
class Sample:
    """One module with one input: ``entries`` as the module is called, ``key`` the first that is floating point."""

    info: ModuleInfo
    given: ModuleInput
    training: bool

    def model(self) -> nn.Module:
        torch.default_generator.manual_seed(0)
        module = self.info.module_cls(*self.given.constructor_input.args, **self.given.constructor_input.kwargs).double().train(self.training)
        _jitter(module)
        if any(True for _ in module.parameters()) or self.key is None:
            return module
        return Scaled(module, self.key).double().train(self.training)

    @property
    def entries(self) -> dict[Any, Any]:
        """By position, or by name where some arguments are named."""
        call = self.given.forward_input
        if not call.kwargs:
            return dict(enumerate(call.args))
        bound = inspect.signature(self.info.module_cls.forward).bind(None, *call.args, **call.kwargs).arguments
        return {name: value for name, value in bound.items() if name != "self"}

    @property
    def key(self) -> Any:
        return next((key for key, value in self.entries.items() if isinstance(value, Tensor) and value.is_floating_point()), None)

    def inputs(self) -> tuple[Any, Tensor | None]:
        """The inputs as the library takes them, fresh, and the leaf among them."""
        entries = {key: _fresh(value, self.info.name) for key, value in self.entries.items()}
        leaf = entries[self.key].requires_grad_() if self.key is not None else None
        return (tuple(entries.values()) if 0 in entries else entries), leaf


def _jitter(module: nn.Module) -> None:
    """Away from the special values that torch starts from: Σ_c of a fresh LayerNorm's output is 0, and its gradient nothing but rounding."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not is_lazy(parameter):
                parameter.add_(0.1 * torch.randn_like(parameter))


def _fresh(value: Any, module: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_fresh(part, module) for part in value)
    if not isinstance(value, Tensor):
        return value
    value = value.detach().clone()
    if module in CELLS:
        return value.unsqueeze(0)
    if module in ROOTS:
        return value.abs()
    return value.nan_to_num(nan=1).abs() if module in LOGARITHMS else value


@dataclass(frozen=True)
class Result:
    """The loss and the gradients by name; that of the input under ``"<input>"``."""

    loss: Tensor
    gradients: textbook.Gradients
    term: float = 0.0
    """‖∂term/∂θ‖, the weighted term by itself; of the textbook only."""


def first(returned: Any) -> Any:
    return returned[0] if isinstance(returned, tuple) else returned


def by_textbook(sample: Sample) -> Result | str:
    """The right answer, or the reason why there is none."""
    model, (inputs, leaf) = sample.model(), sample.inputs()
    if leaf is None:
        return "integer input"
    torch.default_generator.manual_seed(1)
    book = textbook.Textbook(model, inputs, None, (sample.key,), first)
    if book.output.dim() == 0:
        return "no number per sample"
    if leaf.numel() == 0:
        return "empty batch"
    seed = torch.ones((), requires_grad=True)  # g is linear in it: a backward that cuts its graph in silence, or cannot be recorded, betrays itself
    try:
        (gradient,) = torch.autograd.grad(book.output.sum(), leaf, seed.to(leaf), create_graph=True, allow_unused=True)
        if gradient is None:
            return "no path from the input"
        torch.autograd.backward([gradient.sum()], retain_graph=True)
    except RuntimeError:
        return "no second derivative"
    if book.output.shape[0] != leaf.shape[0]:
        return "input and output differ in dim 0"
    return _result(sample, model, book, leaf)


def _result(sample: Sample, model: nn.Module, book: textbook.Textbook, leaf: Tensor) -> Result:
    model.zero_grad()
    leaf.grad = None
    norm = textbook.norm(textbook.sum_of_outputs)(book, (sample.key,)).mean()
    loss = ((book.output - target_like(book.output)) ** 2).mean() + WEIGHT * norm
    sources = [leaf, *(parameter for parameter in model.parameters() if parameter.requires_grad)]
    own = torch.autograd.grad(WEIGHT * norm, sources, retain_graph=True, allow_unused=True)
    size = float(sum(part.square().sum() for part in own if part is not None)) ** 0.5
    return Result(loss.detach(), {**textbook.parameter_gradients(model, loss), "<input>": leaf.grad}, size)


def by_library(sample: Sample, target: Tensor, engine: Any = "double_backward", *, input_too: bool = True) -> Result:
    """input_too: whether the input requires grad, so that its own gradient is found."""
    model, (inputs, leaf) = sample.model(), sample.inputs()
    if leaf is not None and not input_too:
        leaf = leaf.requires_grad_(False)
    criterion = ig.InputGradientLoss(nn.MSELoss(), WEIGHT * ig.GradientNorm(wrt=sample.key or 0), engine=engine)
    torch.default_generator.manual_seed(1)
    loss = criterion(model, inputs, target)
    gradients = textbook.parameter_gradients(model, loss)
    return Result(loss.detach(), gradients | ({"<input>": None if leaf is None else leaf.grad} if input_too else {}))


def target_like(output: Tensor) -> Tensor:
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)


def target_of(sample: Sample) -> Tensor:
    return target_like(first(textbook.Textbook(sample.model(), sample.inputs()[0], None, (), first).output))


def samples(info: ModuleInfo, *, whole: bool = False) -> Iterator[Sample]:
    for training in (True, False):
        torch.default_generator.manual_seed(0)
        given = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=training)
        for one in given[:: 1 if whole else EVERY.get(info.name, 1)]:
            yield Sample(info, one, training)


def judged(sample: Sample) -> str:
    """`SERVED`, or the reason of the refusal; fails where library and textbook disagree."""
    expected, target = by_textbook(sample), target_of(sample)
    if expected == "no second derivative" and sample.info.name in ATTENTION:  # torch's fused kernel has none, the library's own derivative serves it
        with sdpa_kernel(SDPBackend.MATH):
            expected = by_textbook(sample)
    if expected == "no second derivative" and sample.info.name in OUR_OWN:  # torch's refusal, and the library's own derivative; tests/derivatives has its value
        return SERVED if by_library(sample, target).loss.isfinite() else expected
    if isinstance(expected, str):
        with pytest.raises((ValueError, TypeError, ig.EngineError), match=REFUSALS[expected]) as refused:
            by_library(sample, target)
        assert "inputgrad" in traceback.extract_tb(refused.value.__traceback__)[-1].filename, "the error is not the library's own"
        return expected
    found = by_library(sample, target)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=1e-12)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    return SERVED


@cache
def outcomes(name: str) -> Counter[str]:
    """How many samples of a module are served, and how many refused for which reason."""
    return Counter(judged(sample) for sample in samples(BY_NAME[name]))


BY_NAME = {info.name: info for info in module_db}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("mostly_unverified")
@pytest.mark.parametrize("name", BY_NAME)
def test_each_module_is_served_exactly_or_refused_by_name(name: str) -> None:
    counts = outcomes(name)
    assert counts.total() > 0


@pytest.mark.study
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EVERY)
def test_every_sample_of_the_modules_of_many_options(name: str) -> None:
    assert Counter(judged(sample) for sample in samples(BY_NAME[name], whole=True))[SERVED] >= 50


NEVER = {"nn.CTCLoss": "no second derivative", "nn.Embedding": "integer input"}
"""Refused for all samples, with the reason: torch's kernel of this loss has no second derivative, and tokens no derivative at all."""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_modules_are_accounted_for(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {name: outcomes(name) for name in BY_NAME}
    total = sum(counts.values(), Counter())
    never = {name: count for name, count in counts.items() if not count[SERVED]}
    with capsys.disabled():
        print(f"\nmodule_db: {len(counts)} modules, {len(counts) - len(never)} served exactly, never served: {', '.join(never)}; samples: {dict(total)}")
    assert total.keys() <= {SERVED, *REFUSALS}
    assert never.keys() == NEVER.keys()
    assert all(never[name][reason] for name, reason in NEVER.items())
    assert len(counts) - len(never) >= 100


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", sorted(ATTENTION))
def test_fused_attention_is_served_by_differences(name: str) -> None:
    """The way out that the refusal names, against the textbook on torch's own attention arithmetic."""
    for sample in list(samples(BY_NAME[name], whole=True))[::16]:
        with sdpa_kernel(SDPBackend.MATH):
            expected, target = by_textbook(sample), target_of(sample)
        assert isinstance(expected, Result)
        found = by_library(sample, target, "finite_difference")
        assert abs(found.loss - expected.loss) <= 1e-10 * expected.loss
        assert textbook.distance(found.gradients, expected.gradients) <= 1e-6


EMBEDDINGS = [sample for sample in samples(BY_NAME["nn.Embedding"]) if sample.training]


@pytest.mark.parametrize("sample", EMBEDDINGS, ids=lambda sample: str(sample.given.desc or "plain"))
def test_an_embedding_is_served_at_its_own_output(sample: Sample) -> None:
    torch.default_generator.manual_seed(0)
    embedding = sample.info.module_cls(*sample.given.constructor_input.args, **sample.given.constructor_input.kwargs).double()
    model = nn.Sequential(embedding, nn.Tanh(), nn.Linear(embedding.embedding_dim, 2).double())
    (ids,) = sample.given.forward_input.args
    book = textbook.Textbook(model, ids, None, ("module:0",), first)
    target = target_like(book.output)
    norm = textbook.norm(textbook.sum_of_outputs)(book, ("module:0",)).mean()
    expected = textbook.parameter_gradients(model, ((book.output - target) ** 2).mean() + WEIGHT * norm)
    expected = {name: part.clone() for name, part in expected.items() if part is not None}
    model.zero_grad()
    (nn.MSELoss() + WEIGHT * ig.GradientNorm(wrt="module:0"))(model, ids, target).backward()
    torch.testing.assert_close({name: part.grad for name, part in model.named_parameters()}, expected, rtol=1e-10, atol=1e-12)
