r"""
A gradient penalty, and a conditional WGAN-GP
=============================================

**You train a GAN critic with a gradient penalty.** Below: a penalty that trains nothing, the same
in this library, and a generator that draws the digit you ask for.
"""

# %%
# Your own code
# -------------
# A critic that sees images and labels, and the penalty as many repositories write it.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import inputgrad as ig

torch.manual_seed(0)
data = load_digits()
images = torch.tensor(data.data / 8 - 1).float()  # [1797, 64], in [-1, 1]
labels = torch.tensor(data.target)


def mlp(inputs, outputs):
    hidden = [nn.Linear(inputs, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU()]
    return nn.Sequential(*hidden, nn.Linear(128, outputs))


def gradient_of_weights(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(64 + 10, 1)

    def forward(self, image, label):
        return self.body(torch.cat([image, nn.functional.one_hot(label, 10)], 1))


def penalty_by_hand(critic, real, fake, label):
    mix = torch.rand(len(real), 1)
    points = (mix * real + (1 - mix) * fake).requires_grad_()
    critic(points, label).sum().backward()
    return 10 * ((points.grad.norm(2, dim=1) - 1) ** 2).mean()


# %%
# The trap
# --------
# The penalty prints a sensible number. But ``points.grad`` is a constant, so no weight learns from
# it. Worse, ``backward()`` has put the gradient of something else into the weights' ``.grad``.

critic = Critic()
real, label = images[:64], labels[:64]
fake = torch.rand(64, 64) * 2 - 1

by_hand = penalty_by_hand(critic, real, fake, label)
print(f"penalty: {by_hand:.2f}")
print(f"reaches the weights: {by_hand.requires_grad}")
print(f"left in the weights' .grad: a gradient of norm {gradient_of_weights(critic).norm():.1f}")

# %%
# A second trap waits on images of shape ``[N, C, H, W]``: ``gradient.norm(2, dim=1)`` is the norm
# over the channels, one number **per pixel**. Each pixel is then pulled to 1, so the norm of the
# whole image is pulled to the square root of the number of pixels:

gradient = torch.randn(64, 1, 8, 8)
gradient = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]  # norm 1 per image
print(f"over the channels: {((gradient.norm(2, dim=1) - 1) ** 2).mean():.2f}")
print(f"over the image:    {((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean():.2f}")

# %%
# The same in this library
# ------------------------
# ``wrt="image"`` says which input is mixed and differentiated. The label is passed to the critic
# unchanged. The fakes are the target.

penalty = ig.InputGradientLoss(None, ig.recipes.wgan_gp(weight=10.0, wrt="image"))

critic.zero_grad()
loss = penalty(critic, {"image": real, "label": label}, fake)
loss.backward()
print(f"penalty: {loss.item():.2f}")
print(f"gradient with respect to the weights: {gradient_of_weights(critic).norm():.2f}")

# %%
# Train it
# --------
# The generator gets noise and a label. The penalty is just added to the critic's loss. We train
# twice, with the penalty by hand and with the right one.


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(16 + 10, 64)

    def forward(self, label):
        noise = torch.randn(len(label), 16)
        return self.body(torch.cat([noise, nn.functional.one_hot(label, 10)], 1)).tanh()


def train(right, rounds=300):
    torch.manual_seed(1)
    critic, generator = Critic(), Generator()
    critic_steps = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    generator_steps = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
    slopes = []
    for step in range(rounds):
        for _ in range(3):
            rows = torch.randint(len(images), (64,))
            real, label = images[rows], labels[rows]
            fake = generator(label).detach()
            inputs = {"image": real, "label": label}
            if right:
                term = penalty(critic, inputs, fake)
            else:
                term = penalty_by_hand(critic, real, fake, label)
            critic_steps.zero_grad()
            (critic(fake, label).mean() - critic(real, label).mean() + term).backward()
            critic_steps.step()
        generator_steps.zero_grad()
        (-critic(generator(label), label).mean()).backward()
        generator_steps.step()
        if step % 10 == 0:
            slopes.append(ig.gradient(critic, inputs, wrt="image").norm(dim=1).mean().item())
    return generator, slopes


generator, slopes = train(right=True)
unconstrained, steep = train(right=False)
print(f"slope of the critic at the end: {steep[-1]:.1e} by hand, {slopes[-1]:.2f} here")

# %%
# With the penalty by hand, the critic's slope grows without limit, although the loss contains a
# penalty.

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(range(0, 300, 10), steep, label="by hand")
axis.plot(range(0, 300, 10), slopes, label="inputgrad")
axis.axhline(1, linestyle="--", color="gray", linewidth=1)
axis.set(xlabel="round", ylabel="mean slope of the critic", yscale="log")
axis.legend()

# %%
# One column per label, without the penalty (top) and with it (bottom):


def draw(axis, generator, title):
    torch.manual_seed(2)
    with torch.no_grad():
        made = generator(torch.arange(10).repeat(3)).reshape(3, 10, 8, 8)
    axis.imshow(made.permute(0, 2, 1, 3).reshape(24, 80), cmap="gray")
    axis.set(title=title, xticks=[8 * k + 3.5 for k in range(10)], xticklabels=range(10), yticks=[])


figure, (top, bottom) = plt.subplots(2, 1, figsize=(6, 4.6), layout="constrained")
draw(top, unconstrained, "penalty by hand")
draw(bottom, generator, "inputgrad")

# %%
# Variants
# --------
# ``ig.recipes.wgan_lp`` penalises slopes above 1 only, ``ig.recipes.r1`` and ``ig.recipes.r3gan``
# belong to the logistic loss, ``ig.recipes.dragan`` needs no fakes. A batch-normalised critic
# couples the samples: use layer normalisation. The library warns once when it sees one.
