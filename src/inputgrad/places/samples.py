"""Places at other samples: given ones, and points between the batch's samples and others.

Must not know heads, terms and engines.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.variables import Key, described

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True, eq=False)
class Interpolate(Place):
    """x̂ = ε x + (1 − ε) x′ with one ε ~ U(0, 1) a sample: the place of the WGAN-GP penalty (Gulrajani et al. 2017, algorithm 1).

    ``other``: the other samples x′, of the shape of the inputs: a tensor, a name or position of the target, or a callable of the batch (such as one that
    returns ``batch.target``). ``wrt`` names the input that is mixed.
    """

    other: TensorRef
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_tensor_ref("Interpolate: other", self.other)

    def inputs(self, batch: "Batch") -> Any:
        here = batch.variable(self.wrt)
        other = resolve_tensor("Interpolate: other", self.other, batch)
        if not isinstance(other, Tensor) or other.shape != here.shape:
            raise ValueError(f"Interpolate: other must be a tensor of the inputs' shape {list(here.shape)}, got {described(other)}")
        epsilon = torch.rand(here.shape[0], *[1] * (here.dim() - 1), dtype=here.dtype, device=here.device)
        return batch.inputs_with({self.wrt: epsilon * here + (1 - epsilon) * other.detach().to(here)})


@dataclass(frozen=True, eq=False)
class Given(Place):
    """Other samples than the batch's own, such as a critic's fake ones: ``Given(fake)``, or ``Given("fake")`` where the target is a dict that holds them.

    ``other``: a tensor of the shape of the inputs, another number of samples included; a name or position of the target; or a callable of the batch.
    """

    other: TensorRef
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_tensor_ref("Given: other", self.other)

    def inputs(self, batch: "Batch") -> Any:
        here, other = batch.variable(self.wrt), resolve_tensor("Given: other", self.other, batch)
        if other.shape[1:] != here.shape[1:]:
            raise ValueError(f"Given: other must be samples of the inputs' shape {list(here.shape)}, got {described(other)}")
        return batch.inputs_with({self.wrt: other.detach().to(here)})
