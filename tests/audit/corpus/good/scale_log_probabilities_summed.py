"""Right for the right reasons: the gradient of the summed log-probabilities, on which the loss is taken too.

Thread: Ross, Hughes & Doshi-Velez 2017, "Right for the right reasons", eq. 1
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.Softplus(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    x, y, mask = torch.randn(16, 8, requires_grad=True), torch.randint(3, (16,)), (torch.rand(16, 8) < 0.3).float()
    log_probabilities = F.log_softmax(model(x), 1)
    right = F.nll_loss(log_probabilities, y)
    (g,) = torch.autograd.grad(log_probabilities, x, torch.ones_like(log_probabilities), create_graph=True)
    reasons = (mask * g).square().sum(1).mean()
    optimizer.zero_grad()
    (right + 10 * reasons).backward()
    optimizer.step()
