"""A discriminator of input gradients: the model learns gradients that a network cannot tell from a teacher's."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from inputgrad.batch import Batch
from inputgrad.devices import module_on
from inputgrad.heads import Of
from inputgrad.terms.base import Term
from inputgrad.variables import Key


def label_probability(output: Tensor, target: Tensor) -> Tensor:
    """The softmax probability of the true class, ``[N]``, from logits ``[N, C]`` and class numbers ``[N]``.

    >>> import torch
    >>> label_probability(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([0.2500, 0.2500])
    """
    return output.softmax(1).gather(1, target[:, None])[:, 0]


@dataclass(frozen=True, eq=False)
class GradientDiscriminator(Term):
    """Adversarial matching of input gradients: a discriminator should not be able to tell the model's from a teacher's.

        R_n = log(1 − sigmoid(D(g_n)))        g_n = ∂s_n/∂x_n

    discriminator: D, a module from a gradient ``[N, *input]`` to one logit per sample, ``[N]`` or ``[N, 1]``; high means "the teacher's". The term holds it
    constant, and `loss` is what it is trained on, with an optimizer of its own. It runs in its current mode. of: s, by default the probability of
    the true class. wrt: which input.

    When not: on its own; the distributions of gradients may agree while no sample's gradient does. Add a `GradientMatch`, as `recipes.igam` does.

    Source: Chan, Tay & Ong 2020, "What it thinks is important is important: robustness transfers through input gradients", CVPR, and their code.

    >>> from torch import nn
    >>> discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    >>> criterion = nn.CrossEntropyLoss() + GradientDiscriminator(discriminator)
    """

    discriminator: nn.Module
    of: Of = label_probability
    wrt: Key = 0

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.discriminator, nn.Module):
            raise TypeError(
                "GradientDiscriminator: discriminator must be a module from an input gradient [N, *input] to one logit per sample, such as "
                f"nn.Sequential(nn.Flatten(), nn.Linear(64, 1)); got {type(self.discriminator).__name__}"
            )

    @classmethod
    def example(cls) -> "GradientDiscriminator":
        return cls(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(1)), of="output")  # the mean, whatever the size

    def __call__(self, batch: Batch) -> Tensor:
        gradient = batch.gradient(of=self.of, wrt=self.wrt)
        discriminator = module_on(self.discriminator, gradient.device)
        constant = {name: value.detach() for name, value in discriminator.named_parameters()}
        return -F.softplus(self._logits(functional_call(discriminator, constant, (gradient,)), gradient))

    def loss(self, model: nn.Module, teacher: nn.Module, inputs: Any, target: Any = None) -> Tensor:
        """The discriminator's own loss, the cross-entropy of telling ``teacher``'s gradients from ``model``'s; 0-d, constant in both of them.

            mean_n ½ [ −log sigmoid(D(g*_n)) − log(1 − sigmoid(D(g_n))) ]

        inputs, target: as in ``criterion(model, inputs, target)``.
        """
        from inputgrad.operators.functions import output_and_gradient  # the operators know the loss, which knows the terms

        own, theirs = (output_and_gradient(one, inputs, of=self.of, target=target, wrt=self.wrt)[1].detach() for one in (model, teacher))
        taken_for_own, taken_for_theirs = (self._logits(self.discriminator(gradient), gradient) for gradient in (own, theirs))
        return (F.softplus(taken_for_own) + F.softplus(-taken_for_theirs)).mean() / 2

    def _logits(self, output: Tensor, gradient: Tensor) -> Tensor:
        if output.shape not in ((len(gradient),), (len(gradient), 1)):
            raise ValueError(
                f"GradientDiscriminator: the discriminator returned {list(output.shape)} for gradients of shape {list(gradient.shape)}; "
                f"expected one logit per sample, [{len(gradient)}] or [{len(gradient)}, 1]: end it with nn.Linear(…, 1)"
            )
        return output.flatten()
