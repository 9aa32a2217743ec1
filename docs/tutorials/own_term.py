r"""
A term of your own
==================

**Your idea is not in the catalogue.** Below: a regulariser by hand whose norm is per pixel, the
same as a term of three lines, and how to check it.
"""

# %%
# The idea
# --------
# A digit classifier should look at strokes, not at single pixels: neighbouring pixels should have
# similar gradients. So penalise the total variation of the input gradient, :math:`R_n =
# \sum_{\text{neighbours}} |g_{n,i} - g_{n,j}|`.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import inputgrad as ig

torch.manual_seed(0)
data = load_digits()
order = torch.randperm(1797)
images = torch.tensor(data.images / 16).float()[order, None]
labels = torch.tensor(data.target)[order]
train_images, train_labels = images[:1257], labels[:1257]
test_images, test_labels = images[1257:], labels[1257:]

# %%
# Your own code
# -------------


def loss_by_hand(model, images, labels, weight=1.0):
    images = images.clone().requires_grad_()
    loss = cross_entropy(model(images), labels)
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    across = (gradient[..., 1:] - gradient[..., :-1]).abs().sum()
    down = (gradient[..., 1:, :] - gradient[..., :-1, :]).abs().sum()
    return loss + weight * (across + down) / len(images)


# %%
# The trap
# --------
# This time the gradient has a graph. But ``cross_entropy`` is a mean over the batch, so every
# gradient is divided by the batch size, and the term is divided by it once more. The regulariser
# depends on the batch size, and is far weaker than its weight says:


def network():
    torch.manual_seed(1)
    convs = [nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, stride=2), nn.SiLU()]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(144, 10))


model = network()
for size in (16, 64, 256):
    x, y = train_images[:size], train_labels[:size]
    term = loss_by_hand(model, x, y) - cross_entropy(model(x), y)
    print(f"batch of {size:3}: the term is {term.item():.5f}")

# %%
# The same in this library
# ------------------------
# A term is a function of the batch that returns one number per sample. ``batch.gradient`` is the
# gradient of each sample's own loss, never divided by the batch size.


@ig.term
def total_variation(batch):
    gradient = batch.gradient(of="loss")
    across = (gradient[..., 1:] - gradient[..., :-1]).abs()
    down = (gradient[..., 1:, :] - gradient[..., :-1, :]).abs()
    return across.flatten(1).sum(1) + down.flatten(1).sum(1)


criterion = nn.CrossEntropyLoss() + 0.05 * total_variation
for size in (16, 64, 256):
    x, y = train_images[:size], train_labels[:size]
    step = criterion.evaluate(model, x, y)
    print(f"batch of {size:3}: the term is {step.parts['total_variation'].item():.3f}")

# %%
# If you forget the sum, you get an error that says so:


@ig.term
def forgotten(batch):
    return batch.gradient(of="loss").norm(dim=1)  # over the channels: one number per pixel


try:
    (nn.CrossEntropyLoss() + 1.0 * forgotten)(model, train_images[:8], train_labels[:8])
except ValueError as error:
    print(error)

# %%
# Check it
# --------
# ``verify`` compares the gradient with respect to the weights with finite differences, for every
# engine. ``explain`` says which engines work, why others do not, and what each costs.

print(criterion.verify(model.double(), train_images[:8].double(), train_labels[:8]))

# %%
# Train
# -----
# Weights may change with the step, and terms may run at every k-th step only.

runs = {
    "plain": ig.InputGradientLoss(nn.CrossEntropyLoss()),
    "total variation": nn.CrossEntropyLoss()
    + (lambda step: 0.05 * min(1.0, step / 100)) * total_variation,
    "every 4th step": nn.CrossEntropyLoss() + (0.05 * total_variation).scheduled(every=4),
}


def train(criterion, epochs=8):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(1257).split(64):
            optimizer.zero_grad()
            criterion(model, train_images[rows], train_labels[rows]).backward()
            optimizer.step()
    return model.eval()


def measure(model):
    with torch.no_grad():
        clean = (model(test_images).argmax(1) == test_labels).float().mean().item()
        torch.manual_seed(3)
        noisy = test_images + 0.3 * torch.randn_like(test_images)
        noise = (model(noisy).argmax(1) == test_labels).float().mean().item()
        step = runs["plain"] + 1.0 * total_variation
        variation = step.evaluate(model, test_images, test_labels).parts["total_variation"].item()
    return clean, noise, variation


models = {name: train(criterion) for name, criterion in runs.items()}
print(f"{'':18} accuracy   under noise   total variation of the gradient")
for name, model in models.items():
    clean, noise, variation = measure(model)
    print(f"{name:18} {clean:.3f}      {noise:.3f}         {variation:.2f}")

# %%
# The gradients of four images, plain and with the term:

shown, wanted = test_images[:4], test_labels[:4]
figure, axes = plt.subplots(3, 4, figsize=(5, 3.9), layout="constrained")
for axis, image in zip(axes[0], shown, strict=True):
    axis.imshow(image[0], cmap="gray")
for row, name in zip(axes[1:], ("plain", "total variation"), strict=True):
    found = ig.gradient(models[name], shown, of="label", target=wanted).detach()
    for axis, one in zip(row, found, strict=True):
        limit = one.abs().max().item()
        axis.imshow(one[0], cmap="RdBu", vmin=-limit, vmax=limit)
    row[0].set_ylabel(name)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
# Variants
# --------
# A term with settings is a frozen dataclass that inherits from ``ig.Term``; use
# ``@ig.term(per="batch")`` for a statistic of the whole batch. The library's own
# ``ig.TotalVariation`` takes attributions too. See the page "A term of your own".
