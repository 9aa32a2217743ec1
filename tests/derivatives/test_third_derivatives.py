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
    "logaddexp": (lambda x: torch.logaddexp(x.masked_fill(x.detach() > 0.3, -torch.inf), x.flip(1)), (3, 5), ()),
    "matrix_exp": (torch.linalg.matrix_exp, (2, 3, 3), ()),
    "cdist": (lambda x, w: torch.cdist(x * w, x.flip(0).sin()), (4, 3), ((3,),)),
    "multi_margin_loss": (lambda x: F.multi_margin_loss(x, torch.tensor([0, 4, 2]), p=2, reduction="none"), (3, 5), ()),
    "multilabel_margin_loss": (lambda x: F.multilabel_margin_loss(x, torch.tensor([[0, 2, -1], [1, -1, 0]])), (2, 3), ()),
    "segment_reduce": (lambda x: torch.segment_reduce(x, "prod", lengths=torch.tensor([3, 0, 2])), (5, 2), ()),
    "to_sparse": (lambda x, w: (x * w).to_sparse().to_dense().sin() * (x * w).to_sparse(1).to_dense(), (4, 3), ((3,),)),
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


BEYOND: dict[str, tuple[Function, tuple[int, ...], tuple[tuple[int, ...], ...]]] = {
    "logcumsumexp": (lambda x: x.logcumsumexp(1), (3, 5), ()),
    "conv_transpose1d": (lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), (2, 2, 5), ((2, 3, 3), (3,))),
    "conv_transpose2d": (lambda x, w, b: F.conv_transpose2d(x, w, b, (3, 2), 0, (2, 1), 2), (2, 2, 3, 3), ((2, 2, 3, 3), (4,))),
    "conv_transpose3d": (lambda x, w: F.conv_transpose3d(x, w, None, 2, 1, 1), (2, 2, 2, 3), ((2, 2, 2, 2, 2),)),
}


@pytest.mark.parametrize("name", BEYOND)
def test_substitutes_of_any_order_alone(name: str) -> None:
    """What torch lacks at third order only: value and first derivative are torch's, the third is that of the second."""
    function, shape, weights = BEYOND[name]
    x, *w = (normal(*one).requires_grad_() for one in (shape, *weights))

    def value() -> Tensor:
        with SecondDerivatives(BackwardTarget(), any_order=True):
            result = function(x.sin(), *w)
        torch.testing.assert_close(result, function(x.sin(), *w))
        quantity = score(result)
        first = torch.autograd.grad(quantity, x, create_graph=True)[0]
        torch.testing.assert_close(first, torch.autograd.grad(score(function(x.sin(), *w)), x)[0])
        at_one_place = first.flatten()[2]  # so that most gradients that come in are zero
        return torch.autograd.grad(at_one_place, x, create_graph=True)[0].sum()

    assert misfit(value, [x, *w]) < AGREES


def test_every_file_has_a_case() -> None:
    files = {substitute.__module__.rsplit(".", 1)[1] for substitute in SUBSTITUTES.values()}
    norms = {"layer_norm", "batch_norm", "group_norm"}
    losses = {"linear_cross_entropy", "margin_losses"}
    others = {"activations", "at_zero", "attention", "convolution", "distances", "extremes", "matrix_exp", "reentered", "relu", "segments", "sparse"}
    assert files <= norms | losses | others
