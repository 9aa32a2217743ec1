"""An unrolled reconstruction: the gradient of the data term moves the image and is a feature of the network.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 10))
opt = torch.optim.Adam(net.parameters())
A = torch.randn(6, 10) / 3
for i in range(4):
    gt = torch.randn(16, 10)
    b = gt @ A.T
    x = torch.zeros(16, 10)
    for k in range(3):
        z = x if x.requires_grad else x.requires_grad_()
        d = torch.autograd.grad(0.5 * ((z @ A.T - b) ** 2).sum(), z, retain_graph=True)[0]
        x = x - 0.1 * d + 0.1 * net(torch.cat([x, d], 1))
    loss = F.mse_loss(x, gt)
    opt.zero_grad()
    loss.backward()
    opt.step()
