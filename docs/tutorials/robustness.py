r"""
Robustness, and how not to fool yourself
========================================

**You train a classifier that an attacker should not fool.** Below: a network that looks robust and
is not, how to measure honestly, and what adversarial training and gradient penalties bring.
"""

# %%
# Your own code
# -------------
# Digits, a small network, and FGSM: one step along the sign of the loss's gradient.

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
train_images, train_labels, test_images, test_labels = (
    images[:1257],
    labels[:1257],
    images[1257:],
    labels[1257:],
)
EPSILON = 0.15


def network():
    torch.manual_seed(1)
    convs = [nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, stride=2), nn.SiLU()]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(144, 10))


def train(criterion, epochs=8):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(1257).split(64):
            optimizer.zero_grad()
            criterion(model, train_images[rows], train_labels[rows]).backward()
            optimizer.step()
    return model.eval()


def fgsm(model, images, labels):
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(images), labels), images)
    return (images + EPSILON * gradient.sign()).clamp(0, 1).detach()


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


plain = train(ig.InputGradientLoss(nn.CrossEntropyLoss()))
print(f"clean {accuracy(plain, test_images, test_labels):.3f}")
print(f"FGSM  {accuracy(plain, fgsm(plain, test_images, test_labels), test_labels):.3f}")

# %%
# The trap
# --------
# Now a "defence": multiply the logits by 1000. Every prediction stays the same, but FGSM says
# that the network has become robust.


class Confident(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return 1000 * self.model(images)


defended = Confident(plain)
attacked = fgsm(defended, test_images, test_labels)
print(f"FGSM on the defended network {accuracy(defended, attacked, test_labels):.3f}")
unmoved = (attacked == test_images).flatten(1).all(1).float().mean().item()
print(f"images that FGSM does not change, because the gradient is exactly 0: {unmoved:.0%}")

# %%
# The gradient has vanished, but the weakness has not. This is called gradient masking. Three
# habits protect you from it:
#
# - Attack the margin between the true and the best wrong **logit**, not the cross-entropy: it does
#   not saturate.
# - Take many small steps, from a random start.
# - Transfer: try images that fool another network.


def margin_attack(model, images, labels, steps=40):
    """PGD on the margin: the strong attack of this page, written without the library on purpose.

    The same in the library follows below.
    """
    generator = torch.Generator().manual_seed(0)
    found = images + EPSILON * (2 * torch.rand(images.shape, generator=generator) - 1)
    for _ in range(steps):
        found = found.clamp(0, 1).requires_grad_()
        logits = model(found)
        true = logits.gather(1, labels[:, None])
        margin = (logits.scatter(1, labels[:, None], -torch.inf).amax(1) - true[:, 0]).sum()
        (gradient,) = torch.autograd.grad(margin, found)
        found = found.detach() + 0.1 * EPSILON * gradient.sign()
        found = torch.minimum(torch.maximum(found, images - EPSILON), images + EPSILON)
    return found.clamp(0, 1).detach()


def report(name, model):
    weak = accuracy(model, fgsm(model, test_images, test_labels), test_labels)
    moved = margin_attack(model, test_images, test_labels)
    with torch.no_grad():
        holds = model(moved).argmax(1) == test_labels
        holds &= model(transferred).argmax(1) == test_labels
    clean, strong = accuracy(model, test_images, test_labels), holds.float().mean().item()
    print(f"{name:28} {clean:.3f}   {weak:.3f}   {strong:.3f}")
    return clean, weak, strong


transferred = margin_attack(plain, test_images, test_labels)
print(f"{'':28} clean   weak    strong (the worse of margin attack and transfer)")
found = {"plain": report("plain", plain), "logits x 1000": report("logits x 1000", defended)}

# %%
# The same in this library
# ------------------------
# Each line is a complete defence; the training loop stays the same.

runs = {
    "double backpropagation": nn.CrossEntropyLoss() + 1.0 * ig.GradientNorm(of="loss", power=2),
    "FGSM training": nn.CrossEntropyLoss() + 1.0 * ig.Adversarial(ig.FGSM(EPSILON, bounds=(0, 1))),
    "TRADES": nn.CrossEntropyLoss() + ig.recipes.trades(epsilon=EPSILON, steps=4, bounds=(0, 1)),
}
models = {"plain": plain}
for name, criterion in runs.items():
    models[name] = train(criterion)
    found[name] = report(name, models[name])

# %%
# The strong attack in this library
# ---------------------------------
# Called with a trained model, an attack of the library gives the attacked images. ``of`` is what it
# climbs: the loss, or any score per sample, such as the margin. Call ``model.eval()`` first, as
# ``train`` does above. An attack has no setting for restarts: each call draws a new start, so call
# it several times and count an image as robust only if it withstands every call.


def margin(logits, labels):
    """How far the best wrong logit is above the true one, per sample."""
    true = logits.gather(1, labels[:, None])
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - true[:, 0]


strong = ig.PGD(EPSILON, steps=40, step_size=0.1 * EPSILON, of=margin, bounds=(0, 1))


def worst_case(model, images, labels, restarts=3):
    holds = torch.ones(len(labels), dtype=torch.bool)
    for _ in range(restarts):
        attacked = strong(model, images, labels)
        with torch.no_grad():
            holds &= model(attacked).argmax(1) == labels
    return holds.float().mean().item()


print(f"{'':28} by hand   ig.PGD   3 restarts")
for name, model in {**models, "logits x 1000": defended}.items():
    by_hand = accuracy(model, margin_attack(model, test_images, test_labels), test_labels)
    once = worst_case(model, test_images, test_labels, restarts=1)
    thrice = worst_case(model, test_images, test_labels)
    print(f"{name:28} {by_hand:.3f}     {once:.3f}    {thrice:.3f}")

# %%
# The same with an attack in an L2 ball, which none of the defences above was trained on:

l2 = ig.PGD(0.6, norm="l2", steps=20, bounds=(0, 1))
for name, model in models.items():
    attacked = l2(model, test_images, test_labels, base="cross_entropy")
    print(f"{name:28} under the L2 attack {accuracy(model, attacked, test_labels):.3f}")

# %%
# Weak and strong attack, side by side. A large gap between the two is a warning.

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for offset, (column, name) in enumerate(((0, "clean"), (1, "weak attack"), (2, "strong attack"))):
    places = [row + 0.27 * (offset - 1) for row in range(len(found))]
    axis.bar(places, [figures[column] for figures in found.values()], 0.25, label=name)
names = [name.replace(" ", "\n", 1) for name in found]
axis.set(xticks=range(len(found)), xticklabels=names, ylabel="held-out accuracy", ylim=(0, 1.25))
axis.legend(ncols=3, loc="upper center")

# %%
# Variants
# --------
# ``ig.recipes.mart`` and ``ig.recipes.free_adversarial`` are other defences,
# ``ig.recipes.jacobian_regularization`` needs no attack at all. ``ig.ExternalAttack`` trains on
# attacks from foolbox or torchattacks; use such a library for your final numbers too.
