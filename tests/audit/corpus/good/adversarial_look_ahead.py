"""NI-FGSM: gradients are taken at a look-ahead along the momentum, which may leave [0, 1]; the adversarial images do not.

Thread: Lin et al. 2020, "Nesterov accelerated gradient and scale invariance for adversarial attacks", algorithm 1
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(3, (8,))
    adversarial, momentum = images.clone(), torch.zeros_like(images)
    for _ in range(3):
        adversarial.requires_grad_(True)
        ahead = adversarial + 0.05 * momentum
        (g,) = torch.autograd.grad(F.cross_entropy(model(ahead), labels), adversarial)
        momentum = momentum + g / g.abs().mean((1, 2, 3), keepdim=True)
        adversarial = adversarial.detach() + 0.05 * momentum.sign()
        delta = torch.clamp(adversarial - images, -0.1, 0.1)
        adversarial = torch.clamp(images + delta, 0, 1).detach()
    optimizer.zero_grad()
    F.cross_entropy(model(adversarial), labels).backward()
    optimizer.step()
