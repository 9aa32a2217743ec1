r"""
A discriminator in reinforcement learning
=========================================

**You imitate demonstrations with a discriminator as the reward (GAIL, AMP).** Below: a penalty that
is dominated by units, and an agent that learns to walk in a circle.
"""

# %%
# The data
# --------
# A point in the plane. Demonstrations walk on the unit circle. A transition has the position and
# the velocity; as in most simulators they have different units.

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as logistic

import inputgrad as ig

torch.manual_seed(0)
DT, UNITS, NOISE = 0.2, 0.01, 0.2  # velocities are recorded in hundredths


def features(position, velocity):
    return torch.cat([position, UNITS * velocity], 1)


def demonstrations(count):
    angle = 2 * torch.pi * torch.rand(count, 1)
    position = torch.cat([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)
    velocity = torch.stack([-position[:, 1], position[:, 0]], 1)
    return features(position, velocity + NOISE * torch.randn(count, 2))


# %%
# Implementations normalise the features first. Here a module of the discriminator does it.


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.normalizer = nn.BatchNorm1d(4, affine=False, momentum=None).eval()
        self.body = nn.Sequential(
            nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, transition):
        return self.body(self.normalizer(transition))

    def learn_statistics(self, transition):
        self.normalizer.train()
        self.normalizer(transition)
        self.normalizer.eval()


# %%
# Your own code
# -------------
# The gradient penalty on demonstrated transitions.


def penalty_by_hand(discriminator, real):
    real = real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return 0.15 * gradient.square().sum(1).mean()


# %%
# The trap
# --------
# The gradient is taken with respect to the **raw** features. The normaliser divides each feature
# by its standard deviation, so the gradient with respect to a feature is divided by that too.
# With velocities in hundredths, they make up almost the whole penalty:

discriminator, real = Discriminator(), demonstrations(2000)
discriminator.learn_statistics(real)

raw = ig.gradient(discriminator, real).detach().square().mean(0)
normal = ig.gradient(discriminator, real, wrt="module:normalizer").detach().square().mean(0)
print(f"penalty by hand: {penalty_by_hand(discriminator, real).item():.1f}")
print(f"share of the velocities, raw features:        {(raw[2:].sum() / raw.sum()).item():.2%}")
print(
    f"share of the velocities, normalised features: {(normal[2:].sum() / normal.sum()).item():.2%}"
)

# %%
# The same in this library
# ------------------------
# ``wrt`` names a module: the gradient is taken with respect to its output. The published penalty
# is with respect to normalised features.

penalty = ig.InputGradientLoss(
    None, ig.recipes.adversarial_motion_prior(weight=0.3, wrt="module:normalizer")
)
print(f"penalty here: {penalty(discriminator, real).item():.4f}")

# %%
# Train an agent
# --------------
# The policy gives a mean velocity for each position. REINFORCE improves it: walk, let the
# discriminator reward each transition, and make good actions more likely.


def walk(policy, count=128, steps=5):
    """Transitions [count * steps, 4], the log-probabilities of the actions, and the path."""
    position, seen, log_p, path = 1.2 * torch.randn(count, 2), [], [], []
    for _ in range(steps):
        mean = 2 * policy(position).tanh()
        velocity = (mean + NOISE * torch.randn_like(mean)).detach()
        log_p.append(-((velocity - mean) ** 2).sum(1) / (2 * NOISE**2))
        seen.append(features(position, velocity))
        path.append(position)
        position = position + DT * velocity
    return torch.stack(seen), torch.stack(log_p), torch.stack(path)


def train(penalty, rounds=250):
    torch.manual_seed(1)
    policy = nn.Sequential(
        nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
    )
    discriminator = Discriminator()
    discriminator.learn_statistics(demonstrations(2000))
    steps_of_policy = torch.optim.Adam(policy.parameters(), lr=3e-3)
    steps_of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    for _ in range(rounds):
        seen, log_p, _ = walk(policy)
        fake, real = seen.flatten(0, 1), demonstrations(len(seen) * 128)
        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = logistic(on_real, torch.ones_like(on_real)) + logistic(
            on_fake, torch.zeros_like(on_fake)
        )
        steps_of_discriminator.zero_grad()
        (loss + penalty(discriminator, real)).backward()
        steps_of_discriminator.step()

        with torch.no_grad():
            reward = nn.functional.softplus(discriminator(seen.flatten(0, 1))).reshape(log_p.shape)
            later = reward.clone()  # rewards to come, each step worth 0.8 of the one before
            for step in reversed(range(len(later) - 1)):
                later[step] += 0.8 * later[step + 1]
            advantage = (later - later.mean(1, keepdim=True)) / later.std(1, keepdim=True)
        steps_of_policy.zero_grad()
        (-(advantage * log_p).mean()).backward()
        steps_of_policy.step()
    return policy


def judge(policy):
    torch.manual_seed(2)
    _, _, path = walk(policy, steps=60)
    late = path[30:-1]
    step = (path[31:] - late) / DT
    around = (late[..., 0] * step[..., 1] - late[..., 1] * step[..., 0]) / late.norm(dim=2)
    return path, (late.norm(dim=2) - 1).abs().mean().item(), around.mean().item()


paths = {}
for name, chosen in (
    ("no penalty", lambda model, real: 0.0),
    ("by hand", penalty_by_hand),
    ("inputgrad", penalty),
):
    paths[name], off, around = judge(train(chosen))
    print(f"{name:12} distance from the circle {off:.2f}, speed around it {around:.2f} (wanted: 1)")

# %%
# One seed each, and the weight of the penalty was chosen for this task. Six walks of each agent,
# and the circle of the demonstrations:

figure, axes = plt.subplots(
    1, 3, figsize=(7.5, 2.8), sharex=True, sharey=True, layout="constrained"
)
angle = torch.linspace(0, 2 * torch.pi, 100)
for axis, (name, path) in zip(axes, paths.items(), strict=True):
    axis.plot(angle.cos(), angle.sin(), "--", color="gray")
    for walker in range(6):
        axis.plot(path[:, walker, 0], path[:, walker, 1], linewidth=1)
    axis.set(title=name, xlim=(-3, 3), ylim=(-3, 3), aspect="equal")

# %%
# Variants
# --------
# For a WGAN critic, as in some GAIL code, use ``ig.recipes.wgan_gp`` with expert pairs as inputs
# and the agent's as target. MimicKit penalises at the agent's transitions as well:
# ``ig.recipes.r3gan``.
