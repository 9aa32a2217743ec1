"""One loss for two parts of a model, each with an optimiser of its own: both step along the same backward pass.

Thread: Lightning-AI/pytorch-lightning#557
"""

import torch
from torch import nn

encoder, head = nn.Sequential(nn.Linear(4, 16), nn.SiLU()), nn.Linear(16, 1)
of_encoder = torch.optim.Adam(encoder.parameters(), lr=1e-4)
of_head = torch.optim.Adam(head.parameters(), lr=1e-3)
for _ in range(3):
    x, y = torch.randn(16, 4, requires_grad=True), torch.randn(16, 1)
    output = head(encoder(x))
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    loss = nn.functional.mse_loss(output, y) + 0.1 * g.square().sum(1).mean()
    for optimizer in (of_encoder, of_head):
        optimizer.zero_grad()
    loss.backward()
    for optimizer in (of_encoder, of_head):
        optimizer.step()
