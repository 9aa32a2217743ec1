"""What ours gives lies in memory as torch's own does: dropout draws in the order of memory, so another layout means another mask downstream."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from tests.derivatives.against_torch import Function, normal, substituted

SHAPE = (3, 4, 6, 6)
FUNCTIONS: dict[str, Function] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "hardsigmoid": F.hardsigmoid,
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": F.instance_norm,
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "layer_norm": lambda x: F.layer_norm(x, (6,)),
    "conv2d": lambda x: F.conv2d(x, x.new_ones(4, 4, 3, 3)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "cdist": lambda x: torch.cdist(x, x + 1),
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "part_of_channels_last": lambda x: torch.cat([x, x], -1).to(memory_format=torch.channels_last)[..., ::2],
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "sliced": lambda x: torch.cat([x, x], -1)[..., ::2],
    "expanded": lambda x: x[:1].expand(SHAPE),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_torchs(name: str, layout: str) -> None:
    function, x = FUNCTIONS[name], LAYOUTS[layout](normal(*SHAPE)).requires_grad_()
    expected = function(x)
    with SecondDerivatives(BackwardTarget()):
        value = function(x)
    assert value.stride() == expected.stride()
    torch.testing.assert_close(value, expected)
    assert substituted(function, x.detach())


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)], ids=["group", "instance"])
def test_the_same_dropout_mask_as_a_plain_step(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)).double().to(memory_format=torch.channels_last)
    x, target = normal(3, 2, 6, 6).to(memory_format=torch.channels_last), torch.tensor([0, 1, 2])
    torch.manual_seed(0)
    plain = F.cross_entropy(model(x), target)
    torch.manual_seed(0)
    loss = ig.InputGradientLoss(nn.CrossEntropyLoss(), [1e-30 * ig.GradientNorm()], engine="double_backward")(model, x, target)
    torch.testing.assert_close(loss.detach(), plain.detach())
