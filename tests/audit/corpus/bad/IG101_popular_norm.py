"""The popular recipe for a penalty on the norm of the input gradient: backward, x.grad, norm, added to the loss.

Thread: discuss.pytorch.org, topic 62771, "How to penalize the norm of an end-to-end Jacobian"
"""

import torch
from torch import nn


def train(epochs: int = 4) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    mse = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data, wanted = torch.randn(32, 8), torch.randn(32, 1)
    for _ in range(epochs):
        inputs, target = data.clone().requires_grad_(True), wanted
        output = model(inputs)
        output.sum().backward(retain_graph=True)  # expect: IG101 error
        input_grad = inputs.grad.clone()
        inputs.grad.zero_()
        loss = mse(output, target) + 0.01 * torch.norm(input_grad)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    train()
