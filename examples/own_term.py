"""A term of your own: forbid the network to look at pixels that give the label away (Ross, Hughes & Doshi-Velez 2017).

Run: python examples/own_term.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import inputgrad as ig

DECOY = slice(7, None, 8)  # the right edge of the 8 × 8 image, black in nearly every digit


@ig.term
def attention_to_decoy(batch: ig.Batch) -> Tensor:
    """R_n = Σ_decoy (∂ Σ_c log p_c / ∂x_decoy)², ``[N]``: the loss takes the mean."""
    return batch.gradient(of="log_prob")[:, DECOY].square().sum(1)


def digits_with_decoy() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images ``[N, 64]``: in the training set the edge's grey value tells the label, in the held-out set it is random."""
    data = load_digits()
    images, labels = torch.tensor(data.data / 16).float(), torch.tensor(data.target)
    order = torch.randperm(len(images))
    train, held_out = order[:1257], order[1257:]
    images[train, DECOY] = labels[train, None] / 9
    images[held_out, DECOY] = torch.rand(len(held_out), 1)
    return images[train], labels[train], images[held_out], labels[held_out]


def trained(criterion: ig.InputGradientLoss, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            criterion(model, images[rows], labels[rows]).backward()
            optimizer.step()
    return model


def main(epochs: int = 20) -> dict[str, float]:
    torch.manual_seed(0)
    images, labels, held_images, held_labels = digits_with_decoy()
    criteria = {"plain": ig.InputGradientLoss(nn.CrossEntropyLoss()), "own term": nn.CrossEntropyLoss() + 1.0 * attention_to_decoy}
    accuracies = {}
    for name, criterion in criteria.items():
        model = trained(criterion, images, labels, epochs)
        with torch.no_grad():
            accuracies[name] = float((model(held_images).argmax(1) == held_labels).float().mean())
        print(f"{name:10} accuracy where the decoy tells nothing: {accuracies[name]:.3f}")
    return accuracies


if __name__ == "__main__":
    main()
