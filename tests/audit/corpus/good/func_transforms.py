"""torch.func as it is meant: a penalty whose gradient reaches the parameters, an attack by a constant gradient, per-sample gradients of the weights.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, vmap

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def score(one):
    return model(one[None]).sum()


def loss_of(parameters, one, label):
    return (functional_call(model, parameters, (one[None],)) - label).square().sum()


for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    g = vmap(grad(score))(x)
    with torch.no_grad():
        attack = x + 0.1 * grad(lambda inputs, labels: (model(inputs) - labels).square().sum())(x, y).sign()
    detached = {name: parameter.detach() for name, parameter in model.named_parameters()}
    per_sample = vmap(grad(loss_of), in_dims=(None, 0, 0))(detached, x, y)
    sizes = torch.stack([part.flatten(1).norm(dim=1) for part in per_sample.values()]).norm(dim=0)
    curvature = vmap(hessian(score))(x).detach().square().mean()
    jacobian = jacrev(lambda inputs: model(inputs).sum(0))(x)
    loss = (model(attack) - y).square().mean() + 0.1 * g.square().sum(1).mean() + 0.1 * jacobian.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.3f} {sizes.mean().item():.3f} {curvature.item():.3f}")
