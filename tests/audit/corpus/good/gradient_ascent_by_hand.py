"""Class visualisation by hand: the image moves along its gradient, which is emptied each time; the model is frozen.

Thread: NVlabs/VAEBM#2
"""

import torch
from torch import nn

model = nn.Sequential(nn.Flatten(), nn.Linear(27, 16), nn.ELU(), nn.Linear(16, 4)).eval().requires_grad_(False)
image = torch.rand(1, 3, 3, 3, requires_grad=True)
for _ in range(5):
    if image.grad is not None:
        image.grad.zero_()
    model(image)[0, 2].backward()
    g = image.grad.data
    with torch.no_grad():
        image += 0.1 * g / (g.std() + 1e-8)
        image.clamp_(0, 1)
