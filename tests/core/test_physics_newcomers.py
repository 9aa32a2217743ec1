"""What a chemist and a user of physics-informed networks missed: weights of structures, names of parts, and errors that say the line to write."""

import re

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.core.test_newcomers import INDEX, Atoms, X

NAN = float("nan")
INPUTS = {"positions": X, "batch": INDEX}


def labels() -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(2)
    forces = torch.randn(5, 3, dtype=torch.float64, generator=made)
    forces[4, 1] = NAN
    energies = torch.randn(2, dtype=torch.float64, generator=made)
    energies[0] = NAN
    return {"energy": energies, "forces": forces, "batch": INDEX, "w": torch.tensor([0.5, 3.0], dtype=torch.float64)}


def weighted_by_hand(model: nn.Module, y: dict[str, Tensor], per: str, per_atom: bool) -> tuple[Tensor, Tensor]:
    z = X.clone().requires_grad_()
    energy = model(z, INDEX)
    (slope,) = torch.autograd.grad(energy.sum(), z, create_graph=True)
    gap = (energy - y["energy"])[1] / (3 if per_atom else 1)
    known = ~y["forces"].isnan()
    squares = torch.where(known, (-slope - y["forces"].nan_to_num()).square(), 0)
    if per == "batch":
        return y["w"][1] * gap.square() / 2, (y["w"][INDEX][:, None] * squares).sum() / known.sum()
    own = [y["w"][n] * squares[n == INDEX].sum() / known[n == INDEX].sum() for n in (0, 1)]
    return y["w"][1] * gap.square() / 2, (own[0] + own[1]) / 2


@pytest.mark.parametrize("per_atom", [False, True])
@pytest.mark.parametrize("per", ["sample", "batch"])
def test_weights_of_structures_with_missing_energies_and_forces(per, per_atom):
    model, y = Atoms(), labels()
    criterion = ig.recipes.energy_and_forces(
        energy_weight=0.1, forces_weight=7.0, wrt="positions", index="batch", per=per, energy_per_atom=per_atom, sample_weight="w"
    )
    step = criterion.evaluate(model, INPUTS, y)
    energy, forces = weighted_by_hand(model, y, per, per_atom)
    assert sorted(step.parts) == ["base", "forces"]
    torch.testing.assert_close(step.parts["base"], 0.1 * energy.detach())
    torch.testing.assert_close(step.parts["forces"], forces.detach())
    parameters = list(model.parameters())
    wanted = torch.autograd.grad(0.1 * energy + 7.0 * forces, parameters)
    torch.testing.assert_close(torch.autograd.grad(step.loss, parameters), wanted)


def test_weights_of_padded_structures_are_those_of_flat_ones():
    model, y = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)).double(), torch.rand(3, dtype=torch.float64)
    positions, forces = torch.rand(3, 2, 3, dtype=torch.float64), torch.rand(3, 2, 3, dtype=torch.float64)
    per_batch = ig.recipes.energy_and_forces(per="batch", sample_weight="w")(model, positions, {"energy": y, "forces": forces, "w": y})
    per_sample = ig.recipes.energy_and_forces(sample_weight="w")(model, positions, {"energy": y, "forces": forces, "w": y})
    torch.testing.assert_close(per_batch, per_sample)  # equally many atoms


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_weights_of_another_shape_are_one_error(per):
    criterion = ig.recipes.energy_and_forces(wrt="positions", index="batch", per=per, sample_weight="w")
    with pytest.raises(ValueError, match=r"sample_weight.* must be one weight per (structure, a tensor|sample,) \[2\]; got .*\[5\]"):
        criterion(Atoms(), INPUTS, labels() | {"w": torch.ones(5)})
    with pytest.raises(TypeError, match="energy_and_forces: sample_weight is the name, or the position"):
        ig.recipes.energy_and_forces(sample_weight=torch.ones(2))


def test_weights_and_names_that_are_said_of_the_whole_say_what_to_write():
    with pytest.raises(ValueError, match=r"energy_and_forces\(per=\"batch\", sample_weight=\"w\"\)"):
        ig.recipes.force_matching(per="batch").sample_weight("w")
    for said in (lambda loss: loss.sample_weight("w"), lambda loss: loss.named("energy")):
        with pytest.raises(TypeError, match=re.escape("ig.recipes.energy_and_forces(..., sample_weight='w'), whose parts are 'base' and 'forces'")):
            said(ig.recipes.energy_and_forces())


@pytest.mark.parametrize("wanted", ["slope", None])
def test_a_mask_per_vector_counts_each_component_where_no_label_is_missing(wanted):
    model, mask = Atoms(), torch.tensor([1, 0, 1, 1, 0])
    term = ig.GradientMatch(wanted, wrt="positions", reduction="mean", mask="mask", index="batch")
    given = torch.zeros_like(X)
    value = ig.InputGradientLoss(None, term)(model, INPUTS, {"slope": given, "mask": mask, "batch": INDEX})
    squares = ig.gradient(model, INPUTS, wrt="positions").square().sum(1)
    torch.testing.assert_close(value, (squares[0] / 3 + (squares[2] + squares[3]) / 6) / 2)


def test_a_mask_of_hessians_counts_each_component():
    model, x, mask = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), X, torch.tensor([[1.0], [0.0], [1.0]])
    term = ig.HessianMatch(torch.zeros(3, 3), mask=mask, reduction="mean")
    hessian = ig.hessian(model, x)
    torch.testing.assert_close(ig.InputGradientLoss(None, term)(model, x), hessian[:, [0, 2]].square().mean())
