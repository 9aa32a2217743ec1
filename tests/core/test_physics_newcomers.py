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


def test_a_coefficient_that_was_computed_once_names_setting_and_line():
    model, points = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(6, 2)
    log_d = nn.Parameter(torch.tensor(-1.0))
    settings = {"heat": "diffusivity", "wave": "speed", "burgers": "viscosity", "poisson": "conductivity"}
    for recipe, setting in settings.items():
        criterion = ig.InputGradientLoss(None, getattr(ig.recipes, recipe)(names="xt", **{setting: log_d.exp()}))
        criterion(model, points).backward()
        with pytest.raises(ValueError, match=rf"{setting}: .* freed its graph.*{setting}=lambda u: log_D\.exp\(\)"):
            criterion(model, points).backward()
        at_each = ig.InputGradientLoss(None, getattr(ig.recipes, recipe)(names="xt", **{setting: lambda u: log_d.exp()}))
        log_d.grad = None
        for _ in range(3):
            at_each(model, points).backward()
        assert log_d.grad is not None
    kept = ig.InputGradientLoss(None, ig.recipes.heat(names="xt", diffusivity=2 + log_d))
    for _ in range(2):  # nothing that backward would free
        kept(model, points).backward()


class OneDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Atoms()

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"energy": self.inner(data["positions"], data["batch"])}


def test_models_of_one_dict_are_told_the_wrapper():
    criterion = ig.recipes.energy_and_forces(wrt="positions", index="batch")
    with pytest.raises(ValueError, match=r"def forward\(self, \*\*inputs\): return self\.model\(inputs\)"):
        criterion(OneDict(), (INPUTS,), labels())
    with pytest.raises(TypeError, match="unexpected keyword argument") as told:
        criterion(OneDict(), INPUTS, labels())
    assert "def forward(self, **inputs)" in "".join(told.value.__notes__)


def test_points_columns_and_orders_of_derivatives_by_other_libraries_habits():
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    walls = ig.recipes.condition(value=lambda x: torch.sin(x[:, 0]), at=ig.Given(torch.rand(3, 2)), names="xt")
    with pytest.raises(TypeError, match=r"write u\.coordinate\('x'\)"):
        ig.InputGradientLoss(None, walls)(model, torch.rand(4, 2))
    with pytest.raises(TypeError, match=r"write d\('x', 'x', 'x', 'x'\)"):
        ig.field(model, torch.rand(4, 2), names="xt").d("x", 4)


class Inverse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.tensor(0.3))
        self.body = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_a_parameter_of_the_model_that_a_compiled_term_holds_names_the_line():
    model, points = Inverse(), torch.rand(6, 2)
    engine = ig.engines.Compiled(backend="eager")
    criterion = ig.InputGradientLoss(None, ig.recipes.heat(names="xt", diffusivity=model.D), engine=engine)
    with pytest.warns(UserWarning, match=r"holds the parameter 'D' of the model as a tensor.*diffusivity=lambda u: model\.D"):
        criterion.backward(model, points)


def test_a_derivative_of_a_derivative_says_the_line():
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    with pytest.raises(AttributeError) as told:
        ig.InputGradientLoss(None, ig.Residual(lambda u: u.d("t") - u.d("x").d("x"), "xt"))(model, torch.rand(4, 2))
    assert "write u.d('xx') for u.d('x').d('x'), and u.of(quantity, 'x')" in "".join(told.value.__notes__)


def test_validate_of_flat_atoms_points_to_explain():
    assert "criterion.explain(model, inputs, target)" in " ".join(str(ig.validate(Atoms(), INPUTS)).split())
