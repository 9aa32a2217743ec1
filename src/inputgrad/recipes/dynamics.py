"""Dynamics: learned Lagrangians, and regular vector fields of neural differential equations and equilibrium models."""

from inputgrad.loss import InputGradientLoss
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import TermSum, Weighted
from inputgrad.terms.gradient_match import GradientMatch, Norm, Reduction
from inputgrad.terms.lagrangian import LagrangesEquations
from inputgrad.terms.vector_field import KineticEnergy, NormalProjection
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def lagrangian_network(
    weight: Weight = 1.0, *, acceleration: TensorRef | None = None, norm: Norm = "squared", reduction: Reduction = "mean", wrt: Key = 0
) -> InputGradientLoss:
    """Lagrangian neural network: match the accelerations of a learned Lagrangian to measured ones. The whole loss.

        weight · mean_n 1/d ‖q̈_n − q̈*_n‖²₂,   q̈ = (∂²L/∂q̇∂q̇)⁺ (∂L/∂q − (∂²L/∂q̇∂q) q̇)        ⁺: the pseudo-inverse

    weight: the factor of the formula.
    acceleration: q̈*, ``[N, d]``, the target itself by default; NaN is a missing label.
    norm: "squared" as in the formula; "absolute" as in one of the authors' scripts.
    reduction: over the d components: "mean" as in the formula, or "sum".
    wrt: the input x = [q, q̇], ``[N, 2d]``.
    L: the Lagrangian, the model's output, one number per sample.

    The authors' example of the double pendulum takes the mean of squares over velocities and accelerations. The velocities are right by themselves, so that
    is half of the formula here. Their other script takes norm="absolute", reduction="sum", or the sum of squares, of Runge-Kutta steps. It also takes angles
    modulo 2π: do that in the model.

    When not: with friction or a drive; where momenta are measured, `hamiltonian_network` needs no second derivative.

    Source: Cranmer, Greydanus, Hoyer, Battaglia, Spergel & Ho 2020, "Lagrangian neural networks", ICLR workshop (arXiv:2003.04630).

    >>> criterion = lagrangian_network()
    """
    return InputGradientLoss(None, weight * LagrangesEquations(acceleration, norm, reduction, wrt=wrt))


def neural_ode_regularization(kinetic: Weight = 0.01, *, jacobian: Weight = 0.01, reduction: Reduction = "mean", wrt: Key = 0) -> TermSum:
    """Kinetic and Jacobian regularisation of a neural ODE (RNODE): straight paths that need few solver steps.

        λ_K · mean_n 1/(2D) ‖f(z_n)‖²₂ + λ_J · mean_n 1/D ‖εᵀ ∂f(z_n)/∂z‖²₂,   ε ~ N(0, 1)^D

    kinetic: λ_K, 0.01 as published.
    jacobian: λ_J, 0.01 as published.
    reduction: "mean" over the D features as in the formula and the authors' code, with its ½ on the first part; "sum" as in the paper, ‖f‖² and ‖εᵀ∂f‖².
    wrt: the input z.
    f: the model, the vector field dz/dt, called at points z of the trajectories (and the time, as another input).

    An integral over a trajectory is the mean over its points, times its duration. The authors draw one ε per solve, here per step.

    When not: where the solver integrates these quantities with the state, as the authors' code does: then they cost nothing extra.

    Source: Finlay, Jacobsen, Nurbekyan & Oberman 2020, "How to train your neural ODE: the world of Jacobian and kinetic regularization", ICML.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + neural_ode_regularization()
    """
    straight = kinetic * KineticEnergy(reduction)
    return TermSum((*straight.weighted(), *(jacobian * GradientMatch(None, of=NormalProjection(), reduction=reduction, wrt=wrt)).weighted()))


def deq_jacobian(weight: Weight = 1.0, *, n: int = 1, wrt: Key = 0) -> Weighted:
    """Jacobian regularisation of a deep equilibrium model: the layer contracts at its fixed point.

        γ · mean_n 1/(n D) Σ_k ‖v_kᵀ ∂f(z_n)/∂z‖²₂,   v_k ~ N(0, 1)^D        ≈ γ ‖∂f/∂z‖²_F / D

    weight: γ, 1.9 and 2.0 at 35 % and 40 % of the steps, drawn at random, in the authors' WikiText-103 scripts.
    n: random directions per step, 1 in the authors' language models, 2 in their vision models.
    wrt: the input z.
    f: the model, the layer z → f(z, x), called at the fixed point z* (and x, as another input).

    When not: away from the fixed point, where the Jacobian says nothing about convergence; for functions that do not map a space into itself
    (`jacobian_regularization`).

    Source: Bai, Koltun & Kolter 2021, "Stabilizing equilibrium models by Jacobian regularization", ICML.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, deq_jacobian(2.0))  # loss = … + penalty(layer, (fixed_point, x))
    """
    return weight * GradientMatch(None, of=NormalProjection(n), reduction="mean", wrt=wrt)
