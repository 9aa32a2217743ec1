"""A penalty toward norm 1 that takes ONE norm of all the samples' gradients together.

Thread: caogang/wgan-gp#25
"""

import torch
from torch import autograd, nn


def calc_gradient_penalty(critic, real_data, fake_data, weight=10):
    alpha = torch.rand(real_data.size(0), 1).expand_as(real_data)
    interpolates = autograd.Variable(alpha * real_data + (1 - alpha) * fake_data, requires_grad=True)
    disc = critic(interpolates)
    gradients = autograd.grad(outputs=disc, inputs=interpolates, grad_outputs=torch.ones(disc.size()), create_graph=True, retain_graph=True)[0]
    return (gradients.norm(2) - 1) ** 2 * weight  # expect: IG302 error


torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.5, 0.9))
generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.9))
for _ in range(4):
    real = torch.randn(32, 2)
    fake = generator(torch.randn(32, 2)).detach()
    critic.zero_grad()
    critic_cost = critic(fake).mean() - critic(real).mean() + calc_gradient_penalty(critic, real, fake)
    critic_cost.backward()
    critic_optimizer.step()
    generator.zero_grad()
    (-critic(generator(torch.randn(32, 2))).mean()).backward()
    generator_optimizer.step()
