"""Transfer of robustness: a student's input gradients are made like those of a robust teacher."""

from torch import Tensor, nn

from inputgrad.batch import Batch
from inputgrad.devices import module_on
from inputgrad.terms.base import TermSum
from inputgrad.terms.gradient_discriminator import GradientDiscriminator, label_probability
from inputgrad.terms.gradient_match import GradientMatch
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def igam(weight: Weight = 2.0, *, teacher: nn.Module, discriminator: nn.Module, match: Weight = 320.0, wrt: Key = 0) -> TermSum:
    """IGAM, input gradient adversarial matching: a student learns a teacher's robustness through input gradients, from natural images only.

        weight · mean_n ½ log(1 − sigmoid(D(g_n))) + match · mean_n ‖g_n − g*_n‖²₂,   g = ∂p_y/∂x of the student, g* of the teacher

    weight: β, 2 in the authors' script for CIFAR-10 to CIFAR-100.
    teacher: a robust classifier of the same inputs and classes, in its current mode (call ``teacher.eval()`` first, as a rule); nothing in it learns.
    discriminator: D, a module from a gradient ``[N, *input]`` to one logit per sample, five convolutions in the paper.
    match: γ, the weight of the squared distance; 10 in the same script, where it multiplies the SUM over a batch of 32, so 320 of the mean here.
    wrt: as in `double_backpropagation`.
    p_y: the softmax probability of the true class, whose gradient the authors' code takes (the paper writes the loss's).

    The discriminator is trained beside the model, in the authors' script at every fifth step: ``GradientDiscriminator(discriminator).loss(model, teacher, x,
    y).backward()``. The script adds both terms for the last eighth of the training only: give schedules, ``weight=lambda step: 2.0 * (step >= 280_000)``.
    Half of β's factor, D's cross-entropy on the teacher's gradients, has no gradient with respect to the model and is left out of the value.

    When not: where no robust teacher exists for the classes at hand (its last layer is finetuned for them first); for one logit.

    Source: Chan, Tay & Ong 2020, "What it thinks is important is important: robustness transfers through input gradients", CVPR, and their code.

    >>> from torch import nn
    >>> discriminator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> criterion = nn.CrossEntropyLoss() + igam(teacher=nn.Linear(4, 3), discriminator=discriminator)
    """
    from inputgrad.operators.functions import output_and_gradient  # the operators know the loss, which knows the terms

    def wanted(batch: Batch) -> Tensor:
        return output_and_gradient(module_on(teacher, batch.device), batch.inputs, of=label_probability, target=batch.target, wrt=wrt)[1]

    adversary = 0.5 * GradientDiscriminator(discriminator, label_probability, wrt)
    return weight * adversary + match * GradientMatch(wanted, of=label_probability, wrt=wrt)
