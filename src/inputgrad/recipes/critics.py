"""Penalties on the critics of generative adversarial networks.

The critic is the model, the real samples are the inputs, and the fake ones come as the target: ``penalty(critic, real, fake)``. These are held constant.
"""

import torch.nn.functional as F
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.attacks import Noise
from inputgrad.places.perturbed import Perturbed
from inputgrad.places.samples import Given, Interpolate, Samples
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import TermSum, Weighted
from inputgrad.terms.batchwise import BatchMean, BatchNoise
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def whole_target(batch: Batch) -> Tensor:
    """The target as it is: where the fake samples are, if nothing else is said."""
    if not isinstance(batch.target, Tensor):
        raise ValueError(
            f"the fake samples are expected as the target, a tensor: penalty(critic, real, fake); got {type(batch.target).__name__}. "
            'Where the target holds them under a name or position, say which: fake="fake"'
        )
    return batch.target


def wgan_gp(weight: Weight = 10.0, *, center: float = 1, fake: TensorRef = whole_target, wrt: Key = 0) -> Weighted:
    """WGAN-GP: the critic's gradient has norm 1 between real and fake samples.

        λ · mean_n (‖∂D(x̂_n)/∂x̂_n‖₂ − 1)²,   x̂ = ε x + (1 − ε) x̃,   one ε ~ U(0, 1) per sample

    weight: λ, 10 as published.
    center: the wanted norm, 1 as published; 0 is GAN_stability's "wgangp0".
    fake: the fake samples x̃: by default the whole target, else a name or position in it, a tensor, or a callable of the batch.
    wrt: the input that holds the samples, where the critic has others, such as labels.
    D: the critic, the model.
    x: real samples, the inputs.

    ε multiplies the real samples, as in algorithm 1; the authors' code multiplies the fake ones by it, which is the same in distribution. In that code the
    norm has no derivative at 0 and gives NaN; here the subgradient is 0.

    When not: in a critic with batch normalisation, which couples the samples (take layer normalisation); and with one critic step for each generator step
    it need not converge (Mescheder et al. 2018), where r1 does.
    Source: Gulrajani et al. 2017, "Improved training of Wasserstein GANs", NeurIPS, eq. 3 and algorithm 1.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, wgan_gp())  # loss = critic(fake).mean() - critic(real).mean() + penalty(critic, real, fake)
    """
    return weight * GradientNorm(power=2, center=center, wrt=wrt, at=Interpolate(fake, wrt))


def wgan_lp(weight: Weight = 10.0, *, fake: TensorRef = whole_target, wrt: Key = 0) -> Weighted:
    """WGAN-LP: the critic's gradient has a norm of at most 1 between real and fake samples.

        λ · mean_n max(0, ‖∂D(x̂_n)/∂x̂_n‖₂ − 1)²,   x̂ = ε x + (1 − ε) x̃,   one ε ~ U(0, 1) per sample

    weight: λ, 10 as in WGAN-GP; the paper finds that its penalty depends little on it.
    fake, wrt: as in `wgan_gp`.
    D, x: as in `wgan_gp`.

    The hinge is inside the square: smaller norms cost nothing, as the theory of the Wasserstein distance asks for.

    When not: where the critic's output is used as a distance, since a critic may then be flatter than it need be; see also `wgan_gp`.
    Source: Petzka, Fischer & Lukovnikov 2018, "On the regularization of Wasserstein GANs", ICLR, section 5.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, wgan_lp())  # loss = critic(fake).mean() - critic(real).mean() + penalty(critic, real, fake)
    """
    return weight * GradientNorm(power=2, center=1, side="above", wrt=wrt, at=Interpolate(fake, wrt))


def dragan(weight: Weight = 10.0, *, center: float = 1, size: float = 0.5, interpolate: bool = True, variance: float | None = None, wrt: Key = 0) -> Weighted:
    """DRAGAN: the critic's gradient has norm 1 around the real samples.

        λ · mean_n (‖∂D(x̃_n)/∂x̃_n‖₂ − k)²,   x̃ = x + α · 0.5 · std(x) · u,   u ~ U(0, 1)^D,   one α ~ U(0, 1) per sample

    weight: λ, 10 as published.
    center: k, the wanted norm, 1 as published.
    size: the 0.5 of the formula, the largest noise in units of std(x).
    interpolate: False leaves out α, as many ports do.
    variance: c, in squared units of the input: noise N(0, c) in place of the formula's, as in the paper's text; ``size`` and ``interpolate`` then have no
      effect.
    wrt: as in `wgan_gp`.
    D: the critic, the model.
    x: real samples, the inputs; fake ones are not needed.
    std: ONE number, over the batch and all features with divisor N·D.

    The penalty is a statistic of the batch: it does not split into micro-batches. The noise is that of the authors' code. With ``variance`` the penalty of
    each sample depends on that sample alone.

    When not: where the fakes are far from the data: nothing bounds the critic there; take `wgan_gp` or `r3gan`.
    Source: Kodali, Abernethy, Hays & Kira 2017, "On convergence and stability of GANs", arXiv:1705.07215, section 2.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, dragan())  # loss = … + penalty(critic, real)
    """
    if variance is None:
        return weight * BatchMean(GradientNorm(power=2, center=center, wrt=wrt, at=Perturbed(BatchNoise(size, interpolate, wrt))))
    if not 0 <= variance < float("inf"):
        raise ValueError(f"dragan: variance must be at least 0 and finite, in squared units of the input; got {variance}")
    return weight * GradientNorm(power=2, center=center, wrt=wrt, at=Perturbed(Noise(variance**0.5, "normal", wrt=wrt)))


def r1(gamma: Weight = 10.0, *, half: bool = True, wrt: Key = 0) -> Weighted:
    """R1: the critic is flat at the real samples.

        γ/2 · mean_n ‖∂D(x_n)/∂x_n‖²₂

    gamma: γ, 10 as published.
    half: whether the factor ½ is there, as in the paper and StyleGAN2; False leaves it out, as the authors' GAN_stability does, where the same γ acts twice
      as strongly.
    wrt: as in `wgan_gp`.
    D: the critic, before any sigmoid.
    x: real samples, the inputs.

    When not: for a Wasserstein critic whose value should be a distance (`wgan_gp`).
    Source: Mescheder, Geiger & Nowozin 2018, "Which training methods for GANs do actually converge?", ICML, eq. 9.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, r1())  # loss = softplus(critic(fake)).mean() + softplus(-critic(real)).mean() + penalty(critic, real)
    """
    return gamma * (_scale(half) * GradientNorm(power=2, wrt=wrt))


def r2(gamma: Weight = 10.0, *, half: bool = True, fake: Samples = whole_target, wrt: Key = 0) -> Weighted:
    """R2: the critic is flat at the fake samples.

        γ/2 · mean_n ‖∂D(x̃_n)/∂x̃_n‖²₂

    gamma, half: as in `r1`.
    fake: as in `wgan_gp`; of any number, and with labels of their own a dict or tuple, ``{"x": "fake", "label": "fake_label"}`` for parts of the target.
    wrt: as in `wgan_gp`.
    D: the critic, before any sigmoid.

    When not: by itself, early in training, when the fakes are nowhere near the data; beside `r1` (`r3gan`) it bounds the critic on both sides.
    Source: Mescheder, Geiger & Nowozin 2018, "Which training methods for GANs do actually converge?", ICML, eq. 10.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, r2())  # loss = softplus(critic(fake)).mean() + softplus(-critic(real)).mean() + penalty(critic, real, fake)

    >>> own_labels = ig.InputGradientLoss(None, r2(fake={"x": "fake", "label": "fake_label"}, wrt="x"))
    >>> # penalty = own_labels(critic, {"x": real, "label": label}, {"fake": fake, "fake_label": fake_label})
    """
    return gamma * (_scale(half) * GradientNorm(power=2, wrt=wrt, at=Given(fake, wrt)))


def lazy_r1(gamma: Weight = 10.0, *, every: int = 16, half: bool = True, wrt: Key = 0) -> Weighted | TermSum:
    """Lazy R1: R1 at every k-th step only, with k times the weight.

        k · γ/2 · mean_n ‖∂D(x_n)/∂x_n‖²₂   where k divides the step number, 0 elsewhere

    gamma: as in `r1`; StyleGAN2's weight of 5 is ``gamma=10``.
    half: as in `r1`.
    every: k, 16 as published.
    wrt: as in `wgan_gp`.
    D, x: as in `r1`.

    k is in the weight already: ``16 * lazy_r1()`` would weight the penalty 16 · 16 times. ``16 * r1()`` is for a loop that counts the steps itself.

    The penalty is added to the loss of an ordinary step, so Adam's settings stay as they are. The authors give it an optimiser step of its OWN after each
    k-th ordinary step, with c = k / (k + 1), lr′ = c·lr and β′ = β^c. For that, call a criterion of ``every * r1()`` yourself and make the optimiser with
    `inputgrad.lazy_adam`, as the second example does.

    When not: where the penalty is cheap, or with few steps in all: a penalty at each step is smoother.
    Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", CVPR, appendix B.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, lazy_r1())  # loss = … + penalty(critic, real), at each step

    >>> import torch
    >>> critic = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(critic.parameters(), **ig.lazy_adam(16, lr=2e-3, betas=(0.0, 0.99)))
    >>> own_step = ig.InputGradientLoss(None, 16 * r1())  # after each 16th ordinary step: own_step(critic, real).backward(); optimizer.step()
    """
    return r1(gamma, half=half, wrt=wrt).scheduled(every=every)


def relativistic_pairing(output: Tensor, target: object = None) -> Tensor:
    """R3GAN's base loss of the critic, softplus(D(x̃) − D(x)) for each pair, of a batch that holds the real samples and then as many fake ones.

    output: the critic's output for that batch, ``[2N, ...]``.
    target: not used.

    Returns ``[N, ...]``.
    """
    if output.shape[0] % 2:
        raise ValueError(f"relativistic_pairing: the inputs must be torch.cat([real, fake]), as many of either, got {output.shape[0]} samples")
    real, fake = output.chunk(2)
    return F.softplus(fake - real)


def r3gan(gamma: Weight = 1.0, *, half: bool = True, fake: Samples = whole_target, wrt: Key = 0) -> TermSum:
    """R3GAN's pair of penalties: R1 and R2, the critic is flat at real and at fake samples.

        γ/2 · mean_n ‖∂D(x_n)/∂x_n‖²₂ + γ/2 · mean_n ‖∂D(x̃_n)/∂x̃_n‖²₂

    gamma: γ, which depends on the data: 1 on stacked MNIST, 0.05 to 150 in the authors' settings for images, lowered to a tenth in the course of training (by
      a callable of the step number).
    half: as in `r1`.
    fake: as in `r2`.
    wrt: as in `wgan_gp`.
    D, x: as in `r1`.

    The paper's loss pairs each real sample with a fake one, softplus(D(x̃) − D(x)). That is a base loss of both samples at once, so it does not fit the form
    (output, target) with the fakes as the target: add it yourself, as in the first example. Or give the critic both in ONE batch, as in the second: the mean
    over 2N samples of γ‖·‖² is the pair of penalties, at one pass of the critic. The generator's loss is the same with real and fake exchanged, softplus(D(x)
    − D(x̃)): ``relativistic_pairing(critic(torch.cat([fake, real]))).mean()``.

    When not: with batch normalisation in the critic. For a Wasserstein critic see `wgan_gp`.
    Source: Huang, Gokaslan, Kuleshov & Tompkin 2024, "The GAN is dead; long live the GAN! A modern GAN baseline", NeurIPS, eq. 2 to 5.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, r3gan())  # loss = softplus(critic(fake) - critic(real)).mean() + penalty(critic, real, fake)

    >>> criterion = ig.InputGradientLoss(relativistic_pairing, 1.0 * ig.GradientNorm(power=2))  # loss = criterion(critic, torch.cat([real, fake]))
    """
    both: TermSum = r1(gamma, half=half, wrt=wrt) + r2(gamma, half=half, fake=fake, wrt=wrt)
    return both


def adversarial_motion_prior(weight: Weight = 10.0, *, wrt: Key = 0) -> Weighted:
    """The gradient penalty of adversarial motion priors (AMP): the discriminator is flat at demonstrated transitions.

        w_gp/2 · mean_n ‖∂D(φ_n)/∂φ_n‖²₂

    weight: w_gp, 10 as published; in the authors' later code (MimicKit) 5 or 10 for most characters.
    wrt: the input that holds the features; ``"module:normalizer"`` for the output of a module that normalises them.
    D: the discriminator, the model.
    φ: features of transitions from the demonstrations, the inputs.

    It is `r1`, under the name and settings of this field. The authors take the gradient with respect to NORMALISED features: normalise them before the call,
    or name the module that does. MimicKit has a second half at the agent's transitions: ``r3gan(5.0)`` with these as the target. For imitation by a WGAN
    critic, as in the popular code of GAIL (ikostrikov), take `wgan_gp` with expert pairs as the inputs.

    When not: for policies and values, which are not discriminators.
    Source: Peng, Ma, Abbeel, Levine & Kanazawa 2021, "AMP: adversarial motion priors for stylized physics-based character control", ACM Transactions on
    Graphics 40(4).

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, adversarial_motion_prior())  # loss = (D(demo) - 1)².mean() + (D(agent) + 1)².mean() + penalty(D, demo)
    """
    return r1(weight, wrt=wrt)


def _scale(half: bool) -> float:
    return 0.5 if half else 1.0
