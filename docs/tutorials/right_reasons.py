r"""
Right for the right reasons, with saliency pictures
===================================================

**Your classifier uses a shortcut, and you know where it is.** Below: an explanation penalty that
changes nothing, one that works, and pictures of what the network looks at.
"""

# %%
# The data
# --------
# Digits with a grey patch in one corner. In training its grey value reveals the class. In the
# test it is random.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

import inputgrad as ig

torch.manual_seed(0)
data = load_digits()
order = torch.randperm(1797)
images, labels = torch.tensor(data.data / 16).float()[order], torch.tensor(data.target)[order]


def with_patches(images, told):
    mask = torch.zeros(len(images), 8, 8)
    for one, corner in zip(mask, torch.randint(4, (len(images),)).tolist(), strict=True):
        one[6 * (corner // 2) :, 6 * (corner % 2) :][:2, :2] = 1
    mask = mask.flatten(1)
    return torch.where(mask > 0, 1 - told[:, None] / 9, images), mask


train_images, train_mask = with_patches(images[:1257], labels[:1257])
test_images, test_mask = with_patches(images[1257:], torch.randint(10, (540,)))
train_labels, test_labels = labels[:1257], labels[1257:]

# %%
# Your own code
# -------------
# The gradient of the log-probabilities should be small under the mask.


def loss_by_hand(model, images, target):
    images = images.clone().requires_grad_()
    log_p = log_softmax(model(images), 1)
    (gradient,) = torch.autograd.grad(log_p.sum(), images, retain_graph=True)
    wrong_reasons = (target["mask"] * gradient).square().sum(1).mean()
    return cross_entropy(model(images), target["label"]) + 10 * wrong_reasons


# %%
# The trap
# --------
# ``retain_graph=True`` looks right, and the code runs. But it keeps the **old** graph; it does not
# record a new one for the gradient. That takes ``create_graph=True``. So the penalty is a number
# without a graph, and nothing learns from it:


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, 10)
    )


def gradient_of(loss, model):
    parts = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


def share(whole):
    return ((whole - alone).norm() / alone.norm()).item()


model, target = network(), {"label": train_labels[:64], "mask": train_mask[:64]}
whole = gradient_of(loss_by_hand(model, train_images[:64], target), model)
alone = gradient_of(cross_entropy(model(train_images[:64]), train_labels[:64]), model)
print(f"share of the penalty in the gradient of the weights: {share(whole):.2f}")

# %%
# The same in this library
# ------------------------
# The target is a dict with the label for the base loss and the mask for the term.

base = ig.OnTarget("label", nn.CrossEntropyLoss())
criterion = base + ig.recipes.right_for_the_right_reasons(10.0, mask="mask")

whole = gradient_of(criterion(model, train_images[:64], target), model)
print(f"share of the penalty in the gradient of the weights: {share(whole):.2f}")

# %%
# Train with each, and see how much the network still relies on the patch:


def train(loss_of, epochs=30):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(1257).split(64):
            target = {"label": train_labels[rows], "mask": train_mask[rows]}
            optimizer.zero_grad()
            loss_of(model, train_images[rows], target).backward()
            optimizer.step()
    return model


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


models = {}
print(f"{'':20} train   test    squared gradient on the patch")
for name, loss_of in (("by hand", loss_by_hand), ("inputgrad", criterion)):
    models[name] = model = train(loss_of)
    square = ig.gradient(model, test_images, of="log_prob").detach().square()
    patch = ((test_mask * square).sum(1) / square.sum(1)).mean().item()
    seen = accuracy(model, train_images, train_labels)
    unseen = accuracy(model, test_images, test_labels)
    print(f"{name:20} {seen:.3f}   {unseen:.3f}   {patch:.2%}")

# %%
# Pictures
# --------
# ``ig.pictures.saliency`` draws the images and the input gradient of each one's score. Here are
# the two networks side by side, on images with a misleading patch:

figure, rows = plt.subplots(3, 8, figsize=(7.5, 3.2), layout="constrained")
for column in range(8):
    rows[0, column].imshow(test_images[column].reshape(8, 8), cmap="gray")
    for row, model in zip(rows[1:], models.values(), strict=True):
        one = slice(column, column + 1)
        found = ig.gradient(model, test_images[one], of="label", target=test_labels[one])
        limit = found.abs().max().item()
        row[column].imshow(found.detach().reshape(8, 8), cmap="RdBu", vmin=-limit, vmax=limit)
for axis in rows.flat:
    axis.set(xticks=[], yticks=[])
for row, name in zip(rows, ("image", *models), strict=True):
    row[0].set_ylabel(name)

# %%
# Raw gradients are noisy. An attribution averages them: integrated gradients go from a black image
# to the image, and their sum is the change of the score.

from inputgrad.attributions import IntegratedGradients


class OnImages(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images.flatten(1))


pictures = test_images[:8].reshape(8, 1, 8, 8)
method = IntegratedGradients(steps=32, of="label")
figure = ig.pictures.saliency(
    OnImages(models["inputgrad"]), pictures, test_labels[:8], method=method
)

# %%
# Variants
# --------
# ``ig.recipes.rrr_grad_cam`` constrains the map of a convolutional layer,
# ``ig.recipes.model_guidance`` wants attributions inside a region,
# ``ig.recipes.pixel_attribution_prior`` wants them smooth.
