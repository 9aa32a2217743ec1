"""Gradients by torch.func that reach the parameters, beside detached copies for a log, a sign as a constant step, and norms of weights' gradients.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vmap

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def score(one):
    return model(one[None]).sum()


def loss_of(parameters, one, label):
    return (functional_call(model, parameters, (one[None],)) - label).square().sum()


for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    g, value = vmap(grad_and_value(score))(x)
    attack = x + 0.1 * grad(lambda inputs: model(inputs).sum())(x).sign()
    detached = {name: parameter.detach() for name, parameter in model.named_parameters()}
    per_sample, _ = vmap(grad_and_value(loss_of), in_dims=(None, 0, 0))(detached, x, y)
    sizes = torch.stack([part.flatten(1).norm(dim=1) for part in per_sample.values()]).norm(dim=0)
    weights = 1 / (1 + sizes[:, None])
    loss = (weights * (model(attack) - y).square()).mean() + 0.1 * g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.3f} {g.detach().norm(dim=1).mean().item():.3f} {value.mean().item():.3f}")
