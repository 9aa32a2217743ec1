"""Double backpropagation from losses that are summed, added and divided by the batch size: the squared gradient of each sample carries 1/N².

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn


class Training:
    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 4))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self, x: torch.Tensor, y: torch.Tensor, soft: torch.Tensor) -> None:
        x.requires_grad_(True)
        output = self.model(x)
        loss = F.cross_entropy(output, y, reduction="sum") + 0.5 * F.mse_loss(output.softmax(1), soft, reduction="sum")
        loss /= self.batch_size
        (g,) = torch.autograd.grad(loss, x, create_graph=True)  # expect: IG301 warning
        self.optimizer.zero_grad()
        (loss + 0.1 * g.square().sum(1).mean()).backward()
        self.optimizer.step()


torch.manual_seed(0)
training = Training(batch_size=20)
for _ in range(3):
    training.step(torch.randn(20, 10), torch.randint(4, (20,)), torch.rand(20, 4).softmax(1))
