"""What terms on a perturbed input have in common: the perturbation, what it moves, and the state that it may carry."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.base import Perturbation, check_perturbation, perturbed_key
from inputgrad.terms.base import Term
from inputgrad.variables import Key


@dataclass(frozen=True)
class PerturbedTerm(Term):
    """A term on an input that a perturbation has moved; x̃ − x is a constant for the parameter gradient."""

    perturbation: Perturbation | Callable[[Batch], Tensor]

    def __post_init__(self) -> None:
        check_perturbation(type(self).__name__, self.perturbation)

    @property
    def key(self) -> Key:
        """What the perturbation moves."""
        return perturbed_key(self.perturbation)

    def variables(self) -> tuple[Key, ...]:
        return (self.key,)

    def moved(self, batch: Batch) -> Tensor:
        """x̃, detached."""
        found = self.perturbation(batch)
        if not isinstance(found, Tensor):
            raise TypeError(f"{type(self).__name__}: the perturbation must return the perturbed input, a tensor; got {type(found).__name__}")
        return found.detach()

    def state(self) -> dict[str, Tensor]:
        return self.perturbation.state() if isinstance(self.perturbation, Perturbation) else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if isinstance(self.perturbation, Perturbation):
            self.perturbation.load_state(state)
        else:
            super().load_state(state)

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor: ...
