"""The popular recipe for adversarial training: the first backward fills the parameters' .grad, and the sum of both losses goes back over it.

Thread: P2333/Bag-of-Tricks-for-AT#8
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
epsilon = 0.1
for _ in range(4):
    inputs, target = torch.randn(32, 8), torch.randint(3, (32,))
    inputs.requires_grad = True
    optimizer.zero_grad()
    output = model(inputs)
    loss = criterion(output, target)
    loss.backward(retain_graph=True)  # expect: IG201 error
    perturbed = inputs + epsilon * inputs.grad.sign()
    total = loss + 0.5 * criterion(model(perturbed), target)
    total.backward()
    optimizer.step()
