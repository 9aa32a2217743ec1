"""materialize_grads makes zeros of a gradient that is not there.

Thread: pytorch/pytorch#168059
"""

import torch
from torch import nn

embed, model = nn.Embedding(20, 8), nn.Linear(8, 2)
optimizer = torch.optim.SGD([*embed.parameters(), *model.parameters()], lr=0.1)
for _ in range(3):
    tokens, labels = torch.randint(20, (6, 5)), torch.randint(2, (6,))
    vectors = embed(tokens)
    loss = nn.functional.cross_entropy(model(embed(tokens).mean(1)), labels, reduction="sum")
    (g,) = torch.autograd.grad(loss, vectors, create_graph=True, materialize_grads=True)  # expect: IG905 warning
    optimizer.zero_grad()
    (loss + g.flatten(1).norm(dim=1).mean()).backward()
    optimizer.step()
