"""A place at perturbed inputs. Must not know heads, terms and engines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inputgrad.perturbations.base import Perturbation, check_perturbation
from inputgrad.places.base import Place

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True, eq=False)
class Perturbed(Place):
    """The batch's inputs after a perturbation (noise, FGSM, …), as in DRAGAN or in losses on the gradient at an adversarial input.

    ``perturbation``: a `Perturbation`, which says which input it moves, or a callable ``batch -> tensor`` for the first one.
    """

    perturbation: "Perturbation | Callable[[Batch], Tensor]"

    def __post_init__(self) -> None:
        check_perturbation("Perturbed", self.perturbation)

    def inputs(self, batch: "Batch") -> Any:
        return batch.inputs_with({getattr(self.perturbation, "wrt", 0): self.perturbation(batch)})
