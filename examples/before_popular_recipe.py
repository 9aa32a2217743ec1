"""The popular recipe for a loss on the input gradient, word for word, and what its term gives to the parameters: nothing.

Run: python examples/before_popular_recipe.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def digits() -> tuple[Tensor, Tensor]:
    """1797 images of 8 × 8 in [0, 1] as ``[N, 64]``, and which digit each shows, as a number to regress, ``[N, 1]``."""
    data = load_digits()
    return torch.tensor(data.data / 16), torch.tensor(data.target / 9)[:, None]


def parameter_gradient(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))


def main(epochs: int = 40) -> dict[str, float]:
    torch.manual_seed(0)
    images, numbers = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)).double()
    mse = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(128):
            inputs, target = images[rows], numbers[rows]
            inputs.requires_grad_(True)
            output = model(inputs)
            output.sum().backward(retain_graph=True)
            g = inputs.grad.clone()
            inputs.grad.zero_()
            loss = mse(output, target) + 0.01 * torch.norm(g)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    # What did the term give? The parameter gradient of the loss on all the data, with the term and without it.
    inputs = images.clone().requires_grad_(True)
    output = model(inputs)
    optimizer.zero_grad()
    output.sum().backward(retain_graph=True)
    foreign = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    g = inputs.grad.clone()
    with_term = parameter_gradient(mse(output, numbers) + 0.01 * torch.norm(g), model)
    without = parameter_gradient(mse(output, numbers), model)
    share = max(float((a - b).norm() / b.norm()) for a, b in zip(with_term, without, strict=True))
    own = torch.cat([part.flatten() for part in without])

    print(f"g carries a graph to the parameters: {g.requires_grad}")
    print(f"share of the term in the parameter gradient, largest over all parameters: {share}")
    print(f"second trap: output.backward() alone left a gradient of norm {foreign.norm():.2g} in the parameters' .grad; the loss's own has {own.norm():.2g}.")
    print("  With optimizer.zero_grad() at the top of the loop, the optimizer would take a step along it.")
    return {"share": share, "foreign": float(foreign.norm() / own.norm()), "mean_norm": float(g.norm(dim=1).mean())}


if __name__ == "__main__":
    main()
