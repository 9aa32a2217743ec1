"""Images are clamped through .data after the forward pass: the first layer's gradient takes the clamped ones.

Thread: osmr/imgclsmob#13
"""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(144, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.out(F.silu(self.conv(x)).flatten(1))
        x.data.clamp_(0, 1)  # expect: IG907 error
        return y


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for _ in range(3):
    images = torch.randn(8, 1, 8, 8, requires_grad=True)
    output = net(images)
    (g,) = torch.autograd.grad(output.sum(), images, create_graph=True)
    loss = F.softplus(-output).mean() + g.square().sum((1, 2, 3)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
