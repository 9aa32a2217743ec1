"""Token saliency as sample weights, from fused attention: a constant needs no second derivative.

Thread: huggingface/diffusers#5678
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(96, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
for _ in range(3):
    x, y = torch.randn(8, 6, 16, requires_grad=True), torch.randint(3, (8,))
    losses = F.cross_entropy(model(x), y, reduction="none")
    (g,) = torch.autograd.grad(losses.sum(), x, retain_graph=True)
    weights = torch.softmax(g.flatten(1).norm(dim=1), dim=0)
    optimizer.zero_grad()
    (weights * losses).sum().backward()
    optimizer.step()
