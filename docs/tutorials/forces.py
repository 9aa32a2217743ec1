r"""
Energies, forces and stress for structures of different sizes
=============================================================

**You train a force field on flat batches: one row per atom, and an index of structures.** Below:
forces that are silently too small, and the loss in one line, with stress.
"""

# %%
# The data
# --------
# Small periodic crystals of two to six atoms. A Morse potential gives their energies, forces and
# stress in float64.

import matplotlib.pyplot as plt
import torch
from torch import nn

import inputgrad as ig

CUTOFF = 2.5


def pairs(positions, cell, index):
    """Distances within the cutoff between atoms of one structure and periodic images, and whose."""
    a, b = torch.nonzero(index[:, None] == index[None], as_tuple=True)
    shifts = torch.cartesian_prod(*[torch.tensor([-1.0, 0, 1], dtype=positions.dtype)] * 3)
    moved = torch.einsum("sk,pkl->psl", shifts, cell[index[a]])
    away = positions[b][:, None] + moved - positions[a][:, None]
    square = away.square().sum(2)
    near = (square > 1e-6) & (square < CUTOFF**2)
    return square[near].sqrt(), index[a][:, None].expand_as(near)[near]


def total(values, index):
    return torch.zeros(int(index.max()) + 1, dtype=values.dtype).index_add(0, index, values)


def morse(positions, cell, index):
    """The true energy [N]: half of every pair, smoothly cut off."""
    distance, structure = pairs(positions, cell, index)
    smooth = (1 - (distance / CUTOFF) ** 2) ** 3
    well = (1 - torch.exp(-2.0 * (distance - 1.2))) ** 2 - 1
    return total(0.5 * smooth * well, structure)


def make(sizes, seed):
    """Positions, cells and index, with labels from the true energy."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = torch.randn(len(sizes), 3, 3, generator=generator, dtype=torch.float64)
    cell = 2.2 * torch.eye(3, dtype=torch.float64) + 0.08 * noise
    corners = torch.cartesian_prod(*[torch.tensor([0.25, 0.75], dtype=torch.float64)] * 3)
    fractional = torch.cat([corners[torch.randperm(8, generator=generator)[:n]] for n in sizes])
    jitter = torch.randn(len(index), 3, generator=generator, dtype=torch.float64)
    fractional = fractional + 0.04 * jitter
    positions = torch.einsum("ak,akl->al", fractional, cell[index])

    strain = torch.zeros(len(sizes), 3, 3, dtype=torch.float64, requires_grad=True)
    positions.requires_grad_()
    deform = torch.eye(3, dtype=torch.float64) + (strain + strain.mT) / 2
    moved = torch.einsum("ak,akl->al", positions, deform[index])
    energy = morse(moved, cell @ deform, index)
    by_place, by_strain = torch.autograd.grad(energy.sum(), (positions, strain))
    inputs = {"positions": positions.detach(), "cell": cell, "index": index}
    stress = by_strain / torch.linalg.det(cell)[:, None, None]
    labels = {"energy": energy.detach(), "forces": -by_place, "stress": stress, "index": index}
    single = {
        key: value.float() if value.is_floating_point() else value for key, value in inputs.items()
    }
    return single, {
        key: value.float() if value.is_floating_point() else value for key, value in labels.items()
    }


sizes = [2, 3, 4, 5, 6, 2, 4, 6]
batches = [make(sizes, seed) for seed in range(8)]
held_out = make(sizes, 100)
inputs, labels = batches[0]
print({key: list(value.shape) for key, value in {**inputs, **labels}.items()})


# %%
# A small model: radial basis functions of each distance, an energy per pair, and a sum per
# structure.


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(12, 32), nn.SiLU(), nn.Linear(32, 1))
        self.register_buffer("centres", torch.linspace(0.6, CUTOFF, 12))

    def forward(self, positions, cell, index):
        distance, structure = pairs(positions, cell, index)
        smooth = (1 - (distance / CUTOFF) ** 2) ** 3
        basis = torch.exp(-20 * (distance[:, None] - self.centres) ** 2)
        return total(smooth * self.pair(basis).squeeze(1), structure)


# %%
# Your own code
# -------------
# The training loss already contains ``energy.mean()``, so it is tempting to differentiate that.


def loss_by_hand(model, inputs, labels):
    positions = inputs["positions"].clone().requires_grad_()
    energy = model(positions, inputs["cell"], inputs["index"])
    (gradient,) = torch.autograd.grad(energy.mean(), positions, create_graph=True)
    errors = (-gradient - labels["forces"]).square()
    return 0.01 * (energy - labels["energy"]).square().mean() + errors.mean()


# %%
# The trap
# --------
# The mean over eight structures divides every force by eight. And ``errors.mean()`` is over atoms:
# a structure of six counts three times as much as one of two. Neither raises an error. Give the
# hand-written loss the **true** energy, whose loss must be zero:

exact = loss_by_hand(morse, inputs, labels).item()
print(f"loss of the true energy, by hand: {exact:.2e}")

# %%
# The same in this library
# ------------------------
# ``index="index"`` names the part of the target that says which atom belongs to which structure.

criterion = ig.recipes.energy_and_forces(energy_weight=0.01, wrt="positions", index="index")


class Truth(nn.Module):
    forward = staticmethod(morse)


print(f"loss of the true energy here:     {criterion(Truth(), inputs, labels).item():.2e}")

# %%
# Stress is one more term. It needs the cell as a second variable; the library strains the cell
# itself, so the model does not change.

stress = ig.StressMatch("stress", wrt=("positions", "cell"), index="index")
runs = {
    "energies only": ig.InputGradientLoss(ig.OnTarget("energy", nn.MSELoss())),
    "by hand": loss_by_hand,
    "energies and forces": criterion,
    "with stress": criterion + 1.0 * stress,
}

# %%
# Train each for the same number of steps, and compare forces and stress on held-out structures:


def train(loss_of, steps=120):
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, *batches[step % len(batches)]).backward()
        optimizer.step()
    return model


def predicted(model):
    """Forces [atoms, 3] and stress [N, 3, 3] of the held-out structures."""
    inputs, _ = held_out
    by_place, by_cell = ig.gradient(model, inputs, wrt=("positions", "cell"))
    index, cell = inputs["index"], inputs["cell"]
    outer = by_place[:, :, None] * inputs["positions"][:, None]
    virial = torch.zeros(len(cell), 3, 3).index_add(0, index, outer) + by_cell.mT @ cell
    return -by_place, (virial + virial.mT) / 2 / torch.linalg.det(cell)[:, None, None]


print(f"{'':20} error of forces   error of stress")
found = {}
for name, loss_of in runs.items():
    forces, stresses = predicted(train(loss_of))
    found[name] = forces.detach()
    error = (forces - held_out[1]["forces"]).abs().mean()
    stress_error = (stresses - held_out[1]["stress"]).abs().mean()
    print(f"{name:20} {error:15.4f}   {stress_error:15.4f}")

# %%
# Predicted forces against true ones:

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), sharey=True, layout="constrained")
truth = held_out[1]["forces"].flatten()
for axis, name in zip(axes, ("energies only", "by hand", "energies and forces"), strict=True):
    axis.scatter(truth, found[name].flatten(), s=6)
    axis.axline((0, 0), slope=1, color="gray", linewidth=1)
    axis.set(title=name, xlabel="true force")
axes[0].set_ylabel("predicted force")

# %%
# Variants
# --------
# A force or stress that was not computed is NaN and does not count. Molecules without a cell: leave
# the stress out, or match the virial with ``ig.StressMatch(..., wrt="positions",
# quantity="virial")``. ``ig.recipes.universal_loss`` is MACE's robust loss,
# ``ig.recipes.hessian_distillation`` learns second derivatives of a teacher. For production force
# fields use the frameworks of that field; this loss fits into them.
