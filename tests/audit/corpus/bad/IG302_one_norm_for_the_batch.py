"""A penalty toward norm 1 that takes ONE norm of all the samples' gradients together.

Thread: caogang/wgan-gp#25
"""

import torch
from torch import autograd, nn


def calc_gradient_penalty(netD, real_data, fake_data, LAMBDA=10):
    alpha = torch.rand(real_data.size(0), 1).expand_as(real_data)
    interpolates = autograd.Variable(alpha * real_data + (1 - alpha) * fake_data, requires_grad=True)
    disc = netD(interpolates)
    gradients = autograd.grad(outputs=disc, inputs=interpolates, grad_outputs=torch.ones(disc.size()), create_graph=True, retain_graph=True)[0]
    return (gradients.norm(2) - 1) ** 2 * LAMBDA  # expect: IG302 error


torch.manual_seed(0)
netG = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
netD = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optD = torch.optim.Adam(netD.parameters(), lr=1e-4, betas=(0.5, 0.9))
optG = torch.optim.Adam(netG.parameters(), lr=1e-4, betas=(0.5, 0.9))
for iteration in range(4):
    real = torch.randn(32, 2)
    fake = netG(torch.randn(32, 2)).detach()
    netD.zero_grad()
    D_cost = netD(fake).mean() - netD(real).mean() + calc_gradient_penalty(netD, real, fake)
    D_cost.backward()
    optD.step()
    netG.zero_grad()
    (-netD(netG(torch.randn(32, 2))).mean()).backward()
    optG.step()
