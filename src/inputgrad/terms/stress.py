"""Match the stress or the virial of periodic structures: the derivative with respect to a virtual strain, by the chain rule."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.passes.precision import widened
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import Norm, Reduction, broadcast, check_distance, check_scale, distance, shaped, summed
from inputgrad.terms.missing_labels import both, counted, known
from inputgrad.variables import Wrt, keys_of

_COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


@dataclass(frozen=True, eq=False)
class StressMatch(Term):
    """Stress matching: the distance between the stress (or the virial) of each structure and its label.

        R_n = (1/9) Σ_αβ |sign · σ_nαβ − σ*_nαβ|²          σ_n = (1/V_n) · ½ (W_n + W_nᵀ),   virial = −V σ
        W_nαβ = ∂E((1 + ε) r_n, (1 + ε) h_n)/∂ε_αβ at ε = 0 = Σ_a ∂E_n/∂r_aα · r_aβ + Σ_k ∂E_n/∂h_kα · h_kβ

    ε: a virtual strain, which moves the atoms r and the lattice vectors h alike. V = |det h|.

    wanted: the labels σ*, ``[N, 3, 3]``, or ``[N, 6]`` with ``voigt``; units are those of the energy over those of the length cubed. NaN is a missing label.
    wrt: positions and cell, in this order: ``[N, A, 3]`` (padding does no harm where the energy does not depend on it) or ``[atoms, 3]`` with ``index``;
    lattice vectors as rows, ``[N, 3, 3]`` or ``[3 N, 3]``. For a virial without a cell: positions alone.
    of: the energy E_n; the output by default.
    index: the number of each atom's structure, ``[atoms]``.
    quantity: "stress" or "virial".
    sign: 1 where a positive diagonal means that the structure is stretched (ASE, NequIP, MACE); −1 for labels of the other sign, as VASP prints them.
    voigt: the order of the six numbers: "xx yy zz yz xz xy" is ASE's, "xx yy zz xy xz yz" LAMMPS's. Components off the diagonal count twice, as in the matrix.
    norm, reduction, delta: as in `GradientMatch`.
    scale: a number or a tensor inside the norm, such as one over the number of atoms, ``[N, 1, 1]``, by which MACE divides virials.

    Since W is linear in the gradients with respect to positions and cell, no variable is added to the model, and every engine supports it. The model must
    compute periodic shifts from the cell that it is given. A structure without volume has no stress and counts as missing.

    When not: where positions and cell are not given as such, but as edge vectors: the energy does not know the cell then.

    Source: Knuth, Carbogno, Atalla, Blum & Scheffler 2015, "All-electron formalism for total energy strain derivatives and stress tensor components for
    numeric atom-centered orbitals", Computer Physics Communications 190.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("energy") + 10.0 * StressMatch("stress", wrt=("positions", "cell"))
    """

    wanted: TensorRef
    wrt: Wrt = (0, 1)
    of: Of = "output"
    index: TensorRef | None = None
    quantity: Literal["stress", "virial"] = "stress"
    sign: float = 1.0
    voigt: str | None = None
    norm: Norm = "squared"
    reduction: Reduction = "mean"
    scale: TensorRef | float | None = None
    delta: float = 1.0

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_tensor_ref("StressMatch: wanted", self.wanted)
        if self.index is not None:
            check_tensor_ref("StressMatch: index", self.index)
        check_scale("StressMatch", self.scale)
        check_distance("StressMatch", self.norm, self.reduction)
        if self.quantity not in ("stress", "virial"):
            raise ValueError(f"StressMatch: quantity={self.quantity!r}: {nearest(self.quantity, ('stress', 'virial'))}")
        if self.sign not in (1, -1):
            raise ValueError(f"StressMatch: sign must be 1 or -1, got {self.sign!r}; for another factor use scale")
        if len(keys_of(self.wrt)) != 2 and not (len(keys_of(self.wrt)) == 1 and self.quantity == "virial"):
            raise ValueError(f'StressMatch: wrt names positions and cell, two inputs (positions alone for quantity="virial"); got {self.wrt!r}')
        if self.voigt is not None and sorted(self.voigt.split()) != sorted(_COMPONENTS):
            raise ValueError(f"StressMatch: voigt names the order of the six components, such as 'xx yy zz yz xz xy'; got {self.voigt!r}")

    @classmethod
    def example(cls) -> "StressMatch":
        return cls("stress", wrt=("positions", "cell"))

    def __call__(self, batch: Batch) -> Tensor:
        keys = keys_of(self.wrt)
        gradients = batch.gradient(of=self.of, wrt=keys)
        strained = self._of_positions(widened(gradients[0]), widened(batch.variable(keys[0])), batch)
        volume = torch.ones_like(strained[:, :1, :1])
        if len(keys) == 2:
            cell = _cells(batch.variable(keys[1]), batch.size)
            strained = strained + _cells(gradients[1], batch.size).mT @ cell
            volume = torch.linalg.det(cell).abs()[:, None, None]
        symmetric = (strained + strained.mT) / 2
        if self.quantity == "virial":
            return self._distance(-symmetric, None, batch)
        solid = volume > 0
        return self._distance(symmetric / torch.where(solid, volume, 1), solid, batch)

    def _of_positions(self, gradient: Tensor, positions: Tensor, batch: Batch) -> Tensor:
        """Σ_a ∂E/∂r_a ⊗ r_a ``[N, 3, 3]``."""
        if gradient.shape[-1] != 3 or gradient.dim() != (3 if self.index is None else 2):
            layout = "[N, A, 3], or [atoms, 3] with an index" if self.index is None else "[atoms, 3] where there is an index"
            raise ValueError(f"StressMatch: positions must be {layout}; the gradient with respect to wrt={keys_of(self.wrt)[0]!r} has {list(gradient.shape)}")
        if self.index is None:
            return gradient.mT @ positions
        return summed(gradient[:, :, None] * positions[:, None, :], resolve_tensor("StressMatch: index", self.index, batch), batch.size)

    def _distance(self, quantity: Tensor, counts: Tensor | None, batch: Batch) -> Tensor:
        wanted = resolve_tensor("StressMatch: wanted", self.wanted, batch)
        wanted = shaped("StressMatch: wanted", wanted if self.voigt is None else self._matrix(wanted), quantity)
        there, wanted = known(wanted)
        gap = self.sign * quantity - wanted
        if isinstance(self.scale, (int, float)):
            gap = gap * self.scale
        elif self.scale is not None:
            gap = gap * broadcast("StressMatch: scale", resolve_tensor("StressMatch: scale", self.scale, batch), quantity)
        counts = both(counts, there)
        return distance(counted(gap, counts), counts, self.norm, self.reduction, lambda parts: parts.flatten(1).sum(1), self.delta)

    def _matrix(self, six: Tensor) -> Tensor:
        assert self.voigt is not None
        if six.shape[-1] != 6:
            raise ValueError(f"StressMatch: wanted has shape {list(six.shape)}; expected [N, 6] in the order voigt={self.voigt!r}")
        order = [tuple(sorted(_COMPONENTS[name])) for name in self.voigt.split()]
        picked = [order.index((min(a, b), max(a, b))) for a in range(3) for b in range(3)]
        return six[..., picked].unflatten(-1, (3, 3))


def _cells(tensor: Tensor, size: int) -> Tensor:
    """Lattice vectors, or gradients with respect to them, ``[N, 3, 3]``."""
    if tensor.shape not in ((size, 3, 3), (3 * size, 3)):
        raise ValueError(f"StressMatch: the cell must give each structure its own, [N, 3, 3] = [{size}, 3, 3] or [{3 * size}, 3]; got {list(tensor.shape)}")
    return widened(tensor).reshape(size, 3, 3)
