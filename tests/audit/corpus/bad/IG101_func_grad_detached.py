"""A penalty on per-sample input gradients by vmap(grad), of a functional_call with detached parameters: the term trains nothing.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def score(one, parameters=parameters):
        return functional_call(model, parameters, (one[None],)).sum()

    g = vmap(grad(score))(x)  # expect: IG101 error
    loss = (model(x) - y).square().mean() + 0.1 * g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
