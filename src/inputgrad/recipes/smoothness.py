"""Smoothness: losses whose gradient turns little or whose surface is nearly linear near the input, and outputs that stay where an embedding moves.

The first three perturb inputs. The last three are for tokens: ``wrt="module:<name of the embedding>"``, the output of the module that embeds them.
"""

from typing import Literal

from inputgrad.perturbations.attacks import PGD, Noise, Norm
from inputgrad.perturbations.base import Bounds
from inputgrad.perturbations.divergences import Divergence
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.adversarial import AdversarialPath
from inputgrad.terms.base import Weighted
from inputgrad.terms.consistency import Consistency
from inputgrad.terms.linearity import Curvature, GradientAlignment, LeastLinear, LocalLinearity, SignDirection
from inputgrad.terms.random_triple import BetweenTwoPoints
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def grad_align(weight: Weight = 0.2, *, epsilon: float, hold_clean: bool = False, zero_gradients: Literal["keep", "drop"] = "keep", wrt: Key = 0) -> Weighted:
    """GradAlign: the loss's input gradient has the same direction at the input and at a random point near it.

        λ · mean_n [1 − cos(∇ℓ(x_n), ∇ℓ(x_n + η_n))],   η ~ U(−ε, ε) in each feature

    weight: λ, 0.2 for CIFAR-10 at ε = 8/255, larger for a larger ε.
    epsilon: ε, the size of the noise per feature, in units of the input.
    hold_clean: False learns through both gradients, as in the paper's formula; True holds ∇ℓ(x_n) constant, as in the authors' code.
    zero_gradients: "keep" counts samples with a zero gradient as 1 − cos = 1; "drop" leaves them out, as in the authors' code.
    wrt: as in `double_backpropagation`.
    ℓ: the sample's own base loss.

    For use beside `fast_adversarial`.

    When not: beside strong attacks of several steps, which do not overfit to one; it costs a second double backward.

    Source: Andriushchenko & Flammarion 2020, "Understanding and improving fast adversarial training", NeurIPS, section 5.

    >>> from torch import nn
    >>> from inputgrad.recipes.adversarial import fast_adversarial
    >>> criterion = nn.CrossEntropyLoss() + fast_adversarial(epsilon=8 / 255, bounds=(0, 1)) + grad_align(epsilon=8 / 255)
    """
    return weight * GradientAlignment(Noise(epsilon, wrt=wrt), hold_clean, zero_gradients)


def local_linearity(
    lambda_: float = 4.0,
    *,
    epsilon: float,
    mu: float = 3.0,
    steps: int = 10,
    step_size: float | None = None,
    norm: Norm = "linf",
    bounds: Bounds = None,
    wrt: Key = 0,
) -> Weighted:
    """Local linearity regularisation (LLR): the loss is nearly linear in a ball, and its slope there is small.

        mean_n λ |ℓ(x + δ) − ℓ(x) − δᵀ∇ℓ(x)| + μ |δᵀ∇ℓ(x)|,   δ ≈ argmax |ℓ(x + δ) − ℓ(x) − δᵀ∇ℓ(x)| over ‖δ‖ ≤ ε

    lambda_: λ, the weight of the deviation from linearity.
    epsilon: ε, the radius of the ball, in units of the input.
    mu: μ, the weight of the slope.
    steps: how many projected steps find δ, from a uniform start.
    step_size: the length of a step, 2.5 ε/steps by default.
    norm: of the ball, "linf" or "l2".
    bounds: low and high, to which x + δ is clipped; (0, 1) for images.
    wrt: the input that is moved.
    ℓ: the sample's own base loss.

    λ and μ are to be tuned for each data set and ε. The defaults 4 and 3 are quoted from the paper's CIFAR-10 runs, which could not be checked. The authors'
    CIFAR-10 settings (google-deepmind/local_linearity_regularizer) have λ = 4 and μ = 0.3 · 4 = 1.2 beside twice the cross-entropy: ``2 * cross_entropy +
    local_linearity(4.0, epsilon=8 / 255, mu=1.2)``; there ε grows from 0 over the first 500 steps, and δ is found by 10 steps of Adam with rate 0.1.

    Both parts have the same δ, and an absolute value each. The weight of both together is 1: multiply the recipe for another.

    When not: where the loss is piecewise linear in the input already.

    Source: Qin et al. 2019, "Adversarial robustness through local linearization", NeurIPS, section 4 and algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + local_linearity(epsilon=8 / 255, bounds=(0, 1))
    """
    return 1.0 * LocalLinearity(LeastLinear(epsilon, steps, step_size, norm, bounds=bounds, wrt=wrt), lambda_, mu)


def elle(weight: Weight = 5000.0, *, epsilon: float, wrt: Key = 0) -> Weighted:
    """ELLE: local linearity without gradients; the loss between two random points equals the average of the losses there.

        λ · mean_n [ ℓ(x_c) − (1 − α) ℓ(x_a) − α ℓ(x_b) ]²,   x_c = (1 − α) x_a + α x_b,   x_a, x_b ~ x + U(−ε, ε)^D,   one α ~ U(0, 1) per sample

    weight: λ, in the authors' scripts for CIFAR-10 5000 at ε = 16/255 to 20/255 and 10 000 above.
    epsilon: ε, the largest shift per feature, in units of the input.
    wrt: the input that is moved.
    ℓ: the sample's own base loss.

    For use beside `fast_adversarial` or `n_fgsm`. Points are not clipped. Three passes and no gradient with respect to the input. The authors' adaptive
    variant (ELLE-A) has λ = 0 until the term exceeds the mean of its past by two standard deviations, sets it to full there, and lets it decay by 0.99 per
    step: write that as a callable weight.

    When not: beside attacks of several steps, which do not overfit to one.

    Source: Abad Rocamora, Liu, Chrysos, Olmos & Cevher 2024, "Efficient local linearity regularization to overcome catastrophic overfitting", ICLR.

    >>> from torch import nn
    >>> from inputgrad.recipes.adversarial import fast_adversarial
    >>> criterion = nn.CrossEntropyLoss() + fast_adversarial(epsilon=8 / 255, bounds=(0, 1)) + elle(epsilon=8 / 255)
    """
    return weight * BetweenTwoPoints(epsilon, wrt)


def curvature(weight: Weight = 4.0, *, h: float = 1.5, squared: bool = True, wrt: Key = 0) -> Weighted:
    """CURE: the loss's input gradient changes little along a direction of large curvature.

        γ · mean_n ‖∇ℓ(x_n + h z_n) − ∇ℓ(x_n)‖²₂,   z = sign ∇ℓ(x) / ‖sign ∇ℓ(x)‖₂

    weight: γ, 4 as published; the factor 1/h² is in it.
    h: the step, in ‖·‖₂: 1.5 for images in [0, 1] as published, reached over the first epochs (a criterion for each value).
    squared: True as in the paper; False for the norm itself, as in the authors' code.
    wrt: the input that is moved.
    ℓ: the sample's own base loss.

    The authors' code takes the norm of the gradient of the batch's MEAN loss: its weight γ is γ/N here. z is constant, and x + h z is not clipped.

    When not: for piecewise-linear networks and a small h, where the gradient changes at kinks alone.

    Source: Moosavi-Dezfooli et al. 2019, "Robustness via curvature regularization, and vice versa", CVPR, section 4.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + curvature(h=0.5)
    """
    return weight * Curvature(SignDirection(h, wrt), squared)


def smart(
    weight: Weight = 1.0,
    *,
    wrt: Key,
    epsilon: float = 1e-5,
    steps: int = 1,
    step_size: float = 1e-3,
    start: float = 1e-5,
    divergence: Divergence = "symmetric_kl",
    mask: TensorRef | None = None,
) -> Weighted:
    """SMART's smoothness-inducing regularisation: the output stays the same while an attack moves the embeddings.

        λ · mean_n D(f(x_n), f(x̃_n)),   D = KL(p ‖ q) + KL(q ‖ p),   x̃ ≈ argmax D over ‖x̃ − x‖∞ ≤ ε,   x̃ ← Π(x̃ + η g/‖g‖∞)

    weight: λ, the factor of the term.
    wrt: the embedding, "module:<name>".
    epsilon: ε, the radius of the ball around the embeddings, 1e-5 as published, for large pretrained models; small networks of your own need a larger one.
    steps: how many steps the attack takes, 1 as published.
    step_size: η, 1e-3 in MT-DNN's class and in smart-pytorch; MT-DNN's training script passes 1e-5.
    start: the standard deviation of the normal noise that the attack starts from, without which the gradient is 0.
    divergence: D, "symmetric_kl" as in the formula; "mse" for regression.
    mask: positions that move, such as those that are not padding, ``[N, T]``; all by default.
    g: the gradient of D with respect to the embeddings.

    The projection Π is the paper's. The authors' code (MT-DNN) and its port smart-pytorch have none: there the start plus η times the raw gradient is divided
    by the largest entry of each token (plus 1e-6), so that the embedding of every token moves by about 1 in its largest entry, whatever η is. The paper's
    other half, Bregman proximal point optimisation, needs a teacher and is not here.

    When not: with ε = 1e-5 in half precision, where it is nothing.

    Source: Jiang et al. 2020, "SMART: robust and efficient fine-tuning for pre-trained natural language models through principled regularized
    optimization", ACL, section 3.1 and algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + smart(wrt="module:embedding", epsilon=0.1, step_size=0.1)
    """
    noise = Noise(start, "normal", wrt=wrt, mask=mask)
    return weight * Consistency(PGD(epsilon, steps, step_size, start=noise, of=divergence, scaling="max", wrt=wrt, mask=mask), divergence)


def free_lb(
    weight: Weight = 1.0, *, wrt: Key, epsilon: float = 0.1, steps: int = 3, step_size: float = 0.1, start: float | None = None, mask: TensorRef | None = None
) -> Weighted:
    """FreeLB: the mean loss along the steps of an attack on the embeddings.

        1/K Σ_{t=0}^{K−1} mean_n ℓ(f(X_n + δ_t), y_n),   δ_{t+1} = Π(δ_t + α g_t/‖g_t‖_F) into ‖δ‖_F ≤ ε,   δ_0 ~ U(−a, a)/√D

    weight: the factor of the term in the loss; at 1 the whole loss is the formula.
    wrt: the embedding X, "module:<name>".
    epsilon: ε, the radius of the ball in ‖·‖_F, per sample.
    steps: K, the number of points δ_0, …, δ_{K−1}; K − 1 ascents are made.
    step_size: α, the length of a step in ‖·‖_F.
    start: a, the size of the start, ε by default.
    mask: positions that move, such as tokens that are not padding, ``[N, T]``; all by default.
    D: the number of features of a sample that move.

    It replaces the base loss: the term is the mean along the path minus ℓ(X), which with the base loss at weight 1 leaves the mean. All K passes share one
    dropout mask, as the authors ask for; they tune ε, α and a for each task. Costs K passes for the loss and K − 1 for the ascent; the authors' loop shares
    them.

    When not: where one more pass for each step is too dear; then take `r3f`.

    Source: Zhu et al. 2020, "FreeLB: enhanced adversarial training for natural language understanding", ICLR, algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + free_lb(wrt="module:embedding", epsilon=0.5)
    """
    noise = Noise(epsilon if start is None else start, "inscribed", wrt=wrt, mask=mask)
    return weight * AdversarialPath(PGD(epsilon, steps - 1, step_size, "l2", noise, wrt=wrt, mask=mask), instead=True)


def r3f(
    weight: Weight = 1.0,
    *,
    wrt: Key,
    size: float = 1e-5,
    draw: Literal["uniform", "normal"] = "uniform",
    divergence: Divergence = "symmetric_kl",
    hold_variable: bool = False,
) -> Weighted:
    """R3F: the output stays the same while random noise, not an attack, moves the embeddings.

        λ · mean_n KL(f(x) ‖ f(x + z)) + KL(f(x + z) ‖ f(x)),   z ~ U(−σ, σ) or N(0, σ²)

    weight: λ, the factor of the term.
    wrt: the embedding, "module:<name>".
    size: σ, 1e-5 as published, for pretrained models.
    draw: the noise: "uniform", U(−σ, σ), as published, or "normal", N(0, σ²).
    divergence: "symmetric_kl" as in the formula; "mse" for regression.
    hold_variable: False lets the embedding learn by both branches, as in the paper's formula; True only by the clean one, as in the authors' code (fairseq),
      which starts the noisy branch from a detached embedding.

    When not: with σ = 1e-5 in half precision, where it is nothing; and where robustness against an attack is the aim (`smart`).

    Source: Aghajanyan et al. 2021, "Better fine-tuning by reducing representational collapse", ICLR, section 2.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + r3f(wrt="module:embedding", size=0.1)
    """
    return weight * Consistency(Noise(size, draw, wrt=wrt), divergence, hold_variable=hold_variable)
