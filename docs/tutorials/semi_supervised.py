r"""
Semi-supervised learning with two batches
=========================================

**You have few labels and many images without.** Below: virtual adversarial training by hand with a
factor that nobody sees, and the two-batch loop with this library.
"""

# %%
# The data
# --------
# Digits: five labels per class, and 1247 images whose labels we do not look at.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, softmax

import inputgrad as ig

torch.manual_seed(0)
data = load_digits()
order = torch.randperm(1797)
images, labels = torch.tensor(data.data / 16).float()[order], torch.tensor(data.target)[order]
test_images, test_labels = images[1297:], labels[1297:]
images, labels = images[:1297], labels[:1297]
chosen = torch.cat([torch.nonzero(labels == digit)[:5, 0] for digit in range(10)])
few_images, few_labels = images[chosen], labels[chosen]


def network():
    torch.manual_seed(1)
    hidden = [nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(100, 10))


# %%
# Your own code
# -------------
# Virtual adversarial training: find the direction in which the prediction changes fastest, and
# make it change little there. No labels are needed.


def vat_by_hand(model, images, epsilon=0.5, xi=0.01):
    with torch.no_grad():
        p = softmax(model(images), 1)
    direction = normalize(torch.randn_like(images), dim=1).requires_grad_()
    log_q = log_softmax(model(images + xi * direction), 1)
    (direction,) = torch.autograd.grad(kl_div(log_q, p), direction)
    log_q = log_softmax(model(images + epsilon * normalize(direction, dim=1)), 1)
    return kl_div(log_q, p)


# %%
# The trap
# --------
# ``kl_div`` averages over all elements by default, the ten classes included, so this is a tenth
# of the Kullback-Leibler divergence of the formula. Then the "published weight" is a tenth of the
# published weight. (PyTorch warns about it once, in a line that is easily missed.) Compare with
# the library on a briefly trained network:

import warnings

warnings.filterwarnings("ignore", message="reduction: 'mean' divides")


def train(loss_of, steps=300):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        unlabelled = images[torch.randint(len(images), (128,))]
        optimizer.zero_grad()
        loss_of(model, unlabelled).backward()
        optimizer.step()
    return model


def accuracy(model):
    with torch.no_grad():
        return (model(test_images).argmax(1) == test_labels).float().mean().item()


def supervised(model, unlabelled):
    return cross_entropy(model(few_images), few_labels)


labels_alone = train(supervised)

vat = ig.InputGradientLoss(None, ig.recipes.vat(epsilon=0.5))
by_hand = torch.stack([vat_by_hand(labels_alone, images) for _ in range(5)]).mean().item()
here = torch.stack([vat(labels_alone, images) for _ in range(5)]).mean().item()
print(f"by hand {by_hand:.3f}, here {here:.3f}: {here / by_hand:.1f} times as much")

# %%
# The same in this library
# ------------------------
# Two criteria, two batches, one sum. A criterion without a base loss (``None``) is just the term
# and needs no target.


def semi_supervised(model, unlabelled):
    return cross_entropy(model(few_images), few_labels) + vat(model, unlabelled)


def semi_by_hand(model, unlabelled):
    return cross_entropy(model(few_images), few_labels) + vat_by_hand(model, unlabelled)


models = {
    "labels alone": labels_alone,
    "VAT by hand": train(semi_by_hand),
    "VAT": train(semi_supervised),
}
for name, model in models.items():
    print(f"{name:14} accuracy {accuracy(model):.3f} with {len(few_labels)} labels")

# %%
# One call instead of two
# -----------------------
# If both batches come from one loader, put the unlabelled images into the target and evaluate the
# term there. The loss is the same.

criterion = ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.vat(
    epsilon=0.5, at=ig.Given("unlabelled")
)
loss = criterion(network(), few_images, {"label": few_labels, "unlabelled": images[:128]})
loss.backward()

# %%
# How far can an image move?
# --------------------------
# The images on which the two networks differ most, and where ``ig.follow_gradient`` moves each
# one to increase the loss, within the distance used in training.

with torch.no_grad():
    wrong = labels_alone(test_images).argmax(1) != test_labels
    wrong &= models["VAT"](test_images).argmax(1) == test_labels
print(f"{wrong.sum().item()} images are right with VAT only")

figure, axes = plt.subplots(2, 6, figsize=(7.5, 2.8), layout="constrained")
picked = torch.nonzero(wrong)[:6, 0]
path = ig.follow_gradient(
    models["VAT"],
    test_images[picked],
    of="label",
    target=test_labels[picked],
    move="descend",
    steps=10,
    step_size=0.1,
)
for column, row in enumerate(picked.tolist()):
    axes[0, column].imshow(test_images[row].reshape(8, 8), cmap="gray")
    axes[1, column].imshow(path[-1, column].reshape(8, 8), cmap="gray")
    guess = labels_alone(test_images[row : row + 1]).argmax().item()
    axes[0, column].set_title(f"{test_labels[row].item()}, not {guess}", fontsize=9)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("moved by 1")

# %%
# Variants
# --------
# Any term without labels fits here: ``ig.recipes.jacobian_regularization`` on the unlabelled batch,
# or a consistency of your own.
