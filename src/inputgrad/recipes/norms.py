"""Penalties on the norm of the input gradient or of the Jacobian."""

import math
from collections.abc import Callable

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.heads import Head, Inner, Of, RandomProjection
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import Weighted
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.jacobian import EACH, DirectionalDerivative, SpectralNorm
from inputgrad.terms.weights import Weight
from inputgrad.variables import Wrt


def double_backpropagation(weight: Weight = 1.0, *, wrt: Wrt = 0) -> Weighted:
    """Double backpropagation: half the squared norm of the gradient of each sample's own loss.

        weight · mean_n ½ ‖∂ℓ_n/∂x_n‖²₂

    weight: the factor of the formula.
    wrt: the input to differentiate with respect to.
    ℓ_n: the sample's own base loss, never divided by the batch size.

    The paper's energy has the factor ½ on both losses; Ross & Doshi-Velez (`input_gradient_regularization`) have none.

    When not: where the loss is close to zero on the training samples already, its gradient says little about the decision surface.

    Source: Drucker & LeCun 1992, "Improving generalization performance using double backpropagation", IEEE Transactions on Neural Networks 3(6).

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + double_backpropagation(0.1)
    """
    return weight * (0.5 * GradientNorm(of="loss", power=2, wrt=wrt))


def input_gradient_regularization(weight: Weight = 1.0, *, wrt: Wrt = 0) -> Weighted:
    """Input gradient regularisation: the squared norm of the gradient of each sample's own loss, without a factor ½.

        λ · mean_n ‖∂ℓ_n/∂x_n‖²₂,   ℓ_n the cross-entropy of the sample

    weight: λ, published per data set, from a sweep; start where the term is about a tenth of the loss.
    wrt: as in `double_backpropagation`.

    The paper writes the sum over the training samples of loss and penalty alike, which is the mean up to a common factor. Its code takes ½ the squared
    gradient of the batch-MEAN loss, 1/(2N) of the mean in the formula: λ in that code, at batches of N, is λ/(2N) here.

    When not: against attacks of a known size in L∞, adversarial training (`inputgrad.Adversarial`) brings more at the same cost.

    Source: Ross & Doshi-Velez 2018, "Improving the adversarial robustness and interpretability of deep neural networks by regularizing their input
    gradients", AAAI.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + input_gradient_regularization(0.1)
    """
    return weight * GradientNorm(of="loss", power=2, wrt=wrt)


def scaleable_gradient_regularization(weight: Weight = 0.1, *, p: float = 2, features: int | None = None, wrt: Wrt = 0) -> Weighted:
    """Scaleable input gradient regularisation: half the squared norm of the gradient of each sample's own loss, in the norm dual to the attack's.

        λ · mean_n ½ ‖∂ℓ_n/∂x_n‖²_p,   p = 1 against L∞ attacks, 2 against L2, ∞ against L1

    weight: λ, the factor of the term.
    p: the norm, 1, 2 or ``math.inf``.
    features: D, the number of input features of a sample. It divides ‖·‖₁ by √D, as the authors' code does, so that a weight means much the same for all
      three norms. None is the norm as the paper writes it.
    wrt: as in `double_backpropagation`.

    The authors differentiate a one-sided difference of the loss, with the step h = 0.01 along the unit direction. Their scheme is an engine here:
    ``InputGradientLoss(base, terms, engine=FiniteDifference("one_sided"))``. It keeps the value exact, where theirs is itself a difference. It moves each
    sample in proportion to the term's derivative with respect to that sample's gradient, where they move each by the same h: both agree as h → 0. On a
    network with ReLU their value at h = 0.01 is right to 1e-3 while its parameter gradient is off by 20 to 90 % (a small CNN), because units change sides
    between the two passes; the engine keeps the sides, and is off by less than 1e-3.

    When not: under strong attacks of many steps adversarial training holds more; and a network whose loss is close to zero on the training samples
    can hide its gradient (gradient masking): judge by an attack that does not use the gradient, too.

    Source: Finlay & Oberman 2021, "Scaleable input gradient regularization for adversarial robustness", Machine Learning with Applications 3.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + scaleable_gradient_regularization(0.1, p=1)
    """
    if p not in (1, 2, math.inf):
        raise ValueError(f"scaleable_gradient_regularization: p must be 1, 2 or math.inf, the dual of the attack's norm; got {p}. For others use GradientNorm")
    if features is not None and (p != 1 or features < 1):
        raise ValueError(f"scaleable_gradient_regularization: features={features} scales ‖·‖₁: give the number of input features, with p=1")
    return weight * (0.5 / (features or 1) * GradientNorm(p=p, of="loss", power=2, wrt=wrt))


def jacobian_regularization(weight: Weight = 0.01, *, projections: int | None = 1, wrt: Wrt = 0, at: Place | None = None) -> Weighted:
    """Jacobian regularisation: half the squared Frobenius norm of the Jacobian of the outputs, exact or from random projections.

        λ · mean_n ½ ‖J_n‖²_F,   J_n = ∂f(x_n)/∂x_n;   estimated by λ · mean_n ½ · C/n Σ_k ‖J_nᵀ u_nk‖²₂ with n random unit vectors u_k per sample

    weight: λ, 0.01 as published.
    projections: n, 1 as published, at the cost of n backward passes; None for the exact norm, at the cost of C.
    wrt: as in `double_backpropagation`.
    at: where the gradient is taken; at the samples by default.
    f: the model, with C outputs: logits, as in the paper.

    The estimate has no bias; its relative variance falls as 1/(n·N).

    When not: where one attack in mind has a known size: the norm over all outputs and directions spends itself on harmless ones. With one output it is the
    squared norm of the gradient, and projections are of no use.

    Source: Hoffman, Roberts & Yaida 2019, "Robust learning with Jacobian regularization", algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + jacobian_regularization(0.01)
    """
    head: Head = EACH if projections is None else RandomProjection(projections, scale="isotropic")
    return weight * (0.5 * GradientNorm(of=head, power=2, wrt=wrt, at=at))


def jacobian_spectral_norm(weight: Weight = 0.01, *, iterations: int | None = None, power: float = 2, wrt: Wrt = 0) -> Weighted:
    """Data-dependent spectral norm regularisation: half the squared largest singular value of the Jacobian at each sample.

        λ · mean_n ½ σ(J_n)²,   J_n = ∂f(x_n)/∂x_n,   σ(J) = max_u ‖Jᵀu‖₂ over ‖u‖₂ = 1

    weight: λ, the factor of the term.
    iterations: None for the exact singular vector, at the cost of C first-order passes for C outputs; a number for so many steps of the power iteration
      (`SpectralNorm`).
    power: 2 for σ², whose half Yoshida & Miyato (2017) take of the layers' weights; 1 for ½ σ, as for plug-and-play denoisers.
    wrt: as in `double_backpropagation`.

    When not: for one output (take the norm of its gradient). A network with a small σ at the samples can have a large one beside them.

    Source: Roth, Kilcher & Hofmann 2020, "Adversarial training is a form of data-dependent operator norm regularization", NeurIPS.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + jacobian_spectral_norm(0.01)
    """
    return weight * (0.5 * SpectralNorm(iterations, power, wrt=wrt))


def contractive_autoencoder(weight: Weight = 0.1, *, encoder: str = "encoder", wrt: Wrt = 0) -> Weighted:
    """Contractive autoencoder: the squared Frobenius norm of the Jacobian of the hidden representation.

        λ · mean_n ‖∂h(x_n)/∂x_n‖²_F

    weight: λ, chosen by validation in the paper; 0.1 is not a published value.
    encoder: the name of the inner module whose output is h.
    wrt: as in `double_backpropagation`.
    h: the hidden representation, flattened to H values per sample.

    The model returns the reconstruction, and the target is the input: ``criterion(autoencoder, x, x)``. Costs H backward passes; for wide layers take
    ``GradientNorm(of=heads.Inner(encoder, heads.RandomProjection(n, scale="isotropic")), power=2)``.

    For one sigmoid layer it is Σ_j (h_j (1 − h_j))² Σ_i W_ji², the form of the paper. Much public code takes W from ``state_dict``, which detaches it, so
    that the penalty trains through h alone; or keeps the form where the layer is not a sigmoid, which is another penalty. The paper's reconstruction loss is
    a SUM over the features; ``nn.MSELoss()`` is their mean, beside which the same λ weighs D times as much.

    When not: where the decoder is free to scale up, a small h contracts without forgetting anything: tie the weights, as in the paper, or bound them.

    Source: Rifai, Vincent, Muller, Glorot & Bengio 2011, "Contractive auto-encoders: explicit invariance during feature extraction", ICML, eq. 1.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + contractive_autoencoder(0.1, encoder="0")  # nn.Sequential(encoder, decoder)
    """
    return weight * GradientNorm(of=Inner(encoder), power=2, wrt=wrt)


def tangent_propagation(
    weight: Weight = 1.0, *, tangents: TensorRef, wanted: float | str | Tensor | Callable[[Batch], Tensor] = 0.0, of: Of = EACH, wrt: Wrt = 0
) -> Weighted:
    """Tangent propagation: the outputs do not change, to first order, along given directions of the input.

        μ · mean_n Σ_i Σ_c (⟨∂f_c(x_n)/∂x_n, t_ni⟩ − wanted_nci)²

    weight: μ, the factor of the term.
    tangents: the tangent vectors t: ``[N, I, *input]`` for I per sample, ``[N, *input]`` for one, ``[*input]`` for one that all share; a tensor, a name in
      the target, or a callable of the batch that computes them.
    wanted: the wanted derivatives, 0 for invariance.
    of: the outputs f_c, by default each of the model's, at the cost of C backward passes.
    wrt: as in `double_backpropagation`.
    t_i: ∂s_i(α, x)/∂α at α = 0, for transformations s_i such as small rotations and shifts.

    The length of a tangent vector weighs its transformation; the paper's have the units of the transformation's parameter.

    When not: for transformations that are cheap to draw, augmentation does the same and more than to first order.

    Source: Simard, Victorri, Le Cun & Denker 1992, "Tangent Prop: a formalism for specifying selected invariances in an adaptive network", NIPS 4.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("label", "cross_entropy") + tangent_propagation(0.1, tangents="tangents")
    """
    return weight * DirectionalDerivative(tangents, wanted, of=of, wrt=wrt)


def duq(weight: Weight = 0.5, *, wrt: Wrt = 0) -> Weighted:
    """The gradient penalty of DUQ: the input gradient of the summed outputs has norm 1.

        λ · mean_n (‖∂/∂x_n Σ_c K_c(x_n)‖₂ − 1)²

    weight: λ, 0.5 as in the authors' final run on CIFAR-10 (their script's default is 0.75), 1.0 for their two moons.
    wrt: as in `double_backpropagation`.
    K_c: the model's outputs, in DUQ the kernel values of the classes, ``[N, C]``.

    It is two-sided: a flat network is penalised as well, so that inputs far from the data stay far in feature space. The paper takes the squared norm in its
    text, ‖·‖²₂ − 1; the code, followed here, the norm.

    When not: for logits of a softmax network, whose distance from the data means nothing.

    Source: van Amersfoort, Smith, Teh & Gal 2020, "Uncertainty estimation using a single deep deterministic neural network", ICML, and their code.

    >>> from torch import nn
    >>> criterion = nn.BCELoss() + duq()
    """
    return weight * GradientNorm(power=2, center=1, wrt=wrt)


def lipschitz_hinge(weight: Weight = 1.0, *, bound: float = 1.0, of: Of | None = "output", wrt: Wrt = 0, at: Place | None = None) -> Weighted:
    """Lipschitz hinge: gradients are penalised only where their norm is above a bound.

        λ · mean_n max(0, ‖∂s_n/∂x_n‖₂ − K)²

    weight: λ, the factor of the term.
    bound: K, the Lipschitz constant that is allowed, in units of output over input.
    of: the score s; None for the whole output, where ‖·‖₂ is the largest singular value of its Jacobian (`SpectralNorm`), which alone bounds a function of
      several outputs.
    wrt: as in `double_backpropagation`.
    at: another place than the samples; between real and fake ones it is WGAN-LP (`wgan_lp`).

    When not: as a guarantee. It bounds the gradient at the samples that it sees; a network that is 1-Lipschitz everywhere must be built so.

    Source: Petzka, Fischer & Lukovnikov 2018, "On the regularization of Wasserstein GANs", ICLR.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + lipschitz_hinge(10.0, bound=1.0)
    """
    if of is None:
        return weight * SpectralNorm(power=2, bound=bound, wrt=wrt, at=at)
    return weight * GradientNorm(power=2, center=bound, side="above", of=of, wrt=wrt, at=at)
