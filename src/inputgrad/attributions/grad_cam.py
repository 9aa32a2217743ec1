"""Grad-CAM: which places of a convolutional layer a score rests on, as a map that can be trained. Knows batches and heads; knows no term and no engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inputgrad.attributions.methods import Attribution
from inputgrad.heads import Of
from inputgrad.operators.differentiation import gradients
from inputgrad.passes.precision import widened
from inputgrad.variables import MODULE, Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True)
class GradCAM(Attribution):
    """Grad-CAM: the feature maps of a layer, each weighted by the mean of its gradient.

        φ_ij = Σ_k a_k A_kij,   a_k = mean_ij ∂s/∂A_kij        A: the layer's output ``[N, K, H, W]``

    layer: the name of the module in the model. of: the score s, the true class's output. rectify: max(0, φ), as in the original method; False keeps the sign.
    scaled: each sample's map from 0 to 1, (φ − min φ)/(max φ − min φ + 1e-6), as losses on Grad-CAM compare it with masks. The map is ``[N, 1, H, W]``, of
    the size of the layer's output: bring masks to it by ``F.interpolate``, or the map to them. The derivative is taken by double backward, whatever the
    engine.

    When not: for models without spatial feature maps.

    Source: Selvaraju, Cogswell, Das, Vedantam, Parikh & Batra 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV.
    """

    layer: str
    of: Of = "label"
    rectify: bool = True
    scaled: bool = False

    @property
    def wrt(self) -> Key:  # type: ignore[override]  # a setting elsewhere
        return f"{MODULE}{self.layer}"

    def of_batch(self, batch: "Batch") -> Tensor:
        output, (maps,) = batch.output_and_variables(self.wrt)
        if maps.dim() < 3:
            raise ValueError(f"GradCAM: the layer {self.layer!r} must give feature maps [N, K, H, W], got {list(maps.shape)}; name a convolutional one")
        scores = batch.scores(output, self.of)
        if scores.dim() != 1:
            raise ValueError(f"GradCAM needs a head of one score per sample, and {self.of!r} gave {list(scores.shape)}")
        (gradient,) = gradients(scores, [maps], [self.wrt])
        importance = widened(gradient).flatten(2).mean(2).reshape(*gradient.shape[:2], *[1] * (maps.dim() - 2))
        found = (importance * widened(maps)).sum(1, keepdim=True)
        found = torch.relu(found) if self.rectify else found
        return _scaled(found) if self.scaled else found


def _scaled(maps: Tensor) -> Tensor:
    """Each sample's map from 0 to 1."""
    flat = maps.flatten(1)
    above = flat - flat.amin(1, keepdim=True)
    return (above / (above.amax(1, keepdim=True) + 1e-6)).reshape(maps.shape)
