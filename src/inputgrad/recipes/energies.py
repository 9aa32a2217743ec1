"""The energy's part of the losses of force fields, and the weights of structures. Must not know recipes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.tensor_refs import TensorRef, part_of_target, resolve_tensor
from inputgrad.terms.gradient_match import huber
from inputgrad.terms.missing_labels import counted, known
from inputgrad.variables import Wrt, described, keys_of


@dataclass(frozen=True)
class EnergyError:
    """weight · (E − E*)² a structure ``[N]``; with ``per_atom``, the keys of forces, mask and index in the target, of the energy per atom."""

    key: str | int
    weight: float
    per_atom: tuple[str | int, str | int | None, str | int | None] | None
    delta: float | None = None
    """Huber's loss with this δ in place of the square."""
    weights: str | int | None = None
    """The key of one weight per structure in the target."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        wanted = part_of_target("energy_and_forces: energy", self.key, target)
        if wanted.numel() != output.shape[0] or output.numel() != output.shape[0]:
            raise ValueError(
                f"energy_and_forces: the output has shape {list(output.shape)} and the energies {list(wanted.shape)}: expected one energy per structure"
            )
        counts, wanted = known(wanted.to(output).flatten())
        gap = counted(output.flatten() - wanted, counts)
        gap = gap if self.per_atom is None else gap / self._atoms(output, target)
        losses = self.weight * (gap.square() if self.delta is None else huber(gap, self.delta))
        return losses if self.weights is None else losses * structure_weights(self.weights, target, len(losses)).to(losses)

    def _atoms(self, output: Tensor, target: Any) -> Tensor:
        assert self.per_atom is not None
        forces, mask, index = self.per_atom
        if index is not None:
            number = part_of_target("energy_and_forces: index", index, target).to(output.device)
            return output.new_zeros(output.shape[0]).index_add(0, number, output.new_ones(len(number)))
        if mask is not None:
            counted = part_of_target("energy_and_forces: mask", mask, target) != 0
            return (counted[..., 0] if counted.dim() == 3 else counted).sum(1).to(output)
        labels = part_of_target("energy_and_forces: forces", forces, target)
        if labels.dim() != 3:
            raise ValueError(f"energy_and_forces: forces have shape {list(labels.shape)}; energy_per_atom needs [N, A, 3], or a mask, or an index")
        return output.new_full((), labels.shape[1])


def structure_weights(key: str | int, target: Any, size: int) -> Tensor:
    """The weights ``[N]`` in the target. Raises `ValueError` for another shape."""
    weights = part_of_target("energy_and_forces: sample_weight", key, target)
    if not isinstance(weights, Tensor) or weights.shape != (size,):
        raise ValueError(f"energy_and_forces: sample_weight={key!r} must be one weight per structure, a tensor [{size}]; got {described(weights)}")
    return weights


@dataclass(frozen=True)
class RootOfWeights:
    """√w_n of each atom's structure, by which both forces are multiplied before their difference is squared."""

    weights: str | int
    index: TensorRef | None
    wrt: Wrt

    def __call__(self, batch: Batch) -> Tensor:
        roots = structure_weights(self.weights, batch.target, batch.size).sqrt()
        if self.index is not None:
            return roots[resolve_tensor("energy_and_forces: index", self.index, batch).to(roots.device)][:, None]
        return roots.reshape(-1, *[1] * (batch.variable(keys_of(self.wrt)[0]).dim() - 1))
