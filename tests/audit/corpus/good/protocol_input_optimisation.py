"""Feature visualisation: the image is the parameter, the network is frozen, and a smoothness term on the input gradient is logged.

Thread: daa233/generative-inpainting#52
"""

import torch
from torch import nn

network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)
image = torch.rand(1, 3, 16, 16, requires_grad=True)
optimizer = torch.optim.Adam([image], lr=0.05)
for _ in range(3):
    optimizer.zero_grad()
    loss = -network(image)[0, 3] + 0.01 * (image[..., 1:] - image[..., :-1]).abs().mean()
    loss.backward()
    print(float(image.grad.norm()))
    optimizer.step()
    image.data.clamp_(0, 1)
