"""Gradient matching and physics: forces, stress, Hamiltonian networks, missing labels; against their papers."""

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.heads import EachOutput
from inputgrad.recipes.physics import energy_and_forces, force_matching, hamiltonian_network
from inputgrad.terms.gradient_match import GradientMatch
from inputgrad.terms.stress import StressMatch
from tests.catalogue.harness import CLASSIFIERS, ENGINES, MODELS, SIZE, Entry, cases, check, expected, made
from tests.textbook import distance, parameter_gradients

ATOMS = 4
NAN = float("nan")
ANISOTROPIC = torch.tensor([[1.0, 0.3, 0.1], [0.3, 1.4, -0.2], [0.1, -0.2, 0.7]], dtype=torch.float64)
"""A metric that rotations do not leave alone: with it the strain derivative is not symmetric by itself."""


class Pairs(nn.Module):
    """One energy per structure from its pairs of atoms; of all structures in one tensor (``index``), padded (``mask``), or periodic (``cell``)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))
        self.register_buffer("metric", ANISOTROPIC)

    def pair_energies(self, gap: Tensor) -> Tensor:
        squared = ((gap @ self.metric) * gap).sum(-1)
        return self.body(torch.stack([torch.exp(-0.3 * squared), torch.exp(-squared)], dim=-1))[..., 0]


class Flat(Pairs):
    def forward(self, positions: Tensor, index: Tensor) -> Tensor:
        together = (index[:, None] == index) & ~torch.eye(len(index), dtype=torch.bool, device=positions.device)
        energies = torch.where(together, self.pair_energies(positions[:, None] - positions), 0).sum(1)
        return energies.new_zeros(SIZE).index_add(0, index, energies)


class FlatPeriodic(Pairs):
    def forward(self, positions: Tensor, cell: Tensor, index: Tensor) -> Tensor:
        together = index[:, None] == index
        shifts = torch.cartesian_prod(*[torch.arange(-1, 2, device=positions.device)] * 3).to(positions)
        gap = positions[:, None, None] - positions[:, None] - (shifts @ cell[index])[:, None]  # [atom, atom, image, 3]
        self_pair = torch.eye(len(index), dtype=torch.bool, device=positions.device)[..., None] & (shifts == 0).all(1)
        energies = torch.where(together[..., None] & ~self_pair, self.pair_energies(gap), 0).sum((1, 2))
        return energies.new_zeros(SIZE).index_add(0, index, energies)


class Padded(Pairs):
    def forward(self, positions: Tensor, mask: Tensor) -> Tensor:
        both = mask & mask.mT & ~torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
        return torch.where(both, self.pair_energies(positions[:, :, None] - positions[:, None]), 0).sum((1, 2))[:, None]


class Periodic(Pairs):
    def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
        shifts = torch.cartesian_prod(*[torch.arange(-1, 2, device=positions.device)] * 3).to(positions)
        gap = (positions[:, :, None] - positions[:, None])[:, :, :, None] - (shifts @ cell)[:, None, None]
        self_pair = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)[..., None] & (shifts == 0).all(1)
        return torch.where(self_pair, 0, self.pair_energies(gap)).sum((1, 2, 3))


def padded(n: int) -> tuple[Tensor, Tensor]:
    sizes = torch.arange(n) % 3 + ATOMS - 2
    return torch.randn(n, ATOMS, 3, dtype=torch.float64), (torch.arange(ATOMS) < sizes[:, None])[..., None]


def flat(n: int) -> tuple[Tensor, Tensor]:
    index = torch.arange(n).repeat_interleave(torch.arange(n) % 3 + 2)
    return torch.randn(len(index), 3, dtype=torch.float64), index


def cells(n: int) -> Tensor:
    return 3 * torch.eye(3, dtype=torch.float64) + 0.3 * torch.randn(n, 3, 3, dtype=torch.float64)


def periodic(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, ATOMS, 3, dtype=torch.float64), cells(n)


def flat_periodic(n: int) -> tuple[Tensor, Tensor, Tensor]:
    positions, index = flat(n)
    return positions, cells(n), index


def phase_space(n: int) -> Tensor:
    return torch.randn(n, 4, dtype=torch.float64)


MODELS.update(
    padded=(Padded, padded),
    flat=(Flat, flat),
    periodic=(Periodic, periodic),
    flat_periodic=(FlatPeriodic, flat_periodic),
    hamiltonian=(lambda: nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5), nn.Softplus(), nn.Linear(5, 1)), phase_space),
)


def slopes(inputs: Tensor) -> dict[str, Tensor]:
    """Labels with missing ones: every fifth feature, and all of the second sample."""
    labels = torch.sin(3 * inputs.clone())
    labels.flatten(1)[:, ::5] = NAN
    labels[1] = NAN
    return {"slope": labels, "mask": (torch.cos(5 * inputs) > 0).double(), "scale": 1 + torch.cos(inputs[0])}


def molecules(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    positions, second = inputs[0], inputs[-1]
    return {"energy": torch.linspace(-1, 1, SIZE, dtype=torch.float64), "forces": torch.cos(2 * positions), "mask": second, "index": second}


def molecules_as_column(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    target = molecules(inputs)
    return target | {"energy": target["energy"][:, None]}


def solids(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    stress = torch.linspace(-1, 1, SIZE * 9, dtype=torch.float64).reshape(SIZE, 3, 3)
    stress = (stress + stress.mT) / 2
    return {"stress": stress.index_fill(0, torch.tensor([2]), NAN), "virial": stress, "index": inputs[-1]}


def solids_in_lammps_order(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Six components, with the sign of VASP."""
    stress = solids(inputs)["virial"]
    return {"six": -torch.stack([stress[:, 0, 0], stress[:, 1, 1], stress[:, 2, 2], stress[:, 0, 1], stress[:, 0, 2], stress[:, 1, 2]], dim=1)}


def velocities(x: Tensor) -> Tensor:
    return torch.stack([x[:, 2], x[:, 3], -torch.sin(x[:, 0]), -(x[:, 1] ** 3)], dim=1)


# the papers


def slope(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]


def each_known(model: nn.Module, x: Tensor, y: dict[str, Tensor], masked: bool = False) -> list[list[Tensor]]:
    """The differences of each sample's features that have a label, one by one."""
    found = slope(model, x).flatten(1)
    wanted, mask = y["slope"].flatten(1), y["mask"].flatten(1)
    known = ~torch.isnan(wanted) & ((mask == 1) if masked else True)
    return [[found[n, i] - wanted[n, i] for i in range(found.shape[1]) if known[n, i]] for n in range(len(found))]


def mean_squares(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return sum(torch.stack(gaps).square().mean() if gaps else torch.zeros(()) for gaps in each_known(model, x, y)) / len(x)


def masked_sums(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return sum(sum(gap.abs() for gap in gaps) for gaps in each_known(model, x, y, masked=True)) / len(x)


def mean_over_the_batch(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    gaps = [gap for sample in each_known(model, x, y) for gap in sample]
    return 0.3 * sum(gap**2 for gap in gaps) / len(gaps)


def scaled_lengths(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    gap = (slope(model, x) - 0.5) * y["scale"]
    return gap.flatten(1).square().sum(1).sqrt().mean()


def lengths_of_vectors(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    gap = slope(model, x) - torch.nan_to_num(y["slope"], nan=0.0)
    gap = gap * ~torch.isnan(y["slope"])
    known = (~torch.isnan(y["slope"])).any(-1)
    return sum((gap[n].square().sum(-1)[known[n]] + 0).sqrt().sum() for n in range(len(x))) / len(x)


def right_reasons(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    """Ross, Hughes & Doshi-Velez 2017: Σ (A · ∂/∂x Σ_c log ŷ_c)²."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).log_softmax(1).sum(), x, create_graph=True)
    return ((g * y["mask"]) ** 2).flatten(1).sum(1).mean()


def jacobians(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    x = x.clone().requires_grad_()
    output = model(x)
    rows = [torch.autograd.grad(output[:, c].sum(), x, create_graph=True)[0] for c in range(output.shape[1])]
    return sum((row - (c - 1)).flatten(1).square().sum(1) for c, row in enumerate(rows)).mean()


def forces_of(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    positions = inputs[0].clone().requires_grad_()
    energy = model(positions, *inputs[1:])
    return energy, -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]


def padded_forces(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    """Batzner et al. 2022: 1/(3N) Σ, a mean over the structures of a batch."""
    _, forces = forces_of(model, inputs)
    total = torch.zeros(())
    for n, real in enumerate(inputs[1][..., 0]):
        total = total + (forces[n][real] - y["forces"][n][real]).square().sum() / (3 * real.sum())
    return 0.7 * total / SIZE


def flat_lengths(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    """The mean length of the atoms' errors, over the atoms of the batch."""
    _, forces = forces_of(model, inputs)
    return (forces - y["forces"]).square().sum(1).sqrt().mean()


def schnet(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    """Schütt et al. 2018: ρ ‖E − Ê‖² + 1/n Σ_i ‖F_i − F̂_i‖², ρ = 0.01."""
    energy, forces = forces_of(model, inputs)
    total = torch.zeros(())
    for n in range(SIZE):
        own = inputs[1] == n
        total = total + 0.01 * (energy[n] - y["energy"][n]) ** 2 + (forces[own] - y["forces"][own]).square().sum() / own.sum()
    return total / SIZE


def mace(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    """The weighted loss of energies an atom and of forces over the batch that Batatia et al. train with."""
    energy, forces = forces_of(model, inputs)
    per_atom = (energy - y["energy"]) / torch.bincount(inputs[1])
    return 2.0 * per_atom.square().mean() + 100.0 * (forces - y["forces"]).square().mean()


def per_atom_padded(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    energy, _ = forces_of(model, inputs)
    sizes = inputs[1].sum((1, 2))
    return (((energy - y["energy"])[:, 0] / sizes) ** 2).mean() + padded_forces(model, inputs, y) / 0.7


def strained(model: nn.Module, positions: Tensor, cell: Tensor, *rest: Tensor) -> Tensor:
    """∂E/∂ε of an explicit virtual strain, ½(ε + εᵀ) applied to positions and lattice vectors, as Knuth et al. 2015."""
    strain = torch.zeros(SIZE, 3, 3, dtype=torch.float64, requires_grad=True)
    symmetric = (strain + strain.mT) / 2
    each = symmetric[rest[0]] if rest else symmetric[:, None]
    moved = positions + (each @ positions[..., None])[..., 0]
    energy = model(moved, cell + torch.einsum("nab,nkb->nka", symmetric, cell), *rest)
    return torch.autograd.grad(energy.sum(), strain, create_graph=True)[0]


def volume(cell: Tensor) -> Tensor:
    return (cell[:, 0] * torch.linalg.cross(cell[:, 1], cell[:, 2])).sum(1).abs()[:, None, None]


def stress(model: nn.Module, inputs: tuple[Tensor, ...], y: dict[str, Tensor]) -> Tensor:
    gap = strained(model, *inputs) / volume(inputs[1]) - y["stress"]
    known = [n for n in range(SIZE) if not y["stress"][n].isnan().any()]
    return 4.0 * gap[known].square().mean((1, 2)).sum() / SIZE


def stress_in_lammps_order(model: nn.Module, inputs: tuple[Tensor, ...], y: dict[str, Tensor]) -> Tensor:
    gap = -strained(model, *inputs) / volume(inputs[1])
    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    six = torch.stack([gap[:, a, b] for a, b in pairs], dim=1) - y["six"]
    return (six.square() * torch.tensor([1.0, 1, 1, 2, 2, 2])).sum(1).mean()


def virial(model: nn.Module, inputs: tuple[Tensor, ...], y: dict[str, Tensor]) -> Tensor:
    gap = -strained(model, *inputs) - y["virial"]
    return (gap / torch.bincount(inputs[2])[:, None, None]).square().mean()


def hamilton(model: nn.Module, x: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    q, p = x[:, :2].clone().requires_grad_(), x[:, 2:].clone().requires_grad_()
    of_q, of_p = torch.autograd.grad(model(torch.cat([q, p], 1)).sum(), (q, p), create_graph=True)
    return of_p - velocity[:, :2], of_q + velocity[:, 2:]


def greydanus_code(model: nn.Module, x: Tensor, velocity: Tensor) -> Tensor:
    return torch.cat(hamilton(model, x, velocity), dim=1).square().mean()


def greydanus_paper(model: nn.Module, x: Tensor, velocity: Tensor) -> Tensor:
    first, second = hamilton(model, x, velocity)
    return 0.5 * (first.norm(dim=1) + second.norm(dim=1)).mean()


def number_of_atoms(batch: Any) -> Tensor:
    return torch.bincount(batch.target["index"])[:, None, None].double()


FIELDS = ("smooth", "relu", "max_pool", "attention")
ENTRIES = (
    Entry("gradient_match", lambda: GradientMatch("slope", reduction="mean"), mean_squares, target=slopes),
    Entry("force_matching", lambda: force_matching(weight=0.7, mask="mask"), padded_forces, target=molecules, models=("padded",)),
    Entry("stress_match", lambda: 4.0 * StressMatch("stress"), stress, target=solids, models=("periodic",)),
)
VARIANTS = (
    Entry("masked", lambda: GradientMatch("slope", norm="absolute", mask="mask"), masked_sums, target=slopes, models=FIELDS),
    Entry("over_the_batch", lambda: 0.3 * GradientMatch("slope", reduction="mean", per="batch"), mean_over_the_batch, target=slopes, models=FIELDS),
    Entry(
        "scaled", lambda: GradientMatch(lambda b: torch.full_like(b.variable(), 0.5), norm="euclidean", scale="scale"), scaled_lengths, slopes, models=FIELDS
    ),
    Entry("vectors", lambda: GradientMatch("slope", norm="vectors"), lengths_of_vectors, target=slopes, models=("attention",)),
    Entry("right_reasons", lambda: GradientMatch(None, of="log_prob", mask="mask"), right_reasons, target=slopes, models=FIELDS),
    Entry("jacobian", lambda: GradientMatch(lambda b: rows_of(b.variable()), of=EachOutput()), jacobians, target=slopes, models=CLASSIFIERS[:4]),
    Entry("flat", lambda: force_matching(index="index", per="batch", norm="vectors"), flat_lengths, target=molecules, models=("flat",)),
    Entry(
        "virial",
        lambda: StressMatch("virial", wrt=("positions", "cell"), quantity="virial", index="index", scale=lambda b: 1 / number_of_atoms(b)),
        virial,
        target=solids,
        models=("flat_periodic",),
    ),
    Entry(
        "voigt",
        lambda: StressMatch("six", voigt="xx yy zz xy xz yz", sign=-1, reduction="sum"),
        stress_in_lammps_order,
        target=solids_in_lammps_order,
        models=("periodic",),
    ),
)
WHOLE = (
    Entry("energy_and_forces", lambda: energy_and_forces(energy_weight=0.01, average="atoms", index="index"), schnet, target=molecules, models=("flat",)),
    Entry(
        "energy_and_forces_mace",
        lambda: energy_and_forces(energy_weight=2.0, forces_weight=100.0, energy_per_atom=True, index="index", per="batch"),
        mace,
        target=molecules,
        models=("flat",),
    ),
    Entry(
        "energy_and_forces_padded",
        lambda: energy_and_forces(energy_per_atom=True, mask="mask"),
        per_atom_padded,
        target=molecules_as_column,
        models=("padded",),
    ),
    Entry("hamiltonian_network", hamiltonian_network, greydanus_code, target=velocities, models=("hamiltonian",)),
    Entry(
        "hamiltonian_network_paper",
        lambda: hamiltonian_network(weight=0.5, norm="euclidean", reduction="sum"),
        greydanus_paper,
        target=velocities,
        models=("hamiltonian",),
    ),
)
"""Recipes that return a whole loss, base loss included."""


def rows_of(inputs: Tensor) -> Tensor:
    """−1, 0 and 1 in the three rows ``[K, *input]``."""
    return torch.stack([torch.full_like(inputs[0], c - 1) for c in range(3)])


COMPILED = ("flat", "jacobian", "virial", "energy_and_forces", "hamiltonian_network")
"""Variants that are compiled too: compiling is what takes time here, and the rest differ by a few elementwise operations."""


def variants(entries: tuple[Entry, ...]) -> list[Any]:
    return [case for case in cases(entries) if case.values[2] != "compiled" or case.values[0].name in COMPILED]


@pytest.mark.parametrize(("entry", "model", "engine"), [*cases(ENTRIES), *variants(VARIANTS)])
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


@pytest.mark.parametrize(("entry", "model", "engine"), variants(WHOLE))
def test_whole_losses_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check_whole(entry, model, engine)


def check_whole(entry: Entry, model: str, engine: str) -> None:
    value, gradients, _ = expected(entry, model)
    network, inputs, target = made(entry, model)
    chosen, tolerance = ENGINES[engine]
    given = entry.terms()
    loss = ig.InputGradientLoss(given.base, given.terms, engine=chosen)(network, inputs, target)
    assert loss.item() == pytest.approx(value, rel=1e-10)
    assert distance(parameter_gradients(network, loss), gradients) <= tolerance


WRONG = (
    Entry("sign", lambda: GradientMatch("forces", sign=1, reduction="mean", mask="mask"), lambda *a: padded_forces(*a) / 0.7, molecules, models=("padded",)),
    Entry("padding", lambda: force_matching(weight=0.7), padded_forces, target=molecules, models=("padded",)),
    Entry("atoms", lambda: force_matching(weight=0.7, mask="mask", average="atoms"), padded_forces, target=molecules, models=("padded",)),
    Entry("batch", lambda: force_matching(weight=0.7, mask="mask", per="batch"), padded_forces, target=molecules, models=("padded",)),
    Entry("stress_sign", lambda: StressMatch("stress", sign=-1), lambda *a: stress(*a) / 4, target=solids, models=("periodic",)),
    Entry("voigt_order", lambda: StressMatch("six", voigt="xx yy zz yz xz xy", sign=-1, reduction="sum"), stress_in_lammps_order,
          solids_in_lammps_order, models=("periodic",)),
    Entry("missing", lambda: GradientMatch(lambda b: b.target["slope"].nan_to_num(), reduction="mean"), mean_squares, target=slopes, models=("smooth",)),
)  # fmt: skip
"""Settings that are not the transcription's: each must be told from it."""


@pytest.mark.parametrize("entry", WRONG, ids=lambda entry: entry.name)
def test_another_sign_factor_or_order_is_told(entry: Entry) -> None:
    with pytest.raises(AssertionError):
        check(entry, entry.models[0], "double_backward")


def test_the_strain_acts_on_cell_and_positions_and_is_symmetrised() -> None:
    """What the stress test relies on: neither part alone is the whole, and the model's strain derivative is not symmetric by itself."""
    torch.manual_seed(0)
    model, (positions, cell) = Periodic().double(), periodic(SIZE)
    of_positions, of_cell = ig.output_and_gradient(model, (positions, cell), wrt=(0, 1))[1]
    parts = of_positions.mT @ positions, of_cell.mT @ cell
    whole = parts[0] + parts[1]
    torch.testing.assert_close((whole + whole.mT) / 2, strained(model, positions, cell))
    assert all(float((part - whole).detach().abs().max()) > 1e-2 for part in parts)
    assert float((whole - whole.mT).detach().abs().max()) > 1e-2


class Volumes(nn.Module):
    """E = a V²: its stress is 2 a V on the diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
        return self.a * torch.linalg.det(cell) ** 2 + 0 * positions.sum((1, 2))


def test_stress_by_hand() -> None:
    model = Volumes()
    inputs = torch.zeros(2, 1, 3, dtype=torch.float64), torch.stack([torch.eye(3).double(), torch.diag(torch.tensor([1.0, 1.0, 2.0])).double()])
    step = ig.InputGradientLoss(None, StressMatch(torch.zeros(3, 3, dtype=torch.float64), reduction="sum")).evaluate(model, inputs)
    step.loss.backward()
    assert step.loss.item() == pytest.approx((3 * 1**2 + 3 * 2**2) / 2)
    assert model.a.grad.item() == pytest.approx(2 * step.loss.item() / 0.5)


def test_a_structure_without_a_cell_has_no_stress() -> None:
    model = Volumes()
    inputs = torch.zeros(2, 1, 3, dtype=torch.float64), torch.stack([torch.eye(3).double(), torch.zeros(3, 3).double()])
    step = ig.InputGradientLoss(None, StressMatch(torch.ones(3, 3))).evaluate(model, inputs)
    step.loss.backward()
    assert step.loss.item() == pytest.approx((3 * 0 + 6 * 1) / 9 / 2)
    assert bool(model.a.grad.isfinite())


def test_signs_and_components_are_those_of_ase() -> None:
    """A Lennard-Jones crystal under strain: forces and stress in Voigt order as ase has them."""
    pytest.importorskip("ase")
    from ase.build import bulk
    from ase.calculators.lj import LennardJones

    crystal = bulk("Ar", cubic=True, a=5.2)
    crystal.rattle(0.2, seed=1)
    crystal.set_cell(crystal.cell @ (torch.eye(3) + 0.05 * torch.rand(3, 3, generator=torch.Generator().manual_seed(0))).numpy(), scale_atoms=True)
    crystal.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=5.0, smooth=True)

    class Ase(nn.Module):
        """The same sum over pairs and images, with a parameter for the depth."""

        def __init__(self) -> None:
            super().__init__()
            self.depth = nn.Parameter(torch.tensor(0.01, dtype=torch.float64))

        def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
            shifts = torch.cartesian_prod(*[torch.arange(-2, 3)] * 3).to(positions)
            gap = (positions[:, :, None] - positions[:, None])[:, :, :, None] - (shifts @ cell)[:, None, None]
            squared = gap.square().sum(-1)
            near = (squared < 5.0**2) & (squared > 0)
            squared = torch.where(near, squared, 1)
            inner = 3.3**2  # ase: rc, and the smooth cutoff from 0.66 rc on
            smooth = torch.where(squared < inner, 1, (25 - squared) ** 2 * (25 + 2 * squared - 3 * inner) / (25 - inner) ** 3)
            ratio = (3.4**2 / squared) ** 3
            return torch.where(near, 2 * self.depth * (ratio**2 - ratio) * smooth, 0).sum((1, 2, 3))

    inputs = torch.tensor(crystal.positions)[None], torch.tensor(crystal.cell.array)[None]
    target = {"forces": torch.tensor(crystal.get_forces())[None], "stress": torch.tensor(crystal.get_stress())[None]}
    terms = force_matching() + StressMatch("stress", voigt="xx yy zz yz xz xy")
    criterion = ig.InputGradientLoss(None, terms)
    parts = criterion.evaluate(Ase(), inputs, target).parts
    assert float(target["forces"].square().mean()) > 1e-3
    assert float(target["stress"].square().mean()) > 1e-7
    assert parts["gradient_match"].item() < 1e-10 * float(target["forces"].square().mean())
    assert parts["stress_match"].item() < 1e-10 * float(target["stress"].square().mean())


def test_samples_without_labels_give_zero_and_pull_at_nothing() -> None:
    model, x = nn.Linear(5, 1).double(), torch.randn(3, 5, dtype=torch.float64)
    for norm in ("squared", "absolute", "euclidean", "vectors"):
        for reduction in ("sum", "mean"):
            loss = ig.InputGradientLoss(None, GradientMatch("y", norm=norm, reduction=reduction))(model, x, {"y": torch.full_like(x, NAN)})
            (gradient,) = torch.autograd.grad(loss, model.weight)
            assert loss.item() == 0
            assert not bool(gradient.any())


def test_a_gradient_that_fits_has_subgradient_zero() -> None:
    model, x = nn.Linear(5, 1).double(), torch.randn(3, 5, dtype=torch.float64)
    for norm in ("squared", "absolute", "euclidean", "vectors"):
        for index in (None, torch.arange(3)):
            loss = ig.InputGradientLoss(None, GradientMatch(model.weight.detach()[0], norm=norm, index=index))(model, x)
            (gradient,) = torch.autograd.grad(loss, model.weight)
            assert loss.item() == 0
            assert not bool(gradient.any())


def test_an_integer_scale_is_a_number() -> None:
    model, x = nn.Linear(5, 1).double(), torch.randn(3, 5, dtype=torch.float64)
    twice, once = (ig.InputGradientLoss(None, GradientMatch(0, scale=scale))(model, x, (torch.ones(5),)).item() for scale in (2, 1))
    assert twice == pytest.approx(4 * once)


def test_missing_energies_ask_for_nothing() -> None:
    torch.manual_seed(0)
    model, inputs = Flat().double(), flat(SIZE)
    target = molecules(inputs)
    target["energy"][1:] = NAN
    step = energy_and_forces(index="index").evaluate(model, inputs, target)
    first = float((model(*inputs)[0] - target["energy"][0]).detach().square())
    assert step.parts["base"].item() == pytest.approx(first / SIZE)
    step.loss.backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_whole_losses_can_be_pickled() -> None:
    x, velocity = phase_space(SIZE), velocities(phase_space(SIZE))
    model = MODELS["hamiltonian"][0]().double()
    for criterion in (hamiltonian_network(), hamiltonian_network(norm="euclidean")):
        again = pickle.loads(pickle.dumps(criterion))
        assert again(model, x, velocity).item() == criterion(model, x, velocity).item()
    positions, mask = padded(SIZE)
    criterion = energy_and_forces(energy_per_atom=True, mask="mask")
    torch.manual_seed(0)
    model = Padded().double()
    target = molecules((positions, mask))
    assert pickle.loads(pickle.dumps(criterion))(model, (positions, mask), target).item() == criterion(model, (positions, mask), target).item()


def test_half_precision_is_widened_before_squaring() -> None:
    model, x = nn.Linear(5, 1).bfloat16(), torch.randn(3, 5).bfloat16()
    loss = ig.InputGradientLoss(None, GradientMatch(torch.full((5,), 1e30)))(model, x)
    assert loss.dtype == torch.float32
    assert bool(ig.InputGradientLoss(None, GradientMatch(torch.full((5,), 300.0)))(nn.Linear(5, 1).half(), x.half()).isfinite())


def test_over_the_batch_is_the_mean_over_every_label() -> None:
    """A statistic of the batch: micro-batches weigh by their number of labels, not alike."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double(), torch.randn(4, 5, dtype=torch.float64)
    labels = torch.zeros_like(x)
    labels[:2, :4] = NAN
    criterion = ig.InputGradientLoss(None, GradientMatch("y", reduction="mean", per="batch"))
    first, second, whole = (criterion(model, x[rows], {"y": labels[rows]}).item() for rows in (slice(0, 2), slice(2, 4), slice(0, 4)))
    assert whole == pytest.approx((2 * first + 10 * second) / 12)
    assert whole != pytest.approx((first + second) / 2, rel=1e-3)


def test_a_molecule_alone_and_in_a_batch_of_flat_graphs() -> None:
    """Rows of atoms that differ from the samples in number: each structure's value is what it is by itself."""
    torch.manual_seed(0)
    model, (positions, index) = Flat().double(), flat(SIZE)
    forces = torch.cos(positions)
    criterion = ig.InputGradientLoss(None, force_matching(index="index"))
    whole = criterion(model, (positions, index), {"forces": forces, "index": index}).item()
    alone = []
    for n in range(SIZE):
        own = index == n
        twin = {"forces": forces[own], "index": torch.zeros_like(index[own])}
        alone.append(criterion(model, (positions[own], twin["index"]), twin).item() * SIZE)  # the model gives SIZE energies, the others zero
    assert whole == pytest.approx(sum(alone) / SIZE)


X = torch.zeros(3, 5)
REFUSED = {
    "norm": (lambda: GradientMatch("y", norm="l2"), ValueError, "GradientMatch: norm='l2'"),
    "reduction": (lambda: GradientMatch("y", reduction="max"), ValueError, "reduction='max'"),
    "per": (lambda: GradientMatch("y", per="epoch"), ValueError, "per='epoch'"),
    "sign": (lambda: GradientMatch("y", sign=2.0), ValueError, "sign must be 1 or -1, got 2.0"),
    "several": (lambda: GradientMatch("y", wrt=(0, 1)), TypeError, "wrt names one input"),
    "labels": (lambda: GradientMatch(0.5), TypeError, "GradientMatch: wanted must be a tensor, a name"),
    "quantity": (lambda: StressMatch("y", quantity="pressure"), ValueError, "quantity='pressure'"),
    "cell": (lambda: StressMatch("y", wrt="positions"), ValueError, "wrt names positions and cell"),
    "voigt": (lambda: StressMatch("y", voigt="xx yy zz"), ValueError, "voigt names the order of the six components"),
    "stress_sign": (lambda: StressMatch("y", sign=0), ValueError, "sign must be 1 or -1"),
    "average": (lambda: force_matching(average="mean"), ValueError, "average='mean'"),
    "average_norm": (lambda: force_matching(average="atoms", norm="vectors"), ValueError, 'average="atoms"'),
    "scale": (lambda: GradientMatch("y", scale=float("inf")), ValueError, "scale must be finite, got inf"),
    "scale_kind": (lambda: StressMatch("y", scale=True), TypeError, "StressMatch: scale must be a tensor"),
    "fraction": (lambda: force_matching(index="index").scheduled(fraction=0.5), ValueError, "several rows each"),
    "derivative": (lambda: hamiltonian_network(time_derivative=0.5), TypeError, "hamiltonian_network: time_derivative must be a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        make()


WRONG_LABELS = {
    "shape": (GradientMatch("y"), torch.zeros(3, 4), r"GradientMatch: wanted has shape \[3, 4\]; expected .*\[3, 5\], or of one sample's, \[5\]"),
    "column": (GradientMatch("y"), torch.zeros(3, 1), r"wanted has shape \[3, 1\]"),
    "mask": (GradientMatch(None, mask="y"), torch.zeros(3), r"GradientMatch: mask has shape \[3\]; expected .*with size 1 where it does not vary"),
    "scale": (GradientMatch(None, scale="y"), torch.zeros(4, 5), r"GradientMatch: scale has shape \[4, 5\]"),
    "rows": (GradientMatch("y", of=EachOutput()), torch.zeros(3, 5), r"wanted has shape \[3, 5\]; expected .*\[3, 2, 5\]"),
    "index": (GradientMatch(None, index="y"), torch.zeros(4, dtype=torch.long), r"index must hold .* shape \[3\].*got \[4\]"),
    "float_index": (GradientMatch(None, index="y"), torch.zeros(3), r"integers .*got \[3\] of torch.float32"),
    "outside": (GradientMatch(None, index="y"), torch.tensor([0, 1, 7]), r"index names samples outside 0\.\.2"),
    "name": (GradientMatch("forces"), torch.zeros(3, 5), "wanted='forces' is not a part of the target"),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_are_named(name: str) -> None:
    term, labels, message = WRONG_LABELS[name]
    with pytest.raises(ValueError, match=message):
        ig.InputGradientLoss(None, term)(nn.Linear(5, 2), X, {"y": labels})


POSITIONS, CELL = torch.zeros(2, 4, 3), torch.eye(3).repeat(2, 1, 1)
WRONG_SOLIDS = {
    "shared_cell": (StressMatch("y"), (POSITIONS, CELL[0]), torch.zeros(2, 3, 3), r"each structure its own, \[N, 3, 3\] = \[2, 3, 3\].*got \[3, 3\]"),
    "flat": (StressMatch("y"), (POSITIONS[0], CELL), torch.zeros(2, 3, 3), r"positions must be \[N, A, 3\], or \[atoms, 3\] with an index.*has \[4, 3\]"),
    "six": (StressMatch("y"), (POSITIONS, CELL), torch.zeros(2, 6), r"StressMatch: wanted has shape \[2, 6\]; expected .*\[2, 3, 3\]"),
    "nine": (StressMatch("y", voigt="xx yy zz yz xz xy"), (POSITIONS, CELL), torch.zeros(2, 9), r"wanted has shape \[2, 9\]; expected \[N, 6\]"),
}


class Any3(nn.Module):
    def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
        return positions.sum() * torch.ones(2) + cell.sum()


@pytest.mark.parametrize("name", WRONG_SOLIDS)
def test_wrong_structures_are_named(name: str) -> None:
    term, inputs, labels, message = WRONG_SOLIDS[name]
    with pytest.raises(ValueError, match=message):
        ig.InputGradientLoss(None, term)(Any3(), inputs, {"y": labels})


def test_wrong_energies_and_states_are_named() -> None:
    positions = torch.zeros(2, 4, 3)
    target = {"energy": torch.zeros(3), "forces": positions}
    with pytest.raises(ValueError, match=r"energies \[3\]: expected one energy per structure"):
        energy_and_forces()(Padded().float(), (positions, torch.ones(2, 4, 1, dtype=torch.bool)), target)
    with pytest.raises(ValueError, match=r"forces have shape \[8, 3\]; energy_per_atom needs \[N, A, 3\], or a mask, or an index"):
        energy_and_forces(energy_per_atom=True)(
            Padded().float(), (positions, torch.ones(2, 4, 1, dtype=torch.bool)), {"energy": torch.zeros(2), "forces": positions.view(8, 3)}
        )
    with pytest.raises(ValueError, match=r"must be x = \[q, p\], \[N, 2d\]; got \[3, 5\]"):
        hamiltonian_network()(nn.Linear(5, 1), X, X)
    with pytest.raises(TypeError, match="target must then be the tensor of time derivatives, got dict"):
        hamiltonian_network()(nn.Linear(4, 1), X[:, :4], {"y": X})
