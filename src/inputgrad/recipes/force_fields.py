"""Force fields: robust losses of energies, forces and stress, and the second derivatives of a teacher's energy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import constant
from inputgrad.loss import InputGradientLoss
from inputgrad.recipes.energies import EnergyError
from inputgrad.recipes.physics import check_parts
from inputgrad.tensor_refs import TensorRef, resolve_tensor
from inputgrad.terms.base import Weighted
from inputgrad.terms.gradient_match import GradientMatch, Norm
from inputgrad.terms.hessian_match import HessianMatch
from inputgrad.terms.stress import StressMatch
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def universal_loss(
    *,
    energy: str | int = "energy",
    forces: str | int = "forces",
    stress: str | int | None = None,
    energy_weight: float = 1.0,
    forces_weight: Weight = 1.0,
    stress_weight: Weight = 1.0,
    delta: float = 0.01,
    conditional: bool = True,
    wrt: Key = 0,
    cell: Key = 1,
    mask: str | int | None = None,
    index: str | int | None = None,
) -> InputGradientLoss:
    """MACE's universal loss: Huber losses of energy per atom, forces and stress, with less weight on large forces. The whole loss.

        λ_E · mean_n h_δ((E_n − E*_n)/n_n) + λ_F · mean_{i,α} h_{δ c_i}(−∂E/∂r_iα − F*_iα) + λ_S · mean_{n,αβ} h_δ(σ_nαβ − σ*_nαβ)
        h_δ(x) = ½ x² where |x| ≤ δ, else δ (|x| − ½ δ);   c_i = 1, 0.7, 0.4, 0.1 where ‖F*_i‖ < 100, < 200, < 300, above

    energy, forces: as in `energy_and_forces`.
    stress: the part of the target with σ*, ``[N, 3, 3]``; None leaves the stress out.
    energy_weight: λ_E, 1 as in MACE's class.
    forces_weight: λ_F, 1 as in MACE's class.
    stress_weight: λ_S, 1 as in MACE's class.
    delta: δ, 0.01 as in MACE's class, in the units of the labels.
    conditional: True for the factors c_i; False for the same δ everywhere (MACE's WeightedHuberEnergyForcesStressLoss).
    wrt: the positions r, as in `force_matching`.
    cell: the input that holds the lattice vectors, ``[N, 3, 3]``, as rows; needed for the stress alone.
    mask, index: as in `energy_and_forces`.
    n_n: the atoms of structure n.

    The mean of the forces is over all atoms of the batch, as in flat graphs. The bounds 100, 200 and 300 are in units of the force labels. MACE's weights per
    configuration are not here.

    When not: where labels are clean and large errors should count in full: `energy_and_forces`.

    Source: Batatia et al. 2023, "A foundation model for atomistic materials chemistry", arXiv:2401.00096, and ACEsuit/mace, ``UniversalLoss``.

    >>> criterion = universal_loss(forces_weight=10.0, wrt="positions")
    """
    check_parts("universal_loss", {"energy": energy, "forces": forces, "mask": mask, "index": index}, of_base=True)
    wanted = ConditionalDelta(forces, delta) if conditional else delta
    forces_term = GradientMatch(forces, wrt=wrt, sign=-1, norm="huber", reduction="mean", mask=mask, index=index, per="batch", delta=wanted)
    terms = [forces_weight * forces_term]
    if stress is not None:
        terms.append(stress_weight * StressMatch(stress, wrt=(wrt, cell), index=index, norm="huber", delta=delta))
    return InputGradientLoss(EnergyError(energy, float(energy_weight), (forces, mask, index), delta), terms)


def hessian_distillation(
    weight: Weight = 1.0, *, hessian: TensorRef = "hessian", rows: int | None = 4, norm: Norm = "vectors", mask: TensorRef | None = None, wrt: Key = 0
) -> Weighted:
    """Distillation with energy Hessians: match rows of the student's second derivatives to the teacher's.

        weight · mean_n mean over drawn rows k, atoms i of ‖∂²E_n/∂r_k∂r_i − H*_nki‖₂

    weight: the factor of the formula.
    hessian: H*, ``[N, A, 3, A, 3]``; a teacher's Jacobian of the forces is −H*.
    rows: how many of the 3A components k are drawn per structure and step, without repetition; 4 as in the authors' settings, None for all.
    norm: "vectors", the length per atom as in the formula and the authors' code; "squared" for the mean of squares.
    mask: which entries of H* count, ``[N, A, 1, A, 1]``.
    wrt: the positions r, ``[N, A, 3]``.
    E_n: the student's energy, ``[N]``.

    The authors' student may give forces that are not a gradient; here the energy is differentiated twice. Their code gives structures with an entry above 10
    000 almost no weight: mask them.

    When not: where the teacher's Hessians cannot be stored (9A² numbers per structure); for networks of ReLU units, whose second derivative is zero.

    Source: Amin, Raja & Krishnapriyan 2025, "Towards fast, specialized machine learning force fields: distilling foundation models via energy Hessians", ICLR,
    and ASK-Berkeley/MLFF-distill.

    >>> import inputgrad as ig
    >>> criterion = ig.recipes.energy_and_forces(wrt="positions") + hessian_distillation(0.1, hessian="hessian", wrt="positions")
    """
    return weight * HessianMatch(hessian, wrt=wrt, rows=rows, norm=norm, reduction="mean", mask=mask)


@dataclass(frozen=True, eq=False)
class ConditionalDelta:
    """Huber's δ per atom, smaller where the force label is large: delta times 1, 0.7, 0.4 or 0.1."""

    forces: TensorRef
    delta: float

    def __call__(self, batch: Batch) -> Tensor:
        size = torch.linalg.vector_norm(resolve_tensor("universal_loss: forces", self.forces, batch), dim=-1, keepdim=True)
        factors = constant([1.0, 0.7, 0.4, 0.1], size.device, size.dtype)
        return self.delta * factors[(size >= 100).long() + (size >= 200) + (size >= 300)]
