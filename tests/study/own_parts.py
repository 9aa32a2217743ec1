"""Parts of a user's own, as configs of the tests name them: a model, a term, a criterion, a direction, and parts that are wrong."""

import torch
from torch import Tensor, nn

import inputgrad as ig


def linear(*, input_shape, output_size, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), output_size, bias=bias))


def with_dropout(*, input_shape, output_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), 16), nn.SiLU(), nn.Dropout(0.3), nn.Linear(16, output_size))


def transposed(*, input_shape, output_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), output_size + 1))


@ig.term
def squared(batch) -> Tensor:
    return batch.gradient(of="output").flatten(1).square().sum(1)


def doubled_cross_entropy(model, inputs, target, factor=2.0):
    return factor * nn.functional.cross_entropy(model(inputs), target)


def detached(model, inputs, target):
    return nn.functional.cross_entropy(model(inputs), target).detach()


def diverging(model, inputs, target):
    return nn.functional.cross_entropy(model(inputs), target) * float("nan")


def ones(batch):
    return torch.ones_like(batch.variable(0)[0])
