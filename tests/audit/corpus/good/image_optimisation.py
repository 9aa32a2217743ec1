"""Feature visualisation: the image is what is trained, by an optimiser; the model is frozen.

Thread: NVlabs/VAEBM#2
"""

import torch
from torch import nn

model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
for parameter in model.parameters():
    parameter.requires_grad_(False)
image = torch.randn(1, 3, 8, 8, requires_grad=True)
optimizer = torch.optim.Adam([image], lr=0.05)
for _ in range(4):
    optimizer.zero_grad()
    activation = model(image)[0, 3]
    loss = -activation + 1e-3 * image.square().mean()
    loss.backward()
    print("size of the step", image.grad.abs().mean().item())
    optimizer.step()
