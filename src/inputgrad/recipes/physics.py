"""Physics: energies and forces, stress, Hamiltonian networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.loss import InputGradientLoss
from inputgrad.recipes.energies import EnergyError, RootOfWeights
from inputgrad.tensor_refs import TensorRef, check_names_part, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Per, Weighted
from inputgrad.terms.gradient_match import GradientMatch, Norm, Reduction, shaped
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key

Average = Literal["components", "atoms", "sum"]


def force_matching(
    weight: Weight = 1.0,
    *,
    forces: TensorRef = "forces",
    wrt: Key = 0,
    mask: TensorRef | None = None,
    index: TensorRef | None = None,
    average: Average = "components",
    norm: Norm = "squared",
    per: Per = "sample",
) -> Weighted:
    """Force matching: the error of the predicted forces, which are the negative gradient of the energy with respect to the positions.

        weight · mean_n 1/(3 n_n) Σ_i ‖−∂E_n/∂r_ni − F*_ni‖²₂

    weight: the factor of the formula.
    forces: the force labels F*, of the positions' shape; NaN is a missing label.
    wrt: the positions r, ``[N, A, 3]``, or ``[atoms, 3]`` of all structures in a row with ``index``.
    mask: 0 for padding and for atoms that do not count, ``[N, A]``, ``[N, A, 1]`` or ``[N, A, 3]``; with ``index``, ``[atoms]``, ``[atoms, 1]`` or ``[atoms,
      3]``.
    index: the number of each atom's structure, ``[atoms]``.
    average: "components", 1/(3 n_n) as in the formula (NequIP, MACE's code); "atoms", three times that, 1/n_n (SchNet's paper); "sum", 1. The part that
      is logged for "atoms" is the mean over components: the 3 belongs to the weight.
    norm: "squared" as in the formula; "absolute" for the mean absolute error; "vectors" with average="components" for the mean length of the atoms' errors
      (MACE's l1l2energyforces).
    per: "sample" as in the formula; "batch" divides by the force components with a label of the whole batch in place of each structure's own, so that large
      structures weigh more, as in code with flat graphs (MACE, NequIP). With average="sum" it is the sum over the whole batch, without 1/N.
    E_n: the model's output, one energy per structure.
    n_n: the atoms of structure n that count; 3 n_n is the number of its force components that have a label.

    When not: for labels that are not the gradient of an energy, such as forces with friction or noise of a thermostat.

    Source: Ercolessi & Adams 1994, "Interatomic potentials from first-principles calculations: the force-matching method", Europhysics Letters 26, with
    networks Batzner et al. 2022, "E(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials", Nature Communications 13.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, force_matching(forces="forces", wrt="positions"))
    """
    if average not in ("components", "atoms", "sum"):
        raise ValueError(f"force_matching: average={average!r}: {nearest(average, ('components', 'atoms', 'sum'))}")
    if average == "atoms" and norm not in ("squared", "absolute"):
        raise ValueError(f'force_matching: average="atoms" is three times the mean over components, of norm "squared" or "absolute"; got norm={norm!r}')
    reduction: Reduction = "sum" if average == "sum" else "mean"
    term = GradientMatch(forces, wrt=wrt, sign=-1, norm=norm, reduction=reduction, mask=mask, index=index, per=per)
    return weight * (3.0 * term if average == "atoms" else 1.0 * term)


def energy_and_forces(
    *,
    energy: str | int = "energy",
    forces: str | int = "forces",
    energy_weight: float = 1.0,
    forces_weight: Weight = 1.0,
    energy_per_atom: bool = False,
    wrt: Key = 0,
    mask: str | int | None = None,
    index: str | int | None = None,
    average: Average = "components",
    per: Per = "sample",
    output: str | int | Callable[[Any], Tensor] | None = None,
    sample_weight: str | int | None = None,
) -> InputGradientLoss:
    """Energies and forces: the squared errors of energy and forces, with one weight each; the target is a dict or a tuple of both.

        λ_E · mean_n (E_n − E*_n)² + λ_F · mean_n 1/(3 n_n) Σ_i ‖−∂E_n/∂r_ni − F*_ni‖²₂

    energy: the name or position in the target of the energy labels E*, one per structure, ``[N]``; NaN is a missing label and gives 0.
    forces: the name or position in the target of the force labels F*, of the positions' shape; NaN is a missing label.
    energy_weight: λ_E, the weight of the energy.
    forces_weight: λ_F, the weight of the forces.
    energy_per_atom: True for ((E_n − E*_n)/n_n)² in place of (E_n − E*_n)².
    wrt, average, per: as in `force_matching`.
    mask: the name or position in the target of what `force_matching` takes as ``mask``; mask padding only, and give NaN as the force of a real atom that is
      not to count.
    index: the name or position in the target of the number of each atom's structure, ``[atoms]``; where the model takes it too, and without
      energy_per_atom, ``index=lambda batch: batch.inputs["index"]``.
    output: the energy of a model that returns more, such as ``output="energy"`` of a dict, as in `InputGradientLoss`.
    sample_weight: the name or position in the target of one weight w_n ≥ 0 per structure, ``[N]``. It multiplies the squared errors of both parts,
      mean_n w_n (…); with per="batch", those of all force components of the structure, before the division (MACE's weights of configurations).
    n_n: the atoms of structure n; of padded structures those that the mask counts. In the forces' part, 3 n_n is the number of force components that
      have a label.

    ``step.parts`` has the energy's part as "base", with λ_E, and the forces' as "forces", without λ_F.

    Published settings: SchNet, energy_weight=0.01 with average="atoms" (ρ‖E − E*‖² + 1/n Σ‖F − F*‖²); SchNetPack's md17 experiment, 0.01 and 0.99; NequIP's
    EnergyForceLoss and MACE's WeightedEnergyForcesLoss, energy_per_atom=True with per="batch" (NequIP divides its two weights by their sum first).

    A whole loss: more is added to it, ``energy_and_forces() + 10.0 * StressMatch("stress", ...)``.

    When not: where forces are cheap and energies are not comparable (other offsets in each structure): `force_matching` alone.

    Source: Schütt, Sauceda, Kindermans, Tkatchenko & Müller 2018, "SchNet: a deep learning architecture for molecules and materials", Journal of Chemical
    Physics 148; Batzner et al. 2022, "E(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials", Nature Communications
    13; Batatia et al. 2022, "MACE: higher order equivariant message passing neural networks for fast and accurate force fields", NeurIPS.

    >>> criterion = energy_and_forces(energy_weight=0.01, average="atoms", wrt="positions")
    """
    check_parts("energy_and_forces", {"energy": energy, "forces": forces, "mask": mask, "index": index}, of_base=energy_per_atom)
    check_names_part("energy_and_forces: sample_weight", sample_weight, whole=True)
    base = EnergyError(energy, float(energy_weight), (forces, mask, index) if energy_per_atom else None, weights=sample_weight)
    match = force_matching(forces_weight, forces=forces, wrt=wrt, mask=mask, index=index, average=average, per=per).named("forces")
    if sample_weight is not None:
        match = _weighted(match, sample_weight)
    return InputGradientLoss(base, match, output=output)


def _weighted(match: Weighted, weights: str | int) -> Weighted:
    """The forces' error with one weight per structure: of its number, or inside the square, where all structures share one number."""
    term = match.term
    assert isinstance(term, GradientMatch)
    return match.sample_weight(weights) if term.per == "sample" else replace(match, term=replace(term, scale=RootOfWeights(weights, term.index, term.wrt)))


def hamiltonian_network(
    weight: Weight = 1.0, *, time_derivative: TensorRef | None = None, norm: Norm = "squared", reduction: Reduction = "mean", wrt: Key = 0
) -> InputGradientLoss:
    """Hamiltonian neural network: match Hamilton's equations of the network's output H to measured time derivatives.

        weight · mean_n 1/(2d) ( ‖∂H/∂p_n − q̇_n‖²₂ + ‖∂H/∂q_n + ṗ_n‖²₂ )

    weight: the factor of the formula.
    time_derivative: ẋ = [q̇, ṗ], ``[N, 2d]``, the target itself by default; NaN is a missing label.
    norm: "squared" as in the formula; "euclidean" for the norms of the paper's equation 3, which are not squared.
    reduction: "mean" as in the formula, over the 2d components; "sum" as in the paper's equation 3.
    wrt: the input x = [q, p], ``[N, 2d]``.
    H: the Hamiltonian, the model's output, ``[N]`` or ``[N, 1]``; the authors' network has two outputs and uses the second.

    There is no base loss. The default is that of the authors' code, which gave the paper's results.

    When not: with friction or a drive, where no H fits, and for coordinates that are not canonical.

    Source: Greydanus, Dzamba & Yosinski 2019, "Hamiltonian neural networks", NeurIPS, eq. 3.

    >>> criterion = hamiltonian_network()
    """
    if time_derivative is not None:
        check_tensor_ref("hamiltonian_network: time_derivative", time_derivative)
    wanted = HamiltonsEquations(time_derivative, wrt)
    if norm != "euclidean":
        return InputGradientLoss(None, weight * GradientMatch(wanted, wrt=wrt, norm=norm, reduction=reduction))
    halves = [GradientMatch(wanted, wrt=wrt, norm=norm, reduction=reduction, mask=Half(second, wrt)) for second in (False, True)]
    return InputGradientLoss(None, [weight * half for half in halves])


def check_parts(recipe: str, parts: Mapping[str, Any], *, of_base: bool) -> None:
    """Raises `TypeError` for parts that are no names. of_base: whether the base loss takes all of them, and not the energy alone."""
    for name, part in parts.items():
        check_names_part(f"{recipe}: {name}", part, whole=of_base or name == "energy")


@dataclass(frozen=True, eq=False)
class HamiltonsEquations:
    """What ∂H/∂x must be: [−ṗ, q̇] where ẋ = [q̇, ṗ]."""

    time_derivative: TensorRef | None
    wrt: Key

    def __call__(self, batch: Batch) -> Tensor:
        name = "hamiltonian_network: time_derivative"
        given = batch.target if self.time_derivative is None else resolve_tensor(name, self.time_derivative, batch)
        if not isinstance(given, Tensor):
            raise TypeError(f"{name}: the target must then be the tensor of time derivatives, got {type(given).__name__}: name its part")
        velocity = shaped(name, given, batch.variable(self.wrt))
        if velocity.dim() != 2 or velocity.shape[1] % 2:
            raise ValueError(f"{name}: the input must be x = [q, p], [N, 2d]; got {list(velocity.shape)}")
        position, momentum = velocity.chunk(2, dim=1)
        return torch.cat([-momentum, position], dim=1)


@dataclass(frozen=True)
class Half:
    """A mask ``[2d]`` of the first or the second half of the features."""

    second: bool
    wrt: Key

    def __call__(self, batch: Batch) -> Tensor:
        here = batch.variable(self.wrt)
        size = here.shape[1]
        return (torch.arange(size, device=here.device) >= size // 2) == self.second
