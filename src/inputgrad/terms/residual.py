"""Residuals of differential equations: the model is the solution, its derivatives are taken by name, and the loss is how far they are from the equation."""

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.identity import identity_of
from inputgrad.memory import memory
from inputgrad.operators.batch_fields import field_of_batch
from inputgrad.operators.coordinates import Names, names_or_none
from inputgrad.operators.differentiation import check_derivatives
from inputgrad.operators.fields import Field
from inputgrad.passes.flat_models import warn_if_field_is_flat
from inputgrad.places.base import Place, check_place
from inputgrad.terms.base import Term
from inputgrad.variables import Key, Wrt, keys_of

Equation = Callable[[Field], Any]
"""field -> what is zero for a solution: r ``[N]``, or several in a tuple."""


@dataclass(frozen=True)
class OnField(Term):
    """What the terms on a field share: the equation, the names, and where."""

    function: Equation
    names: Names | None = None
    wrt: Wrt | None = None
    outputs: Names | None = None
    at: Place | None = None

    def __post_init__(self) -> None:
        if isinstance(self.function, type) or not callable(self.function):
            raise TypeError(f"{type(self).__name__}: function must be a callable of the field that returns the residual [N], got {self.function!r}")
        names_or_none(f"{type(self).__name__}: names", self.names)
        names_or_none(f"{type(self).__name__}: outputs", self.outputs)
        if self.wrt is not None:
            keys_of(self.wrt)
        if self.at is not None:
            check_place(self.at)

    def variables(self) -> tuple[Key, ...]:
        """None of the batch's own pass: the field has a pass of its own. A place may look at the input that it moves."""
        return () if self.at is None else keys_of(getattr(self.at, "wrt", 0))

    def field(self, batch: Batch) -> Field:
        return field_of_batch(batch, self.names, self.wrt, self.outputs, self.at, self.identity(batch))

    def identity(self, batch: Batch) -> Hashable:
        """What tells the equation from others."""
        return self._known(batch)[0]

    def _known(self, batch: Batch) -> tuple[Hashable, set[Any]]:
        """The equation's identity, and what fields of it were asked for when they were looked at (`proven`). Does not keep the equation alive."""

        def found() -> tuple[Hashable, set[Any]]:
            return identity_of(self.function), set()

        try:
            key = ("equation", type(self), weakref.ref(self.function))
            hash(key)
        except TypeError:
            return found()
        known: tuple[Hashable, set[Any]] = batch.known(key, found)
        return known

    def equations(self, field: Field) -> list[Tensor]:
        """The residuals r ``[N]`` of each equation, checked."""
        try:
            found = field.once(self.function)
        except AttributeError as error:
            if "'Tensor' object has no attribute 'd'" in str(error):
                name = field.names[0]
                error.add_note(f"u.d({name!r}) is a tensor: write u.d({name * 2!r}) for u.d({name!r}).d({name!r}), and u.of(quantity, {name!r}) for a product")
            raise
        several = list(found) if isinstance(found, (tuple, list)) else [found]
        size = field.size
        for r in several:
            if not isinstance(r, Tensor) or r.shape != (size,):
                got = f"shape {list(r.shape)}" if isinstance(r, Tensor) else type(r).__name__
                hint = ": [N, 1] and [N] were broadcast against each other; take coordinates from the field" if got == f"shape {[size, size]}" else ""
                raise ValueError(f"{type(self).__name__}: the equation must return one residual per point, [N] = [{size}], or a tuple of such; got {got}{hint}")
        if not several:
            raise ValueError(f"{type(self).__name__}: the equation returned no residual")
        return several

    def proven(self, quantities: list[Tensor], batch: Batch, field: Field) -> list[Tensor]:
        """The quantities, once it is known that they have a derivative in the parameters: looked at for the first time that this term meets the model."""
        asked, (identity, proven) = field.requests, self._known(batch)
        if asked in proven:
            return quantities
        checked, kind = memory(batch.model).checked, (type(self), identity)
        if kind not in checked:
            check_derivatives(quantities)
            checked.add(kind)
        decided = warn_if_field_is_flat(type(self).__name__, batch.model, field)
        if decided or (decided is None and ("of", ()) not in asked):  # of what quantities are made does not show in what was asked for
            proven.add(asked)
        return quantities


@dataclass(frozen=True)
class Residual(OnField):
    """The residual of a differential equation, a boundary condition or an initial condition, squared: a physics-informed network's loss.

        R_n = r(x_n)²,   r = N[u](x)        u: the model;   N: the equation, zero for a solution

    function: ``u -> r`` of the `inputgrad.Field` u: ``lambda u: u.d("t") + u.value * u.d("x") - 0.01 * u.d("xx")``. Returns r ``[N]``, or a tuple of
    residuals for a system; R is then the MEAN of their squares over the equations. For weights of their own take a term for each.
    names: of the coordinates, in the order of the inputs' columns: ("x", "t") or "xt"; inputs in a dict bring their names.
    wrt: the inputs that are coordinates, where not all are. outputs: the names of several outputs. at: other points than the batch's inputs, such as
    ``Given(boundary)``, any number of them.

    It differentiates the model itself, on the step's own dropout masks and to any order, so every engine gives the same. Terms with the same names and
    place share one pass and its derivatives; the same ``function`` object is computed once for them.

    When not: on networks of ReLU units, whose second derivatives are zero: take tanh, SiLU or sines. Where the model's attention is fused, run it under
    torch's math kernel (`torch.nn.attention.sdpa_kernel`), which alone can be differentiated again and again.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks: A deep learning framework for solving forward and inverse problems
    involving nonlinear partial differential equations", Journal of Computational Physics 378, eq. 3 and 4.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, Residual(lambda u: u.d("t") - 0.1 * u.d("xx"), names="xt"))
    """

    @classmethod
    def example(cls) -> "Residual":
        return cls(lambda u: sum(part.laplacian() for part in u), names="abc")

    def __call__(self, batch: Batch) -> Tensor:
        field = self.field(batch)
        equations = self.proven(self.equations(field), batch, field)
        return equations[0].square() if len(equations) == 1 else torch.stack([r.square() for r in equations]).mean(0)


@dataclass(frozen=True)
class ResidualGradient(OnField):
    """The squared gradient of an equation's residual by every coordinate: what makes a physics-informed network gradient-enhanced.

        R_n = Σ_i (∂r/∂x_i)²,   r = N[u](x) at x_n;   the sum over every coordinate, time included

    function, names, wrt, outputs, at: as in `Residual`, beside which it stands: ``Residual(f, "xt") + 0.01 * ResidualGradient(f, "xt")`` with the same f
    shares all derivatives of u. For several equations R is the mean over them.
    along: the coordinates by which r is differentiated, where not all; give one term per coordinate for weights of their own (the paper's w_gx, w_gt).

    When not: where u has kinks or shocks, at which the derivative of the residual is large for a good approximation too; and where steps are dear:
    it costs one more order of derivatives.

    Source: Yu, Lu, Meng & Karniadakis 2022, "Gradient-enhanced physics-informed neural networks for forward and inverse PDE problems",
    Computer Methods in Applied Mechanics and Engineering 393, section 2.2.

    >>> from inputgrad.terms.residual import Residual
    >>> def heat(u):
    ...     return u.d("t") - 0.1 * u.d("xx")
    >>> terms = Residual(heat, "xt") + 0.01 * ResidualGradient(heat, "xt")
    """

    along: Names | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        names_or_none("ResidualGradient: along", self.along)

    @classmethod
    def example(cls) -> "ResidualGradient":
        return cls(lambda u: sum(part.laplacian() for part in u), names="abc")

    def __call__(self, batch: Batch) -> Tensor:
        field = self.field(batch)
        along = names_or_none("along", self.along) or field.names
        slopes = [torch.stack(field.slopes(r, along)) for r in self.equations(field)]
        return torch.stack([part.square().sum(0) for part in self.proven(slopes, batch, field)]).mean(0)
