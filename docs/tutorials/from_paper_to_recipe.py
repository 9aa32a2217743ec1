r"""
From a paper's formula to a recipe
==================================

**You read a formula and want to train with it.** Below: one formula, three innocent differences
that change it by large factors, and the way to be sure.
"""

# %%
# The formula
# -----------
# Drucker and LeCun (1992) add to the energy of each sample half the squared norm of its gradient:
#
# .. math::
#
#    \frac1N \sum_n \left( \ell_n + \frac{\lambda}{2}
#    \left\lVert \frac{\partial \ell_n}{\partial x_n} \right\rVert_2^2 \right)
#
# Read it with four questions, and write the answers down:
#
# ============================ ==============================================
# What is differentiated?      the sample's own loss: ``of="loss"``
# With respect to what, where? the input, at the samples: the defaults
# What is made of it?          the squared Euclidean norm, times 1/2: ``power=2``
# How is it averaged?          the mean over samples, like the loss
# ============================ ==============================================

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import inputgrad as ig

torch.manual_seed(0)
data = load_digits()
images, labels = torch.tensor(data.data / 16), torch.tensor(data.target)  # float64
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()

# %%
# Your own code
# -------------
# Three versions from public code:


def of_the_mean(model, images, labels):
    images = images.clone().requires_grad_()
    loss = cross_entropy(model(images), labels)  # a mean over the batch
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    return gradient.square().sum()


def of_the_probability(model, images, labels):
    images = images.clone().requires_grad_()
    p = model(images).softmax(1).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(p, images, create_graph=True)
    return gradient.square().sum(1).mean()


def mean_over_pixels(model, images, labels):
    images = images.clone().requires_grad_()
    loss = cross_entropy(model(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    return gradient.square().mean()


# %%
# The trap
# --------
# All three run and train. Compare them with the formula written the slow way: one sample at a
# time, in float64.


def reference(model, images, labels):
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        x = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            cross_entropy(model(x), label[None]), x, create_graph=True
        )
        total = total + 0.5 * gradient.square().sum()
    return total / len(images)


few, wanted = images[:128], labels[:128]
true = reference(model, few, wanted).item()
print(f"{'the formula':20} {true:.5f}")
for version in (of_the_mean, of_the_probability, mean_over_pixels):
    value = version(model, few, wanted).item()
    factor = max(value / true, true / value)
    print(f"{version.__name__:20} {value:.5f}   off by a factor of {factor:.0f}")

# %%
# The same in this library
# ------------------------
# The four answers, as code:


def double_backpropagation(weight=1.0):
    return weight * (0.5 * ig.GradientNorm(of="loss", power=2))


recipe = ig.InputGradientLoss(nn.CrossEntropyLoss(), double_backpropagation())
value = recipe.evaluate(model, few, wanted).loss - cross_entropy(model(few), wanted)
print(f"{'the recipe':20} {value.item():.5f}")

# %%
# Be sure
# -------
# The value is only half of it. The gradient with respect to the weights must match too:

criterion = ig.InputGradientLoss(nn.CrossEntropyLoss(), double_backpropagation())
expected = cross_entropy(model(few), wanted) + reference(model, few, wanted)
parameters = list(model.parameters())
here = torch.autograd.grad(criterion(model, few, wanted), parameters)
there = torch.autograd.grad(expected, parameters)
gap = max((a - b).abs().max().item() for a, b in zip(here, there, strict=True))
print(f"largest difference of the gradients: {gap:.1e}")

# %%
# This one is in the catalogue already, and ``inputgrad terms double_backpropagation`` shows its
# source and how it differs from the paper:

published = nn.CrossEntropyLoss() + ig.recipes.double_backpropagation(1.0)
difference = (published(model, few, wanted) - criterion(model, few, wanted)).item()
print(f"difference from ig.recipes.double_backpropagation: {difference:.1e}")

# %%
# What a wrong factor does
# ------------------------
# With the gradient of the mean, the effect of the weight depends on the batch size. The term for
# the same 128 images, in batches of different sizes:

sizes = (2, 4, 8, 16, 32, 64, 128)
values = {"of the batch mean": of_the_mean, "formula": None}
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, version in values.items():
    terms = []
    for size in sizes:
        parts = []
        for x, y in zip(few.split(size), wanted.split(size), strict=True):
            if version:
                parts.append(version(model, x, y).item())
            else:
                step = criterion.evaluate(model, x, y)
                parts.append((step.loss - step.parts["base"]).item())
        terms.append(sum(parts) / len(parts))
    axis.plot(sizes, terms, marker="o", markersize=3, label=name)
axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel="the term")
axis.set_xticks(sizes, sizes)
axis.minorticks_off()
axis.legend()

# %%
# Share it
# --------
# ``CONTRIBUTING.md`` shows the three places a recipe needs: the function with formula and source in
# its docstring, its public name, and a row in the tests with a reference like the one above. The
# tests then compare it on every engine.
