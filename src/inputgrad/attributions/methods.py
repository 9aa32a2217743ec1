"""Attributions: how much each input feature contributes to a sample's score, as quantities that a term can train.

Each is an object ``batch -> [N, *input]``, made of input gradients at one or several places, so that every engine supports it. Knows batches, heads and
places; knows no term and no engine.
"""

import sys
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.attributions.quadrature import RULES, Rule, quadrature
from inputgrad.errors import Suggesting, nearest
from inputgrad.heads import Of
from inputgrad.places.base import Place
from inputgrad.places.samples import Given
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.variables import Key, described

if TYPE_CHECKING:
    from inputgrad.batch import Batch


class Attribution(metaclass=Suggesting):
    """An attribution method: φ ``[N, *input]``, one number for each feature of each sample. Frozen: made once, drawn anew each step."""

    of: Of
    wrt: Key

    @abstractmethod
    def of_batch(self, batch: "Batch") -> Tensor:
        """φ, of the shape of ``batch.variable(wrt)``, with its way back to the parameters."""

    def __call__(self, batch: "Batch | nn.Module", inputs: Any = None, target: Any = None, *, of: Of | None = None, base: Any = None) -> Tensor:
        """φ of a term's batch, to train with; or, given a model and its inputs, of a trained model: detached, to look at.

        target: what the head needs, such as labels. of: another score than the method's own. base: the base loss, for ``of="loss"`` only.

        >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> IntegratedGradients(8)(model, torch.ones(4, 3), torch.tensor([0, 1, 0, 1]), of="label").shape
        torch.Size([4, 3])
        """
        if not isinstance(batch, nn.Module):
            return self.of_batch(batch)
        method = self if of is None else replace(self, of=of)  # type: ignore[type-var]  # each is a dataclass
        return sys.modules["inputgrad"].attributions.attribute(method, batch, inputs, target, base=base)

    def gradient(self, batch: "Batch", at: Place | None = None) -> Tensor:
        """∂s/∂x at a place, checked to have the shape of the input."""
        gradient: Tensor = batch.gradient(of=self.of, wrt=self.wrt, at=at)
        if gradient.shape != batch.variable(self.wrt).shape:
            raise ValueError(f"{type(self).__name__} needs a head of one score per sample, and of={self.of!r} gave a gradient of shape {list(gradient.shape)}")
        return gradient


@dataclass(frozen=True)
class InputGradient(Attribution):
    """The input gradient itself, "saliency" without the absolute value.

        φ = ∂s/∂x

    of, wrt: the score s, and the input.

    When not: where the score is flat at the input though the feature matters (a saturated unit): take `IntegratedGradients`.

    Source: Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks: visualising image classification models and saliency maps", ICLR workshop.
    """

    of: Of = "output"
    wrt: Key = 0

    def of_batch(self, batch: "Batch") -> Tensor:
        return self.gradient(batch)


@dataclass(frozen=True)
class InputTimesGradient(Attribution):
    """Input × gradient.

        φ = x ⊙ ∂s/∂x

    of, wrt: the score s, and the input. For a ReLU network without biases it is integrated gradients from 0.

    When not: where the value 0 has a meaning of its own: features that are 0 get nothing.

    Source: Shrikumar, Greenside, Shcherbina & Kundaje 2016, "Not just a black box: learning important features through propagating activation differences".
    """

    of: Of = "output"
    wrt: Key = 0

    def of_batch(self, batch: "Batch") -> Tensor:
        return batch.variable(self.wrt) * self.gradient(batch)


@dataclass(frozen=True, eq=False)
class IntegratedGradients(Attribution):
    """Integrated gradients along the straight line from a baseline x′ to the input.

        φ_i = (x_i − x′_i) ∫₀¹ ∂s(x′ + α (x − x′))/∂x_i dα  ≈  (x_i − x′_i) Σ_k w_k ∂s(x′ + α_k (x − x′))/∂x_i

    baseline: x′: a number for all features (0, the black image), a tensor of one sample's shape or of the batch's, a name in the target, or a callable of
    the batch. steps: m. rule: "right", as in the paper's sum (α_k = k/m, w_k = 1/m), "left", "midpoint", "trapezoid" (m + 1 points), or "gauss_legendre",
    the most accurate on smooth networks. of, wrt: the score s, and the input. It cannot be the output of an inner module, which no place can move: for tokens
    let the model take their embeddings.

    Completeness: Σ_i φ_i = s(x) − s(x′), as exactly as the sum approximates the integral. Costs one pass at each point, all of which are kept until the
    backward pass: to train with it take few steps and a better rule than "right". The trapezoid of captum 0.9 has weights that add up to 1 − 1/m only; here
    they add up to 1.

    When not: where no input stands for "nothing there"; `ExpectedGradients` takes the data themselves.

    Source: Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks", ICML, eq. 1 and 3.
    """

    steps: int = 50
    baseline: float | TensorRef = 0.0
    rule: Rule = "right"
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if not isinstance(self.baseline, (int, float)):
            check_tensor_ref("IntegratedGradients: baseline", self.baseline)
        _check_count("IntegratedGradients: steps", self.steps)
        if self.rule not in RULES:
            raise ValueError(f"IntegratedGradients: rule={self.rule!r}: {nearest(self.rule, RULES)}")

    def of_batch(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        baseline = self._baseline(batch, x)
        total = torch.zeros_like(x)
        for alpha, weight in quadrature(self.rule, self.steps):
            at = None if alpha == 1 else Given(baseline + alpha * (x - baseline), self.wrt)  # at 1 the batch's own pass is enough
            total = total + weight * self.gradient(batch, at)
        return (x - baseline) * total

    def _baseline(self, batch: "Batch", x: Tensor) -> Tensor:
        if isinstance(self.baseline, (int, float)):
            return torch.full_like(x, self.baseline)
        baseline = resolve_tensor("IntegratedGradients: baseline", self.baseline, batch).detach().to(x)
        if baseline.shape in (x.shape, x.shape[1:]):
            return baseline.expand_as(x)
        raise ValueError(
            f"IntegratedGradients: baseline has shape {list(baseline.shape)}; expected that of one sample, {list(x.shape[1:])}, "
            f"or of the batch, {list(x.shape)}"
        )


@dataclass(frozen=True, eq=False)
class ExpectedGradients(Attribution):
    """Expected gradients: integrated gradients in expectation over baselines from the data, by random draws of baseline and α.

        φ_i = E_{x′ ~ D, α ~ U(0, 1)} [(x_i − x′_i) ∂s(x′ + α (x − x′))/∂x_i]  ≈  the mean over ``samples`` draws

    references: D: a tensor ``[R, *input]`` (the training data), a name in the target, or a callable of the batch; each draw takes a reference and an α of
    its own for each sample. None: the batch itself, shifted by 1, 2, … samples, as the authors' code does in training. samples: the draws, 1 in training and
    some 200 to explain. of, wrt: as in `IntegratedGradients`.

    Completeness holds in expectation: E Σ_i φ_i = s(x) − E s(x′).

    When not: to explain a single decision with few draws; the noise of one is as large as the attributions.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3.
    """

    references: TensorRef | None = None
    samples: int = 1
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if self.references is not None:
            check_tensor_ref("ExpectedGradients: references", self.references)
        _check_count("ExpectedGradients: samples", self.samples)

    def of_batch(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        if self.references is None and self.samples >= x.shape[0]:
            raise ValueError(
                f"ExpectedGradients: samples={self.samples} of the batch itself need a batch of at least {self.samples + 1}, got {x.shape[0]}; "
                "pass references= for more"
            )
        total = torch.zeros_like(x)
        for number in range(1, self.samples + 1):
            reference = x.roll(number, 0) if self.references is None else self._drawn(batch, x)
            alpha = torch.rand(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
            total = total + (x - reference) * self.gradient(batch, Given(alpha * x + (1 - alpha) * reference, self.wrt))
        return total / self.samples

    def _drawn(self, batch: "Batch", x: Tensor) -> Tensor:
        """One reference per sample, drawn with replacement."""
        assert self.references is not None
        references = resolve_tensor("ExpectedGradients: references", self.references, batch)
        if references.shape[1:] != x.shape[1:] or references.dim() != x.dim() or not len(references):
            raise ValueError(f"ExpectedGradients: references must be samples of the inputs' shape, [R, *{list(x.shape[1:])}]; got {described(references)}")
        return references[torch.randint(len(references), x.shape[:1], device=references.device)].detach().to(x)


def check_attribution(name: str, method: Any) -> None:
    """Raises `TypeError` for what gives no attributions."""
    if isinstance(method, type) or not callable(method):
        raise TypeError(f"{name} must be an attribution method, such as InputGradient(), or a callable batch -> [N, *input]; got {method!r}")


def _check_count(name: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number, at least 1; got {number!r}")
