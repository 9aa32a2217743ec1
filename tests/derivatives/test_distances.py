import pytest
import torch
import torch.nn.functional as F

from tests.derivatives.against_torch import EXACT, agrees_with_differences, derivatives, normal, off, score, substituted

EXPONENTS = [1.0, 2.0, 2.5, 3.0]
RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])


def written_out(x, y, p):
    return ((x[..., :, None, :] - y[..., None, :, :]).abs() ** p).sum(-1) ** (1 / p)


@pytest.mark.parametrize("p", EXPONENTS)
def test_cdist(p):
    tensors = [normal(2, 4, 3), normal(2, 5, 3)]
    found = derivatives(lambda x, y: torch.cdist(x, y, p), tensors, 2)
    assert off(found, derivatives(lambda x, y: written_out(x, y, p), tensors, 2, ours=False)) < EXACT
    assert agrees_with_differences(lambda x, y: torch.cdist(x, y, p), tensors, 2)


@pytest.mark.parametrize("p", EXPONENTS)
def test_pdist(p):
    tensors = [normal(5, 3)]
    rows, columns = torch.triu_indices(5, 5, 1)
    found = derivatives(lambda x: F.pdist(x, p), tensors)
    assert off(found, derivatives(lambda x: written_out(x, x, p)[rows, columns], tensors, ours=False)) < EXACT


@pytest.mark.parametrize("p", EXPONENTS)
def test_value_and_first_derivative_are_torchs(p):
    for function, x in ((lambda x: torch.cdist(x, x.flip(0), p), normal(4, 3)), (lambda x: F.pdist(x, p), normal(4, 3))):
        own = x.clone().requires_grad_()
        value = function(own)
        (gradient,) = torch.autograd.grad(score(value), own)
        found = derivatives(function, [x])
        torch.testing.assert_close(found.value, value.detach())
        torch.testing.assert_close(found.gradient[0], gradient)


def test_a_point_and_itself():
    """No distance, no derivative of any order, as torch has it; never NaN."""
    found = derivatives(lambda x: torch.cdist(x, x).square(), [normal(2, 4, 3)])
    assert all(part.isfinite().all() for part in found.all)


def test_torch_cannot_before_2_15():
    """From then on it can, and gives what ours gives."""
    tensors = [normal(4, 3)]
    if RELEASE < (2, 15):
        with pytest.raises(NotImplementedError, match="_cdist_backward"):
            derivatives(lambda x: torch.cdist(x, x + 1), tensors, ours=False)
    else:
        ours, torchs = (derivatives(lambda x: torch.cdist(x, x + 1), tensors, ours=which) for which in (True, False))
        assert off(ours, torchs) < EXACT


@pytest.mark.parametrize("p", [0.0, 1.5, torch.inf])
def test_left_to_torch(p):
    assert not substituted(lambda x: torch.cdist(x, x + 1, p), normal(4, 3))
