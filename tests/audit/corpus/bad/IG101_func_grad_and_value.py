"""Gradients that torch.func hands out beside other things (a value, an auxiliary output, two inputs, a dict), all of a network with detached parameters.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vmap

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    x, z, y = torch.randn(8, 4), torch.randn(8, 4), torch.randn(8, 1)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def score(one, parameters=parameters):
        return functional_call(model, parameters, (one,)).sum()

    def with_output(one):
        return score(one), one

    def of_two(one, other):
        return score(one) * score(other)

    def of_named(batch):
        return score(batch["x"])

    a, _value = vmap(grad_and_value(score))(x)  # expect: IG101 error
    b, _output = grad(with_output, has_aux=True)(x)  # expect: IG101 error
    c, _other = grad(of_two, argnums=(0, 1))(x, z)  # expect: IG101 error
    d = grad(of_named)({"x": x})["x"]  # expect: IG101 error
    loss = (model(x) - y).square().mean() + a.square().mean() + b.square().mean() + c.square().mean() + d.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
