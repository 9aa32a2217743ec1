"""A penalty on a transformer that begins after a warm-up: its graph is kept from the first step on, and will not bear the backward pass.

Thread: huggingface/diffusers#5678
"""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.out = nn.Linear(8, 24), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.query(x).unsqueeze(1).chunk(3, dim=-1)
        return self.out(F.scaled_dot_product_attention(q, k, v).squeeze(1)).mean(1)


model = Attention()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
warm_up = 100
for step in range(200):
    x, y = torch.randn(4, 5, 8, requires_grad=True), torch.randn(4, 1)
    output = model(x)
    slope = torch.autograd.grad(output.sum(), x, create_graph=True)[0]  # expect: IG601 warning
    penalty = slope.flatten(1).norm(dim=1).mean()
    loss = F.mse_loss(output, y)
    if step > warm_up:
        loss = loss + 0.1 * penalty
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
