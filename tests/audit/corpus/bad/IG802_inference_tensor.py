"""Saliency of features that an encoder computed under inference_mode.

Thread: triton-inference-server/server#7974
Raises: RuntimeError
"""

import torch
from torch import nn

encoder, head = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
with torch.inference_mode():
    features = encoder(torch.randn(4, 8))
features.requires_grad_(True)  # expect: IG802 error
score = head(features)[:, 1].sum()
print(torch.autograd.grad(score, features)[0].abs().mean())
