"""Dataset distillation: the inputs are trained through an inner step.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F

xs = torch.randn(10, 4, requires_grad=True)
lr = torch.tensor(0.1, requires_grad=True)
opt = torch.optim.Adam([xs, lr], 0.01)
for i in range(4):
    w = torch.randn(4, 3) * 0.1
    w.requires_grad_()
    ys = torch.arange(10) % 3
    for k in range(2):
        (g,) = torch.autograd.grad(F.cross_entropy(xs @ w, ys), w, create_graph=True)
        w = w - lr * g
    loss = F.cross_entropy(torch.randn(20, 4) @ w, torch.randint(3, (20,)))
    opt.zero_grad()
    loss.backward()
    opt.step()
