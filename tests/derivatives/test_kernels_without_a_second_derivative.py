"""Margin losses and segment reductions, whose kernels torch can differentiate once: on torch's own samples of them, by value and by differences."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.derivatives.against_torch import agrees_with_differences, derivatives, normal, score, substituted

NAMES = ("_segment_reduce", "nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss")


def samples(name: str) -> Iterator[tuple[Any, Any, list[torch.Tensor]]]:
    """A function of one tensor, and the tensor, moved off the places where two numbers are equal."""
    from torch.testing._internal.common_methods_invocations import op_db  # takes seconds

    for info in op_db:
        if info.name == name:
            for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):
                yield (
                    lambda x, info=info, sample=sample: info.op(x, *sample.args, **sample.kwargs),
                    sample,
                    [sample.input.detach() + 0.01 * torch.randn_like(sample.input)],
                )


@pytest.mark.parametrize("name", NAMES)
def test_value_and_first_derivative_are_torchs(name: str) -> None:
    count = 0
    for function, sample, tensors in samples(name):
        assert substituted(function, *tensors), f"{sample.args} {sample.kwargs} fell through to torch's own"
        own = tensors[0].clone().requires_grad_()
        value = function(own)
        (expected,) = torch.autograd.grad(score(value).nansum(), own)
        ours = derivatives(function, tensors)
        torch.testing.assert_close(ours.value, value.detach(), equal_nan=True)
        torch.testing.assert_close(ours.gradient[0], expected, equal_nan=True)
        count += 1
    assert count >= 6


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_those_of_the_value(name: str) -> None:
    """Every fifth sample that has a number everywhere: a segment without rows has no mean."""
    numbers = [(function, tensors) for function, _, tensors in samples(name) if function(tensors[0]).isfinite().all() and tensors[0].numel() < 100]
    assert numbers
    for function, tensors in numbers[::5]:
        assert agrees_with_differences(function, tensors)


@pytest.mark.filterwarnings("ignore:size_average and reduce:UserWarning")
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.multi_margin_loss(x, torch.tensor([1, 0]), reduce=False), (2, 3)),
        (lambda x: F.multilabel_margin_loss(x, torch.tensor([[1, -1, 0]]), size_average=True), (1, 3)),
    ],
)
def test_old_arguments_are_left_to_torch(function: Any, shape: tuple[int, ...]) -> None:
    assert not substituted(function, normal(*shape))


def test_a_wrong_call_fails_as_in_torch() -> None:
    with pytest.raises(RuntimeError, match="target"):
        substituted(lambda x: F.multi_margin_loss(x, torch.tensor([1, 0, 2])), normal(2, 3))
    with pytest.raises(RuntimeError, match="lengths"):
        substituted(lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 3])), normal(2, 3))
