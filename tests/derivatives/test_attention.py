import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from inputgrad.derivatives import BackwardTarget, SecondDerivatives, attention
from inputgrad.torch_internals import kernels
from tests.derivatives.against_torch import EXACT, agrees_with_differences, derivatives, difference, fixed, normal, off, second_derivative_off, substituted

SHAPES = ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4))


def mask(*shape):
    """Of 5 queries and 7 keys, with one query that nothing may serve."""
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) > 0.4
    drawn[..., 1, :] = False
    return drawn


def attend(**settings):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **settings)


CASES = {
    "plain": attend(),
    "causal": attend(is_causal=True),
    "scale": attend(scale=0.3),
    "mask": attend(attn_mask=mask(2, 3, 5, 7)),
    "mask_of_samples": attend(attn_mask=mask(2, 1, 5, 7)),
    "mask_of_heads": attend(attn_mask=mask(1, 3, 5, 7)),
    "mask_of_all": attend(attn_mask=mask(5, 7), scale=0.2),
    "added": attend(attn_mask=torch.linspace(-3, 3, 35, dtype=torch.float64).view(5, 7)),
    "added_of_heads": attend(attn_mask=torch.linspace(-3, 3, 105, dtype=torch.float64).view(1, 3, 5, 7)),
}


def inputs(*shapes):
    return [normal(*shape) for shape in shapes or SHAPES]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("block", [2**18, 80, 1])
@pytest.mark.parametrize("name", CASES)
def test_as_the_math_kernel(monkeypatch, name, block, declared):
    monkeypatch.setattr(attention, "BLOCK", block)
    assert difference(CASES[name], inputs(), 3, declared=declared) < EXACT


def test_blocks_cover_everything_once(monkeypatch):
    for block in (1, 10, 40, 105, 300, 2**18):
        monkeypatch.setattr(attention, "BLOCK", block)
        seen = torch.zeros(4, 3, 5, 7)
        for heads, rows in attention._blocks(4, 3, 5, 7):
            part = seen[heads][:, :, rows]
            assert part.numel() <= max(block, 7)
            part += 1
        assert (seen == 1).all()


def test_as_finite_differences():
    assert agrees_with_differences(CASES["mask_of_all"], inputs((1, 1, 5, 2), (1, 1, 7, 2), (1, 1, 7, 2)), 3)


def test_torch_cannot():
    q, k, v = (tensor.requires_grad_() for tensor in inputs())
    y = F.scaled_dot_product_attention(q, k, v)
    (g,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="flash_attention_for_cpu_backward is not implemented"):
        torch.autograd.grad(g.sum(), q)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_canary(monkeypatch, which):
    monkeypatch.setattr(attention, "ATTENTION", second_derivative_off(attention.ATTENTION, which))
    assert difference(CASES["plain"], inputs(), 3) > 1e-3


def test_self_attention_of_one_tensor():
    assert difference(lambda x: F.scaled_dot_product_attention(x, x, x), inputs((2, 3, 5, 4))) < EXACT


def test_some_are_constants():
    _, k, v = inputs()
    assert difference(lambda q: F.scaled_dot_product_attention(q, k, v), inputs((2, 3, 5, 4))) < EXACT
    assert difference(lambda v: F.scaled_dot_product_attention(k, k, v), inputs((2, 3, 7, 4))) < EXACT


def test_grouped_queries():
    shapes = ((2, 6, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4))
    assert difference(attend(enable_gqa=True), inputs(*shapes), 3) < EXACT


def test_any_layout():
    def of_a_projection(x):
        q, k, v = x.view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v)

    assert difference(of_a_projection, [normal(2, 5, 36)]) < EXACT
    assert difference(lambda q, k, v: F.scaled_dot_product_attention(q.mT, k.mT, v.mT), inputs((2, 3, 4, 5), (2, 3, 4, 7), (2, 3, 4, 7)), 3) < EXACT


def test_float32():
    assert difference(CASES["causal"], [tensor.float() for tensor in inputs()], 3) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision(dtype):
    """The second derivative is made in float32 and handed on in the tensors' own precision."""
    tensors = [tensor.to(dtype) for tensor in inputs()]
    found = attention.ATTENTION.second(attention.Settings(None, False, 0.5), tuple(tensors), fixed(tensors[0]), tuple(tensors), (), [True] * 4)
    assert {part.dtype for part in found} == {dtype}
    assert difference(CASES["causal"], tensors, 3) < 0.05


def test_autocast():
    def function(q, k, v):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask(5, 7)).float()

    assert difference(function, [tensor.float() for tensor in inputs()], 3) < 0.05


@pytest.mark.parametrize("name", CASES)
def test_the_way_of_other_devices(monkeypatch, name):
    """No kernel is named there: the first backward pass differentiates torch's function again."""

    def forward(settings, q, k, v):
        return settings.own(q, k, v), ()

    operation = attention.ATTENTION
    monkeypatch.setattr(attention, "ATTENTION", attention.Operation(3, operation.torchs_own, forward, operation.backward, operation.second))
    assert difference(CASES[name], inputs(), 3) < EXACT


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (attend(), ((2, 5, 4), (2, 5, 4), (2, 5, 4))),
        (attend(), ((2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 6))),
        (attend(), ((2, 3, 5, 4), (1, 3, 5, 4), (1, 3, 5, 4))),
        (attend(attn_mask=mask(2, 1, 5, 7)[0]), SHAPES),
    ],
    ids=["three_dimensions", "other_width", "broadcast", "mask_of_three_dimensions"],
)
def test_the_rest_runs_in_the_math_kernel(function, shapes):
    assert difference(function, inputs(*shapes), len(shapes)) == 0


def test_learnt_mask():
    assert difference(lambda q, k, v, bias: F.scaled_dot_product_attention(q, k, v, bias), [*inputs(), normal(5, 7)], 3) == 0


def test_dropout_draws_once():
    def function(q, k, v):
        torch.manual_seed(3)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)

    assert difference(function, inputs(), 3) == 0


def test_the_users_choice_of_a_kernel_stands():
    def function(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v)

    assert not substituted(function, *inputs())


def of_module(module, call):
    names = [name for name, _ in module.named_parameters()]
    return lambda x, *parameters: call(lambda *args, **kwargs: functional_call(module, dict(zip(names, parameters, strict=True)), args, kwargs), x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_multihead_attention(weights, training):
    module = nn.MultiheadAttention(6, 2, batch_first=True).double().train(training)
    function = of_module(module, lambda run, x: run(x, x, x, need_weights=weights)[0])
    assert difference(function, [normal(2, 5, 6), *module.parameters()]) < EXACT


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"norm_first": True, "activation": "gelu"}], ids=["post", "pre"])
def test_encoder_layer(settings, training):
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0, **settings).double().train(training)
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    function = of_module(layer, lambda run, x: run(x, src_mask=causal))
    assert difference(function, [normal(2, 5, 6), *layer.parameters()]) < EXACT


def test_encoder_layer_reaches_the_fused_kernel():
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0).double()
    seen = []
    kept = attention.ATTENTION.forward
    operation = attention.ATTENTION
    with pytest.MonkeyPatch.context() as patch:
        spied = attention.Operation(3, operation.torchs_own, lambda *args: seen.append(args) or kept(*args), operation.backward, operation.second)
        patch.setattr(attention, "ATTENTION", spied)
        with SecondDerivatives(BackwardTarget()):
            layer(normal(2, 5, 6).requires_grad_())
    assert len(seen) == 1


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks_are_torchs(kind):
    module = kind(6, 5, batch_first=True).double()
    function = of_module(module, lambda run, x: run(x)[0])
    tensors = [normal(2, 5, 6), *module.parameters()]
    assert off(derivatives(function, tensors), derivatives(function, tensors, ours=False)) == 0


def test_long_sequences_take_bounded_memory(monkeypatch):
    """The largest tensor of the second backward pass is of the block's size, not of the sequence's square."""
    largest = []

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            largest.append(max((part.numel() for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, torch.Tensor)), default=0))
            return found

    monkeypatch.setattr(attention, "BLOCK", 2**10)
    tensors = inputs((1, 2, 128, 4), (1, 2, 128, 4), (1, 2, 128, 4))
    with Largest():
        attention.ATTENTION.second(attention.Settings(None, False, 0.5), tuple(tensors), fixed(tensors[0]), tuple(tensors), (), [True] * 4)
    assert max(largest) <= 2**10


@pytest.mark.parametrize("name", ["causal", "mask"])
def test_without_torchs_unnamed_kernels(monkeypatch, name):
    """As on other devices: torch's public function, differentiated once by torch and once by us."""
    monkeypatch.setattr(kernels, "aten", object())
    assert difference(CASES[name], inputs(), 3) < EXACT
