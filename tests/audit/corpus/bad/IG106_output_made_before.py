"""The output was computed under no_grad; the gradient is asked for outside.

Thread: locuslab/convex_adversarial#34
Raises: RuntimeError
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
x = torch.rand(8, 6, requires_grad=True)
with torch.no_grad():
    scores = model(x)
total = scores.sum()
(saliency,) = torch.autograd.grad(total, x)  # expect: IG106 error
print(saliency.abs().mean())
