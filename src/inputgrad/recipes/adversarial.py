"""Adversarial training: losses at a perturbed input, of one step or several, of a state that is carried on, and with or without labels.

The attacks run on the model in its current mode; the authors of TRADES and MART put it in evaluation mode meanwhile. On a model with dropout or
batch normalisation call ``model.eval()`` before the criterion to do as they do.
"""

import torch.nn.functional as F
from torch import Tensor

from inputgrad.loss import InputGradientLoss
from inputgrad.perturbations.attacks import PGD, Noise, Norm, VirtualAdversarial
from inputgrad.perturbations.base import Bounds
from inputgrad.perturbations.divergences import Divergence
from inputgrad.perturbations.persistent import PersistentPerturbation
from inputgrad.places.base import Place
from inputgrad.terms.adversarial import Adversarial, MisclassificationAware
from inputgrad.terms.base import Weighted
from inputgrad.terms.consistency import Consistency
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def fast_adversarial(
    weight: Weight = 1.0, *, epsilon: float, step_size: float | None = None, bounds: Bounds = None, instead: bool = True, wrt: Key = 0
) -> Weighted:
    """Fast adversarial training: one sign step from a random start, longer than the ball's radius.

        mean_n ℓ(f(x_n + δ_n), y_n),   δ = clip(η + α sign ∇ℓ(x + η), −ε, ε),   η ~ U(−ε, ε)

    weight: the factor of the term in the loss; at 1 the whole loss is the formula.
    epsilon: ε, the radius of the ball in ‖·‖∞, in units of the input; 8/255 for images in [0, 1].
    step_size: α, 1.25 ε by default, as published.
    bounds: low and high, to which the start and x + δ are clipped; (0, 1) for images.
    instead: True trains at x + δ alone, as published: the term is ℓ(x + δ) − ℓ(x), which with the base loss leaves ℓ(x + δ) at weight 1. False adds ℓ(x + δ)
      to the base loss.
    wrt: the input that is attacked.

    When not: with a large ε or a long training, in which networks learn the single step by heart (catastrophic overfitting): add `grad_align`, or take
    `pgd_adversarial`.

    Source: Wong, Rice & Kolter 2020, "Fast is better than free: revisiting adversarial training", ICLR, algorithm 3.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + fast_adversarial(epsilon=8 / 255, bounds=(0, 1))
    """
    attack = PGD(epsilon, steps=1, step_size=1.25 * epsilon if step_size is None else step_size, bounds=bounds, wrt=wrt)
    return weight * Adversarial(attack, instead)


def n_fgsm(
    weight: Weight = 1.0, *, epsilon: float, noise: float = 2.0, step_size: float | None = None, bounds: Bounds = None, instead: bool = True, wrt: Key = 0
) -> Weighted:
    """N-FGSM: one sign step after large random noise, without projection.

        mean_n ℓ(f(x_n + δ_n), y_n),   δ = η + α sign ∇ℓ(x + η),   η ~ U(−kε, kε)

    weight, epsilon, bounds, instead, wrt: as in `fast_adversarial`.
    noise: k, 2 as published, 3 for SVHN at ε = 12/255.
    step_size: α, ε by default, as published.

    δ reaches (k + 1) ε: nothing clips it to the ball.

    When not: where the attack must stay in the ball, such as for comparison with `pgd_adversarial` step by step.

    Source: de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez & Dokania 2022, "Make some noise: reliable and efficient single-step adversarial training", NeurIPS.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + n_fgsm(epsilon=8 / 255, bounds=(0, 1))
    """
    step = epsilon if step_size is None else step_size
    start = Noise(noise * epsilon, bounds=bounds, wrt=wrt)
    return weight * Adversarial(PGD(noise * epsilon + step, steps=1, step_size=step, start=start, bounds=bounds, wrt=wrt), instead)


def pgd_adversarial(
    weight: Weight = 1.0,
    *,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    bounds: Bounds = None,
    instead: bool = True,
    wrt: Key = 0,
) -> Weighted:
    """PGD adversarial training: the loss at the worst input that a few projected gradient steps find in a ball.

        mean_n ℓ(f(x̃_n), y_n),   x̃ ≈ argmax ℓ(f(x̃), y) over ‖x̃ − x‖ ≤ ε,   x_{t+1} = Π(x_t + α d_t)

    weight, bounds, wrt: as in `fast_adversarial`.
    epsilon: ε, the radius of the ball, in units of the input; 8/255 for images in [0, 1] with "linf".
    norm: of the ball: "linf", d = sign ∇ℓ, or "l2", d = ∇ℓ/‖∇ℓ‖₂.
    steps: how many steps the attack takes.
    step_size: α, 2.5 ε/steps by default; the paper takes 2/255 for CIFAR-10 at ε = 8/255 and 7 steps.
    instead: True trains at x̃ alone, as published; False adds ℓ(x̃) to the base loss.

    The start is uniform in the ball. Costs ``steps`` + 2 passes for each plain one; `Adversarial` of a `PGD` has further settings.

    When not: where accuracy on clean inputs is what counts; robust networks lose some of it. See `trades`.

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", ICLR, eq. 2.1 and section 2.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + pgd_adversarial(epsilon=8 / 255, bounds=(0, 1))
    """
    return weight * Adversarial(PGD(epsilon, steps, step_size, norm, bounds=bounds, wrt=wrt), instead)


def free_adversarial(weight: Weight = 1.0, *, epsilon: float, step_size: float | None = None, bounds: Bounds = None, wrt: Key = 0) -> Weighted:
    """Free adversarial training: the perturbation is kept from step to step, and each batch is used m times in a row.

        mean_n ℓ(f(x_n + δ_n), y_n),   then δ ← clip(δ + ε sign ∇ℓ(x + δ), −ε, ε)

    weight, epsilon, bounds, wrt: as in `fast_adversarial`.
    step_size: the length of the step of δ; ε by default, as published.

    The parameters see the δ of the step before. Call the criterion m times for each batch (4 to 10 as published), with an optimiser step each; divide the
    number of epochs by m. The authors' loop takes both gradients from one backward pass; here ∇ℓ(x + δ) is a pass of its own, and the clean one is made for
    the output, so a step costs three plain ones. δ is in the criterion's ``state_dict``.

    When not: where a batch is not replayed, for then δ belongs to other samples; and where what is free is the point.

    Source: Shafahi et al. 2019, "Adversarial training for free!", NeurIPS, algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + free_adversarial(epsilon=8 / 255, bounds=(0, 1))
    """
    return weight * Adversarial(PersistentPerturbation(epsilon, step_size, bounds=bounds, wrt=wrt), instead=True)


def trades(
    beta: Weight = 6.0,
    *,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    bounds: Bounds = None,
    start: float = 0.001,
    wrt: Key = 0,
) -> Weighted:
    """TRADES: the clean loss, and how far an attack moves the predicted distribution.

        ℓ + β · mean_n KL(p(x_n) ‖ p(x̃_n)),   x̃ ≈ argmax KL(p(x) ‖ p(x̃)) over ‖x̃ − x‖ ≤ ε

    beta: β, 6 as in the paper's tables; the default of the authors' function is 1.
    epsilon, norm, steps: as in `pgd_adversarial`.
    step_size: the length of a step, 2.5 ε/steps by default; 0.007 for ε = 0.031 in the authors' script, where the L2 steps are 2 ε/steps.
    bounds, wrt: as in `fast_adversarial`.
    start: the standard deviation of the normal noise that the attack starts from; without noise its first step would follow the sign of rounding errors.
    ℓ: the base loss at the clean inputs.
    p: softmax of the model's outputs, ``[N, C]``.

    Both attack and loss take KL with the clean distribution first, and nothing is detached in the loss: the gradient goes through both branches. In L2 the
    point is clipped into the bounds first and then projected, as in the authors' script. A sample without a gradient stays where it is; in that script it
    takes a step of normal noise, not divided by its length.

    The attack and the loss run in the model's current mode, and the running statistics of batch normalisation take the clean pass alone. The authors' code
    attacks in evaluation mode and takes the loss in training mode. With dropout or batch normalisation, ``model.eval()`` before the criterion gives their
    attack; the loss then runs in evaluation mode too.

    When not: for outputs that are not class logits. Needs no labels itself.

    Source: Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", ICML, algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + trades(epsilon=0.031, bounds=(0, 1))
    """
    attack = PGD(epsilon, steps, step_size, norm, Noise(start, "normal", wrt=wrt), "kl", bounds=bounds, order="clip_first", wrt=wrt)
    return beta * Consistency(attack, "kl")


def mart(
    lambda_: float = 5.0,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    bounds: Bounds = None,
    start: float = 0.001,
    wrt: Key = 0,
    engine: str = "auto",
) -> InputGradientLoss:
    """MART: adversarial training that gives misclassified samples more weight. It replaces the base loss.

        mean_n −log p_y(x̃) − log(1 − max_{k≠y} p_k(x̃)) + λ KL(p(x) ‖ p(x̃)) (1 − p_y(x)),   x̃ ≈ argmax −log p_y(x̃) over ‖x̃ − x‖∞ ≤ ε

    lambda_: λ, 5 as in the paper; the default of the authors' function is 6.
    epsilon, bounds, wrt: as in `fast_adversarial`.
    steps: how many steps the attack takes.
    step_size: the length of a step, 2.5 ε/steps by default; 0.007 for ε = 0.031 in the authors' script.
    start: as in `trades`.
    engine: the engine of the criterion, as in `InputGradientLoss`.
    p: softmax of the model's outputs, ``[N, C]``.

    Nothing is detached. The authors' code adds 1e-4 inside the second logarithm and about 1e-12 elsewhere; here the logarithms are exact.

    When not: for anything but single labels, integers ``[N]``, and outputs ``[N, C]``.

    Source: Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples", ICLR, section 3.

    >>> criterion = mart(epsilon=0.031, bounds=(0, 1))
    """
    attack = PGD(epsilon, steps, step_size, start=Noise(start, "normal", wrt=wrt), of=cross_entropy, bounds=bounds, wrt=wrt)
    return InputGradientLoss(None, MisclassificationAware(attack, lambda_), engine=engine)


def vat(
    weight: Weight = 1.0, *, epsilon: float, xi: float = 0.01, iterations: int = 1, divergence: Divergence = "kl", wrt: Key = 0, at: Place | None = None
) -> Weighted:
    """Virtual adversarial training: the predicted distribution changes little in the direction in which it changes fastest. No labels are needed.

        α · mean_n KL(p̂(x_n) ‖ p(x_n + ε d_n)),   d by power iteration on ∂² KL/∂r² at r = 0:  d ← unit ∂KL(p̂(x) ‖ p(x + r))/∂r at r = ξ d

    weight: α, 1 as published.
    epsilon: ε, the length of the perturbation in ‖·‖₂, in units of the input; to be tuned for each data set.
    xi: ξ, the step of the power iteration's difference, in ‖·‖₂.
    iterations: the steps of the power iteration, 1 as published.
    divergence: "kl" as in the formula; "mse" for outputs that are not class logits; "reverse_kl", "symmetric_kl".
    wrt: the input that is moved.
    at: the samples that are perturbed, the batch's own by default; `inputgrad.Given("unlabelled")` for those without labels, held by the target.
    p̂: p, held constant, as published (TRADES holds nothing).

    The paper's ξ = 1e-6 is lost in float32 and the 10 of popular ports is not a small step, see `VirtualAdversarial`; ports also add 1e-8 to the norm that
    they divide by, which shrinks d to nothing where ξ is small.

    When not: for outputs that are not class logits; take divergence="mse" there.

    Source: Miyato et al. 2018, "Virtual adversarial training: a regularization method for supervised and semi-supervised learning", IEEE TPAMI 41(8) of
    August 2019 (online 2018), algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + vat(epsilon=1.0)
    """
    return weight * Consistency(VirtualAdversarial(epsilon, xi, iterations, divergence, wrt=wrt), divergence, hold_clean=True, at=at)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """−log p_y ``[N]``: the head that an attack climbs where the criterion has no base loss."""
    return F.cross_entropy(output, target, reduction="none")
