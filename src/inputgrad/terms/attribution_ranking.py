"""Rankings of attributions: what people find more important should matter more to the network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.attributions.methods import InputGradient
from inputgrad.batch import Batch
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.attribution_priors import OfAttributions
from inputgrad.terms.gradient_match import shaped


@dataclass(frozen=True, eq=False)
class AttributionRanking(OfAttributions):
    """Attributions in the order of given importances: every pair of regions in the wrong order costs its difference.

        R_n = Σ_{(i, j): H_ni > H_nj} max(0, φ_nj − φ_ni)

    attribution: φ, any method of `inputgrad.attributions`, or a callable ``batch -> [N, *input]``. importance: H, one number per region and sample, ``[N, R]``
    or ``[N, R, ...]`` like the first dimensions of φ; the attributions are summed over φ's other dimensions, such as the features of a region or a token. Or of
    one sample, for all. A tensor, a name or a position of the target, or a callable of the batch; NaN where nothing is known. Equal importances ask for no
    order. Memory: R² numbers per sample.

    When not: where importances are known as sizes (`AttributionMatch`), or of many pixels at once: rank regions.

    Source: Selvaraju et al. 2019, "Taking a HINT: leveraging explanations to make vision and language models more grounded", ICCV.

    >>> import torch
    >>> from inputgrad.attributions import InputGradient
    >>> criterion = torch.nn.CrossEntropyLoss() + 0.1 * AttributionRanking(InputGradient(of="label"), torch.tensor([2.0, 1.0, 0.0]))
    """

    importance: TensorRef

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tensor_ref("AttributionRanking: importance", self.importance)

    @classmethod
    def example(cls) -> "AttributionRanking":
        return cls(InputGradient(), lambda batch: torch.arange(float(batch.variable(0).shape[1])))

    def __call__(self, batch: Batch) -> Tensor:
        phi = self.attributions(batch)
        given = resolve_tensor("AttributionRanking: importance", self.importance, batch)
        regions = given.dim() if given.shape[:1] == phi.shape[:1] and given.dim() > 1 else given.dim() + 1
        if not 1 < regions <= phi.dim():
            raise ValueError(
                f"AttributionRanking: importance has shape {list(given.shape)}; expected one number per region, [N, R] like the first dimensions of the "
                f"attributions {list(phi.shape)}, or those of one sample"
            )
        summed = phi.flatten(regions).sum(-1) if regions < phi.dim() else phi
        wanted, found = (part.flatten(1) for part in (shaped("AttributionRanking: importance", given, summed), summed))
        in_order = wanted[:, :, None] > wanted[:, None, :]  # false where either is NaN
        return torch.where(in_order, (found[:, None, :] - found[:, :, None]).clamp(min=0), 0).flatten(1).sum(1)
