"""A noise predictor whose samples are guided by the gradient of a classifier, under no_grad but for that.

Thread: written for the audit, after issue 19 of this project
"""

import torch
import torch.nn.functional as F
from torch import nn

noise_net, classifier = (
    nn.Sequential(nn.Linear(3, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 2)),
    nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3)),
)
opt = torch.optim.Adam(noise_net.parameters(), 1e-3)


@torch.no_grad()
def guided(n):
    x = torch.randn(n, 2)
    y = torch.randint(3, (n,))
    for k in range(4):
        t = torch.full((n, 1), k / 4)
        with torch.enable_grad():
            z = x.detach().requires_grad_(True)
            score = F.log_softmax(classifier(z), 1).gather(1, y[:, None]).sum()
            pull = torch.autograd.grad(score, z)[0]
        x = x - 0.1 * noise_net(torch.cat([x, t], 1)) + 0.05 * pull
    return x


for _ in range(4):
    x, t, e = torch.randn(32, 2), torch.rand(32, 1), torch.randn(32, 2)
    loss = F.mse_loss(noise_net(torch.cat([x + t * e, t], 1)), e)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(guided(4).norm(dim=1).mean())
