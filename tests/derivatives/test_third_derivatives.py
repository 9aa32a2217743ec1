"""The library's own derivatives, differentiated once more than they are made for: a third derivative is right too, by differences of the second."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.derivatives.substitution import SUBSTITUTES
from tests.derivatives.against_torch import Function, misfit, normal, score, substituted

AGREES = 1e-5
CASES: dict[str, tuple[Function, tuple[int, ...], tuple[tuple[int, ...], ...]]] = {
    "silu": (F.silu, (3, 5), ()),
    "gelu": (F.gelu, (3, 5), ()),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (3, 5), ()),
    "relu": (F.relu, (3, 5), ()),
    "hardsigmoid": (F.hardsigmoid, (3, 5), ()),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), (3, 5), ((5,), (5,))),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (5, 3), ((3,), (3,))),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (3, 4, 5), ((4,), (4,))),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b), (3, 4, 5), ((4,), (4,))),
    "conv2d": (F.conv2d, (2, 2, 5, 5), ((3, 2, 3, 3), (3,))),
    "attention": (lambda x, w: F.scaled_dot_product_attention(x, x * w, x.sin()), (2, 2, 4, 3), ((3,),)),
    "cdist": (lambda x, w: torch.cdist(x * w, x.flip(0).sin()), (4, 3), ((3,),)),
    "pdist": (lambda x, w: F.pdist(x * w), (4, 3), ((3,),)),
}

if hasattr(F, "linear_cross_entropy"):  # torch 2.13

    def _chunked(x: Tensor, w: Tensor) -> Tensor:
        options = nn.LinearCrossEntropyOptions(batch_chunk_size=2)
        return F.linear_cross_entropy(x, w, torch.tensor([0, 1, 2, 1]), options=options)

    CASES["linear_cross_entropy"] = (_chunked, (4, 3), ((3, 3),))


@pytest.mark.parametrize("name", CASES)
def test_the_third_derivative(name: str) -> None:
    function, shape, weights = CASES[name]
    x, scale, *w = (normal(*one).requires_grad_() for one in (shape, shape, *weights))

    def value() -> Tensor:
        with SecondDerivatives(BackwardTarget()):
            quantity = score(function((x * scale).sin(), *w))
        for _ in range(2):
            quantity = score(torch.autograd.grad(quantity, x, create_graph=True)[0])
        return quantity

    assert substituted(function, x.detach(), *[t.detach() for t in w])
    assert misfit(value, [x, scale, *w]) < AGREES


def test_every_file_has_a_case() -> None:
    files = {substitute.__module__.rsplit(".", 1)[1] for substitute in SUBSTITUTES.values()}
    norms = {"layer_norm", "batch_norm", "group_norm"}
    assert files <= norms | {"activations", "at_zero", "relu", "convolution", "attention", "distances", "reentered", "linear_cross_entropy"}
