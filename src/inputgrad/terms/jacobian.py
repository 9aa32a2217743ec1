"""Terms on the sample's Jacobian J = ∂s/∂x, K rows of D features: its derivative along given directions, and its largest singular value."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import moved_like
from inputgrad.heads import EachOutput, Head, Inner, Of, RandomProjection, resolve
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_norm import flattened
from inputgrad.terms.missing_labels import counted, known
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.draws import normal_like
from inputgrad.variables import Key, Wrt, keys_of

EACH = EachOutput()


@dataclass(frozen=True, eq=False)
class DirectionalDerivative(Term):
    """The derivative of the scores along given directions of the input, squared, or its squared distance to a wanted one.

        R_n = Σ_k Σ_i (⟨∂s_nk/∂x_n, t_ni⟩ − wanted_nki)²

    directions: t, the directions in the input (tangent vectors), as they are and not normalised: ``[*input]`` for one direction that all samples share,
    ``[N, *input]`` for one per sample, ``[N, I, *input]`` for I per sample; a tensor, a name or position of the target, or a callable of the batch.
    wanted: the wanted derivative, a number or labels of the shape of the derivatives, ``[N, K, I]``; without the K for a head of one score, without the
    I where there is one direction. A name of the target or a callable gives labels, of which NaN is a missing one; 0 asks for invariance.
    of: the K scores s, by default each output of the model, at the cost of K backward passes; ``RandomProjection(n, scale="isotropic")`` estimates the
    sum over the outputs without bias by n of them, where the wanted derivative is 0.
    wrt, at: with respect to which input, and where.

    When not: for directions that an augmentation could draw, more augmented samples do the same at the price of the plain step.

    Source: Simard, Victorri, Le Cun & Denker 1992, "Tangent Prop: a formalism for specifying selected invariances in an adaptive network", NIPS 4.

    >>> import torch
    >>> from torch import nn
    >>> brighter = torch.ones(1, 8, 8)
    >>> criterion = nn.CrossEntropyLoss() + 0.1 * DirectionalDerivative(brighter)
    """

    directions: TensorRef
    wanted: float | str | Tensor | Callable[[Batch], Tensor] = 0.0
    of: Of = EACH
    wrt: Wrt = 0
    at: Place | None = None

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_tensor_ref("DirectionalDerivative: directions", self.directions)
        if not isinstance(self.wanted, (int, float)) or isinstance(self.wanted, bool):
            check_tensor_ref("DirectionalDerivative: wanted", self.wanted)
        elif not math.isfinite(self.wanted):
            raise ValueError(f"DirectionalDerivative: wanted must be a finite number, or labels; got {self.wanted}")
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"DirectionalDerivative: wrt names one input, since the directions are of one; got {self.wrt!r}. Add one term for each")

    @classmethod
    def example(cls) -> "DirectionalDerivative":
        return cls(lambda batch: torch.ones_like(batch.variable(0)))

    def __call__(self, batch: Batch) -> Tensor:
        key = keys_of(self.wrt)[0]
        gradient = batch.gradient(of=self.of, wrt=key, at=self.at)
        several_rows = gradient.dim() > batch.variable(key).dim()
        rows = gradient.reshape(len(gradient), gradient.shape[1] if several_rows else 1, -1)
        directions, several_directions = _directions(resolve_tensor("DirectionalDerivative: directions", self.directions, batch), gradient, several_rows)
        derivatives = _products(rows, directions)
        if not several_directions:
            derivatives = derivatives[..., 0]
        if not several_rows:
            derivatives = derivatives[:, 0]
        wanted = self._wanted(batch, derivatives)
        counts, wanted = (None, wanted) if isinstance(wanted, float) else known(wanted)
        return counted(derivatives - wanted, counts).square().reshape(len(derivatives), -1).sum(1)

    def _wanted(self, batch: Batch, derivatives: Tensor) -> Tensor | float:
        if isinstance(self.wanted, (int, float)):
            return float(self.wanted)
        wanted = resolve_tensor("DirectionalDerivative: wanted", self.wanted, batch)
        if wanted.shape != derivatives.shape:
            raise ValueError(
                f"DirectionalDerivative: wanted has shape {list(wanted.shape)}, and the derivatives along the directions have {list(derivatives.shape)} "
                "([N, K, I]; without K for a head of one score, without I for one direction): give one wanted value for each"
            )
        return moved_like(wanted, derivatives)


@dataclass(frozen=True)
class SpectralNorm(Term):
    """The largest singular value of each sample's Jacobian: by how much an input change can be amplified at most.

        R_n = max(0, σ(J_n) − bound)^power,   J_n = ∂s_n/∂x_n [K, D],   σ(J) = max_u ‖Jᵀu‖₂ over ‖u‖₂ = 1

    The leading left singular vector u is found first and is a constant; σ = ‖Jᵀu‖₂ is then one input gradient, of the score ⟨u, s⟩. At the exact u its
    parameter gradient uᵀ(∂J/∂θ)v is that of σ; an error δ of u costs δ² in the value and δ in the parameter gradient.
    iterations: None finds u from the whole Jacobian by K first-order backward passes: exact, and with every model, head, place and engine. A number
    k takes k steps of the power iteration u ← J Jᵀu from a random start, two backward passes each whatever K, and the memory of one row: for
    many outputs. A step multiplies what is left of the other singular vectors by (σ₂/σ₁)². J w is the derivative in u of ⟨Jᵀu, w⟩, which needs a second
    derivative of every operation; and it works for the model's own output at the batch's own inputs only. Cheaper
    from about K = 2k outputs on: on a small CNN the exact step takes 7 plain steps for 10 outputs and 69 for 100, that with k = 5 takes 8 for either.
    power: 1 for σ, 2 for its square. bound: what is allowed.
    of: the K scores s, by default each output of the model; ``heads.Inner("encoder")`` for a hidden layer. wrt, at: with respect to what, and where.
    At J = 0 the subgradient 0 is used; where two singular values are equal, that of one of them. Where the model couples the samples (batch normalisation
    in training mode), the outputs of others have a part in Jᵀu, and the value is not a singular value.

    When not: for one output σ is the norm of the gradient, which `GradientNorm` gives; for a bound on every input, bound the layers instead
    (``torch.nn.utils.parametrizations.spectral_norm``): this term sees the training samples.

    Source: Roth, Kilcher & Hofmann 2020, "Adversarial training is a form of data-dependent operator norm regularization", NeurIPS (power iteration on the
    data's own Jacobian); Johansson, Engsner, Strannegård & Mostad 2022, "Exact spectral norm regularization for neural networks".

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 0.01 * SpectralNorm()
    """

    iterations: int | None = None
    power: float = 1
    bound: float = 0
    of: Head | Callable[[Tensor, Any], Tensor] = EACH
    wrt: Wrt = 0
    at: Place | None = None

    def __post_init__(self) -> None:
        if self.iterations is not None and (isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1):
            raise ValueError(f"SpectralNorm: iterations must be a whole number of steps, at least 1, or None for the exact vector; got {self.iterations!r}")
        if not (1 <= self.power < math.inf):
            raise ValueError(f"SpectralNorm: power must be at least 1 and finite, got {self.power}: below 1 its derivative at zero is infinite")
        if not (0 <= self.bound < math.inf):
            raise ValueError(f"SpectralNorm: bound must be a norm, at least 0 and finite, got {self.bound}")
        if isinstance(self.of, str):
            raise ValueError(f"SpectralNorm: of={self.of!r} is one score per sample, whose norm is GradientNorm(of={self.of!r}); give a head of several rows")
        if isinstance(self.of.head if isinstance(self.of, Inner) else self.of, RandomProjection):
            raise ValueError("SpectralNorm: of=RandomProjection draws other rows in each pass; give EachOutput() or a head without draws")
        if self.iterations is not None and (self.at is not None or isinstance(self.of, Inner)):
            raise ValueError("SpectralNorm: iterations works for the model's own output at the batch's own inputs; leave it out with at= and with heads.Inner")

    def __call__(self, batch: Batch) -> Tensor:
        u = self._exact(batch) if self.iterations is None else self._iterated(batch, self.iterations)
        head = resolve(self.of)
        along: Head = replace(head, head=_Along(head.head, u)) if isinstance(head, Inner) else _Along(head, u)
        gradient = flattened(batch.gradient(of=along, wrt=self.wrt, at=self.at))
        if self.power == 2 and self.bound == 0:
            return gradient.square().sum(1)
        sigma = torch.linalg.vector_norm(gradient, dim=1)
        above = torch.relu(sigma - self.bound) if self.bound else sigma
        return above if self.power == 1 else above.pow(self.power)

    def _exact(self, batch: Batch) -> Tensor:
        """u ``[N, K]``: the last eigenvector of J Jᵀ."""
        keys = keys_of(self.wrt)
        parts = batch.gradient(of=self.of, wrt=keys, at=self.at, constant=True)
        if parts[0].dim() == batch.variable(keys[0]).dim():
            raise ValueError(f"SpectralNorm: of={self.of} gives one score per sample, whose norm is GradientNorm's; give a head of several rows, [N, K]")
        gram = sum(_products(rows, rows) for rows in (part.reshape(*part.shape[:2], -1) for part in parts))
        assert isinstance(gram, Tensor)
        return torch.linalg.eigh(gram.nan_to_num())[1][..., -1]  # what is not finite is seen, and told, in σ itself

    def _iterated(self, batch: Batch, steps: int) -> Tensor:
        """u ``[N, K]`` after this many steps of u ← J Jᵀu, from a random start."""
        variables: dict[Key, Tensor] = {key: batch.variable(key).clone().requires_grad_() for key in keys_of(self.wrt)}
        scores = resolve(self.of)(batch.output_with(variables), batch.target)
        if scores.dim() != 2:
            raise ValueError(f"SpectralNorm: of={self.of} gives one score per sample, whose norm is GradientNorm's; give a head of several rows, [N, K]")
        try:
            return _power_iteration(scores, tuple(variables.values()), steps)
        except RuntimeError as error:
            if messages.is_machine_error(error) or not messages.NO_SECOND_DERIVATIVE.is_in(error):
                raise
            raise ValueError("SpectralNorm: iterations needs a second derivative of every operation of the model; leave it out for the exact one") from error


@dataclass(frozen=True, eq=False)
class _Along(Head):
    """One score, ⟨u, s⟩ with a constant u ``[N, K]``, of a head of K rows."""

    head: Head
    u: Tensor

    def identity(self) -> Hashable:
        return (_Along, self.head.identity(), tuple(self.u.shape[1:]))

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        scores = self.head(output, target)
        return (self.u.to(scores.dtype) * scores).sum(1)


def _power_iteration(scores: Tensor, variables: tuple[Tensor, ...], steps: int) -> Tensor:
    """u ← J Jᵀu from a random start; a constant, so no engine is asked. J w is the derivative in c of ⟨Jᵀc, w⟩, for Jᵀc is linear in c."""
    cotangent = torch.zeros_like(scores).requires_grad_()
    transposed = torch.autograd.grad(scores, variables, cotangent, create_graph=True)
    u = _unit(normal_like(scores))
    for _ in range(steps):
        backward = torch.autograd.grad(scores, variables, u, retain_graph=True)
        (forward,) = torch.autograd.grad(transposed, cotangent, backward, retain_graph=True)
        u = _unit(forward)
    return u


def _unit(u: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros, which a Jacobian of zeros gives, stays."""
    length = u.detach().norm(dim=1, keepdim=True)
    return torch.where(length > 0, u.detach() / torch.where(length > 0, length, 1), 0)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """⟨a_k, b_i⟩ ``[N, K, I]`` of rows ``[N, K, D]`` and ``[N, I, D]``; half precision is widened, also where autocast would narrow it."""
    a = widened(a)
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.to(a.dtype).transpose(1, 2)


def _directions(given: Tensor, gradient: Tensor, several_rows: bool) -> tuple[Tensor, bool]:
    """``[N or 1, I, D]``, and whether there are several per sample."""
    size, shape = gradient.shape[0], gradient.shape[2 if several_rows else 1 :]
    given = moved_like(given, gradient)
    if given.shape == shape:
        return given.reshape(1, 1, -1), False
    if given.shape == (size, *shape):
        return given.reshape(size, 1, -1), False
    if given.dim() == len(shape) + 2 and given.shape[0] == size and given.shape[2:] == shape:
        return given.reshape(*given.shape[:2], -1), True
    raise ValueError(
        f"DirectionalDerivative: directions have shape {list(given.shape)}; expected that of one sample's input, {list(shape)}, one per sample, "
        f"{[size, *shape]}, or I per sample, [{size}, I{''.join(f', {length}' for length in shape)}]"
    )
