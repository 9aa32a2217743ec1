"""Loss and penalty from one forward pass: both are of the network under the same dropout mask.

Thread: schnetpack#279
"""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.drop = nn.Linear(12, 32), nn.Linear(32, 3), nn.Dropout(0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.drop(F.silu(self.a(self.drop(x)))))


net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
for _ in range(3):
    net.train()
    x, y = torch.randn(16, 12, requires_grad=True), torch.randint(3, (16,))
    losses = F.cross_entropy(net(x), y, reduction="none")
    (g,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    loss = losses.mean() + 0.1 * g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    net.eval()
    with torch.no_grad():
        net(torch.randn(16, 12)).argmax(1)
