"""An attack on a frozen classifier whose input was not told to require a gradient: nothing behind the loss does.

Thread: hiranumn/IntegratedGradients#5
Raises: RuntimeError
"""

import torch
import torch.nn.functional as F
from torch import nn

classifier = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
for parameter in classifier.parameters():
    parameter.requires_grad_(False)
x, y = torch.rand(8, 6), torch.randint(3, (8,))
for _ in range(3):
    loss = F.cross_entropy(classifier(x), y)
    loss.backward()  # expect: IG105 error
    x = (x + 0.01 * x.grad.sign()).clamp(0, 1)
