"""The same loop with inputgrad: the term reaches the parameters, and its gradient is that of the textbook double backward.

Run: python examples/after_inputgrad.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import inputgrad as ig


def digits() -> tuple[Tensor, Tensor]:
    """1797 images of 8 × 8 in [0, 1] as ``[N, 64]``, and which digit each shows, as a number to regress, ``[N, 1]``."""
    data = load_digits()
    return torch.tensor(data.data / 16), torch.tensor(data.target / 9)[:, None]


def parameter_gradient(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def textbook_loss(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    """The same loss written by hand: the input gradient is taken with create_graph=True, so that it can be differentiated again."""
    inputs = inputs.clone().requires_grad_(True)
    output = model(inputs)
    (gradient,) = torch.autograd.grad(output.sum(), inputs, create_graph=True)
    return nn.functional.mse_loss(output, target) + 0.01 * gradient.norm(dim=1).mean()


def main(epochs: int = 40) -> dict[str, float]:
    torch.manual_seed(0)
    images, numbers = digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)).double()
    criterion = nn.MSELoss() + 0.01 * ig.GradientNorm(of="output")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(128):
            inputs, target = images[rows], numbers[rows]
            loss = criterion(model, inputs, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    # What did the term give? The parameter gradient of the loss on all the data: with the term, without it, and written by hand.
    with_term = parameter_gradient(criterion(model, images, numbers), model)
    without = parameter_gradient(nn.functional.mse_loss(model(images), numbers), model)
    by_hand = parameter_gradient(textbook_loss(model, images, numbers), model)
    shares = {name: float((a - b).norm() / b.norm()) for (name, _), a, b in zip(model.named_parameters(), with_term, without, strict=True)}
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(with_term, by_hand, strict=True))

    print("share of the term in the parameter gradient, relative to the base loss's own:")
    for name, share in shares.items():
        print(f"  {name:10} {share:.2f}" + ("   (the input gradient does not depend on the last bias)" if share == 0 else ""))
    print(f"largest relative difference from the textbook double backward: {error:.1e}")
    step = criterion.evaluate(model, images, numbers)
    return {"share": min(share for name, share in shares.items() if name != "2.bias"), "error": error, "mean_norm": float(step.parts["gradient_norm"])}


if __name__ == "__main__":
    main()
