r"""
Several tasks, outputs in a dict
================================

**Your model returns a dict, and only one of its outputs should get a gradient penalty.** Below: a
penalty that mixes the tasks, and how to name outputs, targets and parts.
"""

# %%
# The data
# --------
# Diabetes patients of scikit-learn: predict the progression of the disease after a year, and
# whether it is above the median. We know one thing in advance: a higher body-mass index does not
# improve the progression.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import inputgrad as ig

torch.manual_seed(0)
data = load_diabetes()
BMI = data.feature_names.index("bmi")
patients = torch.tensor(data.data * 442**0.5).float()  # ten features, standardised
progression = torch.tensor((data.target - data.target.mean()) / data.target.std()).float()
order = torch.randperm(442)
patients, progression = patients[order], progression[order]
target = {"progression": progression, "severe": (progression > 0).float()}
train_rows, test_rows = slice(0, 120), slice(120, 442)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.progression, self.severe = nn.Linear(64, 1), nn.Linear(64, 1)

    def forward(self, patients):
        hidden = self.body(patients)
        return {
            "progression": self.progression(hidden).squeeze(1),
            "severe": self.severe(hidden).squeeze(1),
        }


def both_losses(output, target):
    return mse_loss(output["progression"], target["progression"]) + (
        binary_cross_entropy_with_logits(output["severe"], target["severe"])
    )


# %%
# Your own code
# -------------
# A hinge on the slope with respect to the body-mass index, with one backward pass for everything.


def loss_by_hand(model, patients, target):
    patients = patients.clone().requires_grad_()
    output = model(patients)
    total = sum(part.sum() for part in output.values())
    (gradient,) = torch.autograd.grad(total, patients, create_graph=True)
    return both_losses(output, target) + 10 * (-gradient[:, BMI]).clamp(min=0).square().mean()


# %%
# The trap
# --------
# The gradient of a sum is the sum of the gradients. A slope of -1 in one task is hidden by +2 in
# the other, so the constraint holds for neither:


class Opposed(nn.Module):
    """Progression falls with the body-mass index; the other output rises faster."""

    def forward(self, patients):
        return {"progression": -patients[:, BMI], "severe": 2 * patients[:, BMI]}


def penalty_of(loss, model):
    return (loss - both_losses(model(patients), target)).item()


opposed = Opposed()
print(f"penalty by hand: {penalty_of(loss_by_hand(opposed, patients, target), opposed):.2f}")

# %%
# The same in this library
# ------------------------
# ``ig.heads.Output("progression")`` is one output. The base loss gets the whole dict.

slope = 10.0 * ig.Monotone({BMI: 1}, of=ig.heads.Output("progression"), power=2)
criterion = ig.InputGradientLoss(both_losses, slope)
print(f"penalty here:    {penalty_of(criterion(opposed, patients, target), opposed):.2f}")

# %%
# Train three times: without the constraint, with it by hand, and with it here.


def train(loss_of, epochs=60):
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rows = {key: value[train_rows] for key, value in target.items()}
    for _ in range(epochs):
        for chosen in torch.randperm(120).split(40):
            optimizer.zero_grad()
            batch = {key: value[chosen] for key, value in rows.items()}
            loss_of(model, patients[train_rows][chosen], batch).backward()
            optimizer.step()
    return model


def report(name, model):
    test = patients[test_rows]
    slopes = ig.gradient(model, test, of=ig.heads.Output("progression"))[:, BMI].detach()
    with torch.no_grad():
        output = model(test)
    error = (output["progression"] - progression[test_rows]).square().mean().item()
    right = ((output["severe"] > 0) == target["severe"][test_rows].bool()).float().mean().item()
    falls = (slopes < 0).float().mean().item()
    print(f"{name:20} {error:.3f}              {right:.3f}      {falls:.1%}")
    return slopes


runs = {
    "no constraint": ig.InputGradientLoss(both_losses),
    "by hand": loss_by_hand,
    "inputgrad": criterion,
}
print(f"{'':20} error of values    accuracy   patients with a falling slope")
slopes = {name: report(name, train(loss_of)) for name, loss_of in runs.items()}

# %%
# Slopes of the progression with respect to the body-mass index, over held-out patients:

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
bins = torch.linspace(-1, 1.5, 40).tolist()
for name, found in slopes.items():
    axis.hist(found.clamp(-1, 1.5), bins=bins, histtype="step", label=name, linewidth=1.5)
axis.axvline(0, color="gray", linestyle="--", linewidth=1)
axis.set(xlabel="slope in the body-mass index", ylabel="patients")
axis.legend()

# %%
# The parts by name
# -----------------
# ``evaluate`` gives each part for your logs; ``losses`` gives each with its graph, for methods that
# balance tasks.

step = criterion.evaluate(Model(), patients, target)
print({name: round(value.item(), 3) for name, value in step.parts.items()})

losses = criterion.losses(Model(), patients, target)
weights = ig.adaptive.UncertaintyWeights(criterion)
weights(losses).backward()
print("learned weights have a gradient:", all(p.grad is not None for p in weights.parameters()))

# %%
# Variants
# --------
# ``ig.OnTarget("label")`` selects one part of the target for an ordinary base loss. TorchJD
# aggregates the Jacobian of ``losses``: see the page on integrations.
