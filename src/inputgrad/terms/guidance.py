"""Guidance of models by explanations: attributions should fall inside given regions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.attributions.methods import InputTimesGradient
from inputgrad.batch import Batch
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.attribution_priors import OfAttributions
from inputgrad.terms.gradient_match import broadcast


@dataclass(frozen=True, eq=False)
class EnergyPointing(OfAttributions):
    """The share of the positive attributions that fall outside a region.

        R_n = 1 − Σ_{i ∈ region} max(0, φ_ni) / Σ_i max(0, φ_ni)

    attribution: φ, any method of `inputgrad.attributions`, or a callable; channels of images (dimension 1 of four) are added up first. region: 1 inside and 0
    outside, of the shape of the attributions of one sample or of the batch, with size 1 for the channels: a tensor, a name or a position of the target, or a
    callable of the batch. Where all positive attributions together are below 1e-7 the division is left out.

    When not: where the region is no larger than what may matter: the share cannot tell how much of the region is used.

    Source: Rao, Böhle, Parchami-Araghi & Schiele 2023, "Studying how to efficiently and effectively guide models with explanations", ICCV, and their code.

    >>> import torch
    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 0.01 * EnergyPointing(InputTimesGradient(of="label"), torch.ones(1, 8, 8))
    """

    region: TensorRef

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tensor_ref("EnergyPointing: region", self.region)

    @classmethod
    def example(cls) -> "EnergyPointing":
        return cls(InputTimesGradient(), lambda batch: torch.arange(batch.variable(0).shape[-1]) % 2 == 0)

    def __call__(self, batch: Batch) -> Tensor:
        phi = self.attributions(batch)
        positive = (phi.sum(1, keepdim=True) if phi.dim() > 3 else phi).clamp(min=0)
        inside = broadcast("EnergyPointing: region", resolve_tensor("EnergyPointing: region", self.region, batch), positive) != 0
        pointed, whole = (positive * inside).flatten(1).sum(1), positive.flatten(1).sum(1)
        large = whole >= 1e-7
        return 1 - pointed / torch.where(large, whole, 1)
