r"""
R1 in a StyleGAN-like loop: lazily, and in bfloat16
===================================================

**You train a GAN with R1 every 16th step, under autocast.** Below: what goes wrong when this is
written by hand, and the loop with one line of this library.
"""

# %%
# Your own code
# -------------
# A small discriminator, and R1 as it is usually written.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import leaky_relu, softplus

import inputgrad as ig

torch.manual_seed(0)
images = torch.tensor(load_digits().images / 8 - 1).float()[:, None]  # [1797, 1, 8, 8]


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 32, 3, 1, 1), nn.Conv2d(32, 64, 3, 2, 1)])
        self.last = nn.Linear(64 * 16, 1)

    def forward(self, image):
        for conv in self.convs:
            image = leaky_relu(conv(image), 0.2)
        return self.last(image.flatten(1))


def r1_by_hand(discriminator, real, gamma=1.0):
    real = real.detach().requires_grad_()
    score = discriminator(real)
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    return gamma / 2 * gradient.square().sum([1, 2, 3]).mean()


# %%
# The trap
# --------
# R1 is expensive, so it is computed at every 16th step only. Its weight must then be multiplied
# by 16, which many loops forget. Let a discriminator learn to tell digits from noise and look at
# its slope:


def slope_after(factor, steps=128):
    torch.manual_seed(1)
    discriminator = Discriminator()
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.0, 0.99))
    for step in range(steps):
        real, fake = images[torch.randint(1797, (32,))], torch.rand(32, 1, 8, 8) * 2 - 1
        loss = softplus(discriminator(fake)).mean() + softplus(-discriminator(real)).mean()
        if factor and step % 16 == 0:
            loss = loss + factor * r1_by_hand(discriminator, real, gamma=10.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ig.gradient(discriminator, images[:300]).flatten(1).norm(dim=1).mean().item()


for factor, name in ((0, "no R1"), (1, "every 16th step, factor forgotten"), (16, "times 16")):
    print(f"{name:36} mean slope {slope_after(factor):.3f}")

# %%
# A second trap is reduced precision. Under ``torch.autocast`` the score and the backward pass to
# the image run in 16 bits. In **float16** small gradients become 0 there, and the ``GradScaler``
# comes too late: it scales the final loss, not the inner gradient. Here is a discriminator whose
# score changes little from pixel to pixel, as it does on large images:

faint = Discriminator()
with torch.no_grad():
    for parameter in faint.parameters():
        parameter.mul_(0.01)
exact = r1_by_hand(faint, images[:64])
with torch.autocast("cpu", torch.float16):
    half = r1_by_hand(faint, images[:64])
    here = ig.InputGradientLoss(None, ig.recipes.r1(gamma=1.0))(faint, images[:64])
print(f"float32: {exact:.2e}   float16 by hand: {half:.2e}   float16 in this library: {here:.2e}")

# %%
# The same in this library
# ------------------------
# ``lazy_r1`` includes the factor: do not write ``16 * ig.recipes.lazy_r1()``, which would count it
# twice (256 times R1). Call it at every step; at 15 of 16 steps it costs nothing. In float16 the
# library scales the inner gradient and scales it back.

penalty = ig.InputGradientLoss(None, ig.recipes.lazy_r1(gamma=0.5, every=16))


# %%
# A generator like StyleGAN's: a mapping network makes a style from noise, and the style scales
# the channels of each layer.


class Layer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.style, self.conv = nn.Linear(32, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.noise = nn.Parameter(torch.zeros(()))

    def forward(self, image, w):
        styled = image * (1 + self.style(w))[:, :, None, None]
        made = self.conv(styled)
        return leaky_relu(made + self.noise * torch.randn_like(made[:, :1]), 0.2)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(32, 64), nn.LeakyReLU(0.2), nn.Linear(64, 32))
        self.start = nn.Parameter(torch.randn(1, 64, 4, 4))
        self.layers = nn.ModuleList([Layer(64, 64), Layer(64, 32)])
        self.to_image = nn.Conv2d(32, 1, 1)

    def forward(self, z):
        w = self.mapping(z)
        image = self.layers[0](self.start.expand(len(z), -1, -1, -1), w)
        image = nn.functional.interpolate(image, scale_factor=2)
        return self.to_image(self.layers[1](image, w)).tanh()


# %%
# The loop, under autocast to bfloat16 (which runs on every CPU; on a GPU write ``"cuda"``):

torch.manual_seed(2)
generator, discriminator = Generator(), Discriminator()
steps_of_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.0, 0.99))
steps_of_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.0, 0.99))
slopes, taken = [], 0

for step in range(320):
    real, z = images[torch.randint(1797, (32,))], torch.randn(32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        fake = generator(z)
        adversarial = softplus(discriminator(fake.detach())) + softplus(-discriminator(real))
        regularisation = penalty.evaluate(discriminator, real)
        loss = adversarial.mean() + regularisation.loss
    taken += "gradient_norm" in regularisation.parts
    steps_of_d.zero_grad()
    loss.backward()
    steps_of_d.step()
    with torch.autocast("cpu", torch.bfloat16):
        loss = softplus(-discriminator(fake)).mean()
    steps_of_g.zero_grad()
    loss.backward()
    steps_of_g.step()
    if step % 16 == 0:
        slope = ig.gradient(discriminator, images[:200]).flatten(1).norm(dim=1).mean()
        slopes.append(slope.item())

print(f"R1 was computed at {taken} of 320 steps")

# %%
# Generated digits, and the slope under R1:

with torch.no_grad():
    made = generator(torch.randn(24, 32))[:, 0].reshape(3, 8, 8, 8)

figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.8), layout="constrained")
left.imshow(made.permute(0, 2, 1, 3).reshape(24, 64), cmap="gray")
left.set(title="generated", xticks=[], yticks=[])
right.plot(range(0, 320, 16), slopes)
right.set(xlabel="step", ylabel="mean slope at real images")

# %%
# Variants
# --------
# The non-saturating loss of the real images may be the base loss beside R1, so that both share one
# forward pass: ``real_side = ig.InputGradientLoss(lambda score, _: softplus(-score).squeeze(1),
# ig.recipes.lazy_r1(gamma=0.5, every=16))``, and the discriminator's loss is
# ``real_side(discriminator, real) + softplus(discriminator(fake.detach())).mean()``.
#
# StyleGAN2 gives R1 an optimiser step of its own and corrects Adam's settings for it:
# ``torch.optim.Adam(..., **ig.lazy_adam(16, lr=2e-3, betas=(0.0, 0.99)))``, see
# ``ig.recipes.lazy_r1``. ``ig.recipes.path_length`` is its penalty on the generator.
# ``ig.recipes.r3gan`` adds R2 at the fakes.
