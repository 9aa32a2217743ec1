"""Features are no leaf, their .grad is None, and the code is ready for that: the term is never there.

Thread: showlab/BoxDiff#20
"""

import torch
import torch.nn.functional as F
from torch import nn

encoder, head = nn.Sequential(nn.Linear(6, 12), nn.ReLU()), nn.Linear(12, 3)
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.05)
for _ in range(4):
    x, y = torch.randn(16, 6), torch.randint(3, (16,))
    features = encoder(x)
    loss = F.cross_entropy(head(features), y)
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    if features.grad is not None:  # expect: IG104 warning
        (0.1 * features.grad.square().sum(1).mean()).backward()
    optimizer.step()
