"""Matching of derivatives: Sobolev training, Jacobian matching, score matching."""

from typing import Literal

from torch import nn

from inputgrad.heads import EachOutput, RandomProjection
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import Weighted
from inputgrad.terms.gradient_match import GradientMatch, Norm
from inputgrad.terms.jacobian_match import JacobianMatch
from inputgrad.terms.score_matching import DenoisingScoreMatching, Directions, Form, SlicedEnergyMatching, SlicedScoreMatching
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def sobolev_training(weight: Weight = 1.0, *, jacobian: TensorRef = "jacobian", norm: Norm = "squared", wrt: Key = 0) -> Weighted:
    """Sobolev training: match the whole Jacobian of the model to labels.

        weight · mean_n Σ_c ‖∂f_c(x_n)/∂x − J*_nc‖²₂

    weight: the factor of the formula.
    jacobian: the labels J*, ``[N, C, *input]`` with C the outputs of a sample; ``"jacobian"`` names the part of a target ``{"value": …, "jacobian": …}``. For
      a model of one output that is ``[N, 1, *input]``. NaN is a missing label.
    norm: the distance, which the paper leaves open: "squared" as in the formula, or another of `GradientMatch`'s.
    wrt: as in `double_backpropagation`.

    There is no factor ½ and no mean over features. It costs C backward passes, and as many again for the parameters.

    When not: for many outputs (`sobolev_projections`); where labels and inputs have other scales (`differential_machine_learning`).

    Source: Czarnecki, Osindero, Jaderberg, Swirszcz & Pascanu 2017, "Sobolev training for neural networks", NeurIPS, eq. 1.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("value") + sobolev_training(0.1, jacobian="jacobian")
    """
    return weight * GradientMatch(jacobian, of=EachOutput(), norm=norm, wrt=wrt)


def sobolev_projections(
    weight: Weight = 1.0, *, wanted: TensorRef | nn.Module = "jacobian", n: int = 1, scale: Literal["unit", "isotropic"] = "unit", wrt: Key = 0
) -> Weighted:
    """Sobolev training with random projections: match the projected Jacobian of the model to that of the labels, or of a teacher.

        weight · mean_n (1/n) Σ_k ‖v_kᵀ ∂f(x_n)/∂x − v_kᵀ J*_n‖²₂,   v_k uniform on the unit sphere of the C outputs

    weight: the factor of the formula.
    wanted: J*, as the ``jacobian`` of `sobolev_training`, or a teacher: a module called on the same inputs, with outputs like the model's, whose gradient is
      a constant.
    n: projections per sample, drawn anew each step, one draw for both sides.
    scale: "unit" as published, whose expectation is 1/C of `sobolev_training`; "isotropic" multiplies v by √C, whose expectation is `sobolev_training`
      itself.
    wrt: as in `double_backpropagation`.

    When not: for a few outputs, where the whole Jacobian is as cheap and has no variance.

    Source: Czarnecki, Osindero, Jaderberg, Swirszcz & Pascanu 2017, "Sobolev training for neural networks", NeurIPS, eq. 2.

    >>> from torch import nn
    >>> teacher = nn.Linear(4, 3)
    >>> criterion = nn.MSELoss() + sobolev_projections(0.1, wanted=teacher)
    """
    return weight * JacobianMatch(wanted, of=RandomProjection(n, scale), wrt=wrt)


def jacobian_matching(
    weight: Weight = 1.0,
    *,
    teacher: nn.Module,
    of: Literal["label", "largest"] = "label",
    unit: bool = True,
    reduction: Literal["sum", "mean"] = "sum",
    wrt: Key = 0,
) -> Weighted:
    """Jacobian matching: the student's gradient of one output points where the teacher's does.

        weight · mean_n ‖∇f_c(x_n)/‖∇f_c‖₂ − ∇t_c(x_n)/‖∇t_c‖₂‖²₂

    weight: the factor of the formula.
    teacher: t, a module called on the same inputs in its current mode (call ``teacher.eval()`` first, as a rule); nothing in it learns.
    of: c, the true class ("label"), or the teacher's largest output ("largest") where there are no labels.
    unit: whether both gradients are divided by their norms, as in the formula; False takes them as they are.
    reduction: over the features of a sample: "sum" as in the paper; "mean", 1/D of it, as in public code (Knowledge-Distillation-Zoo).
    wrt: as in `double_backpropagation`.
    f: the student, the model.

    The term is 2 − 2·cos, so at most 4.

    When not: where teacher and student see different inputs. Without the match of the outputs themselves beside it, the student learns no class.

    Source: Srinivas & Fleuret 2018, "Knowledge transfer with Jacobian matching", ICML, eq. 10.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + jacobian_matching(0.1, teacher=nn.Linear(4, 3))
    """
    return weight * JacobianMatch(teacher, of=of, unit=unit, reduction=reduction, wrt=wrt)


def denoising_score_matching(weight: Weight = 1.0, *, sigma: TensorRef | float, power: Literal[0, 2, 4] = 0, wrt: Key = 0) -> Weighted:
    """Denoising score matching of an energy network: the gradient of the energy at noisy samples points back along the noise.

        weight · mean_n σ^power · ½ ‖∂E(x̃_n)/∂x − ε_n/σ‖²₂,   x̃ = x + σ ε,   ε ~ N(0, 1)

    weight: the factor of the formula.
    sigma: σ, in units of the input: a number, or a name in the target or a callable of the batch for one per sample, ``[N]``.
    power: 0 as published, 2 for networks conditioned on σ, 4 as in public code of sliced score matching.
    wrt: as in `double_backpropagation`.
    E: the energy, the model's output; p ∝ exp(−E).

    When not: for a network that gives the score itself, a plain regression; see also `DenoisingScoreMatching`.

    Source: Vincent 2011, "A connection between score matching and denoising autoencoders", Neural Computation 23(7), eq. 9.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, denoising_score_matching(sigma=0.1))
    """
    return weight * DenoisingScoreMatching(sigma, power=power, wrt=wrt)


def sliced_score_matching(
    weight: Weight = 1.0,
    *,
    model: Literal["score", "energy"] = "score",
    n: int = 1,
    directions: Directions = "rademacher",
    form: Form = "reduced",
    wrt: Key = 0,
) -> Weighted:
    """Sliced score matching: the score of the samples' distribution along random directions, without noise.

        weight · mean_n mean_v [ vᵀ ∂(vᵀ s(x_n))/∂x + ½ ‖s(x_n)‖²₂ ],   E v vᵀ = 1

    weight: the factor of the formula.
    model: what the network gives: "score", s itself, as many outputs as inputs, which every engine supports; or "energy", E with s = −∂E/∂x, whose second
      derivative with respect to the input is taken by double backward.
    n: random directions v per sample.
    directions: "rademacher" (signs), "gaussian", or "sphere" (uniform of length √D).
    form: "reduced" as in the formula, the paper's eq. 8, of lower variance; "plain", its eq. 7, has ½ (vᵀ s)² in place of ½ ‖s‖².
    wrt: as in `double_backpropagation`.

    When not: for energy networks of ReLU, whose second derivative is zero.

    Source: Song, Garg, Shi & Ermon 2019, "Sliced score matching: a scalable approach to density and score estimation", UAI, eq. 7 and 8.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, sliced_score_matching())
    """
    if model not in ("score", "energy"):
        raise ValueError(f'sliced_score_matching: model must be "score" or "energy", what the network gives; got {model!r}')
    kind = SlicedScoreMatching if model == "score" else SlicedEnergyMatching
    return weight * kind(n, directions, form, wrt=wrt)
