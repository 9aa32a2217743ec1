"""Differential machine learning: values and their derivatives, brought to one scale by the training set's statistics."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inputgrad.devices import moved_once
from inputgrad.terms.gradient_match import GradientMatch

if TYPE_CHECKING:
    from inputgrad.loss import InputGradientLoss


def differential_machine_learning(balance: float = 1.0, *, data: "Differentials") -> "InputGradientLoss":
    """Differential machine learning: the loss of a network that learns values and their derivatives, both normalised.

        α · mean_n (f(x_n) − y_n)² + β · mean_n (1/D) Σ_j λ_j² (∂f(x_n)/∂x_j − z_nj)²,   α = 1/(1 + λ D),   β = 1 − α

    balance: λ, 1 as published; then derivatives weigh D times as much as values.
    data: the normalisation, ``Differentials.of(x, y, dydx)`` of the training set.
    x, y, z: normalised inputs, values and derivatives, as ``data`` makes them of the raw ones; the target is ``data.target(y, dydx)``.
    λ_j: 1/√(mean_n z_nj²) over the training set's derivatives that are known.
    D: the number of inputs.

    NaN is a missing derivative. A value that is NaN is missing too, and gives 0. The statistics are the training set's, not the batch's, so the term stays
    one number per sample and splits into micro-batches.

    Second derivatives, such as gammas, are not part of the paper: ``data.criterion() + 0.1 * HessianMatch("gamma", reduction="mean")`` with
    ``{**data.target(y, dydx), "gamma": data.second(d2ydx2)}`` for the target. The authors' notebooks add 1e-8 to the standard deviations; here an input that
    does not vary is an error that names it.

    When not: where the derivatives belong to another quantity than the values do in expectation, such as pathwise derivatives of a discontinuous payoff (smooth
    it); for several outputs, which the paper does not treat (`sobolev_training`).

    Source: Huge & Savine 2020, "Differential machine learning", arXiv:2005.02347, and its appendix 2 and public notebooks for normalisation and weights.

    >>> import torch
    >>> x, y, dydx = torch.randn(64, 3), torch.randn(64, 1), torch.randn(64, 3)
    >>> data = Differentials.of(x, y, dydx)
    >>> criterion = differential_machine_learning(data=data)
    >>> loss = criterion(torch.nn.Linear(3, 1), data.inputs(x), data.target(y, dydx))
    """
    if isinstance(balance, bool) or not isinstance(balance, (int, float)) or not 0 <= balance < float("inf"):
        raise ValueError(f"differential_machine_learning: balance is λ, at least 0 and finite; got {balance!r}")
    if not isinstance(data, Differentials):
        raise TypeError(f"differential_machine_learning: data must be Differentials.of(x, y, dydx), the training set's; got {type(data).__name__}")
    alpha = 1 / (1 + balance * data.scale.numel())
    return ValueLoss(alpha) + (1 - alpha) * GradientMatch("dydx", scale=data.scale, reduction="mean")


@dataclass(frozen=True)
class ValueLoss:
    """weight · mean_n (f(x_n) − y_n)², of the target's part "y", 0 where y_n is NaN: the base loss of differential machine learning."""

    weight: float

    def __call__(self, output: Tensor, target: dict[str, Tensor]) -> Tensor:
        if output.numel() != target["y"].numel():
            raise ValueError(f"the model must give one value per sample: the output has shape {list(output.shape)}, the values {list(target['y'].shape)}")
        wanted = target["y"].reshape(output.shape)
        return self.weight * torch.where(wanted.isnan(), 0, output - wanted).square().mean()


@dataclass(frozen=True, eq=False)
class Differentials:
    """The normalisation of differential machine learning: the training set's means and population standard deviations, and the scales of its derivatives.

        x̄ = (x − mean x)/σ_x,   ȳ = (y − mean y)/σ_y,   z̄ = dydx · σ_x/σ_y,   λ_j = 1/√(mean_n z̄_nj²)

    x_mean, x_std: mean and standard deviation of the inputs, ``[*input]``.
    y_mean, y_std: mean and standard deviation of the values, 0-d.
    scale: λ_j, ``[*input]``.

    Make it by `Differentials.of`. The methods' arguments:

    x: raw inputs, ``[N, *input]``.
    y: raw values, ``[N]`` or ``[N, 1]``.
    dydx: raw derivatives, ``[N, *input]``; NaN is a missing one.
    d2ydx2: raw second derivatives, ``[N, D, D]``.
    output, gradient: of the model, in normalised units.
    balance: λ of `differential_machine_learning`.
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor
    scale: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, dydx: Tensor) -> "Differentials":
        """From the raw training set: inputs ``[N, *input]``, values ``[N]`` or ``[N, 1]``, derivatives ``[N, *input]``; NaN is a missing one."""
        _check_shapes(x, y, dydx)
        known = y[~y.isnan()]
        if not len(known):
            raise ValueError("Differentials: y has no number at all (NaN is a missing value); to learn from derivatives alone take GradientMatch")
        x_std, y_std = x.std(0, correction=0), known.std(correction=0)
        _check_varies("x", x_std)
        _check_varies("y", y_std)
        size = (dydx * x_std / y_std).square().nanmean(0).sqrt()
        _check_varies("dydx", size, "is zero")
        return cls(x.mean(0), x_std, known.mean(), y_std, 1 / size)

    def inputs(self, x: Tensor) -> Tensor:
        """Raw inputs, normalised: what the model is called on."""
        return (x - self._on(x, self.x_mean)) / self._on(x, self.x_std)

    def target(self, y: Tensor, dydx: Tensor) -> dict[str, Tensor]:
        """Raw values and derivatives, normalised: the target, ``{"y": …, "dydx": …}``."""
        _check_shapes(dydx, y, dydx)
        return {"y": (y - self._on(y, self.y_mean)) / self._on(y, self.y_std), "dydx": dydx * self._on(dydx, self.x_std) / self._on(dydx, self.y_std)}

    def second(self, d2ydx2: Tensor) -> Tensor:
        """Raw second derivatives ``[N, D, D]`` (gammas), normalised: labels of a `HessianMatch` beside the criterion. For inputs ``[N, D]``; NaN is missing."""
        size = self.x_std.numel()
        if self.x_std.dim() != 1 or d2ydx2.shape[1:] != (size, size):
            found, hint = list(d2ydx2.shape), _gamma_hint(d2ydx2, size)
            raise ValueError(f"Differentials: second derivatives have shape {found}; expected [N, D, D] with D = {size}, for inputs [N, D]{hint}")
        x_std = self._on(d2ydx2, self.x_std)
        return d2ydx2 * x_std[:, None] * x_std / self._on(d2ydx2, self.y_std)

    def values(self, output: Tensor) -> Tensor:
        """The model's output as values in the units of the raw ones."""
        return self._on(output, self.y_mean) + self._on(output, self.y_std) * output

    def derivatives(self, gradient: Tensor) -> Tensor:
        """The model's input gradient as derivatives in the units of the raw ones."""
        return gradient * self._on(gradient, self.y_std) / self._on(gradient, self.x_std)

    @staticmethod
    def _on(given: Tensor, held: Tensor) -> Tensor:
        """A statistic on the device of what is given; copied there once."""
        return moved_once(held, given.device)

    def criterion(self, balance: float = 1.0) -> "InputGradientLoss":
        """`differential_machine_learning` of these data."""
        return differential_machine_learning(balance, data=self)


def _gamma_hint(gammas: Tensor, size: int) -> str:
    if size == 1 and gammas.numel() == len(gammas):
        return ". For one input: gamma.reshape(-1, 1, 1)"
    if gammas.shape[1:] == (size,):
        return ". Of the diagonal alone: torch.where(torch.eye(D, dtype=torch.bool), torch.diag_embed(gamma), torch.nan), for NaN is a missing one"
    return ""


def _check_shapes(x: Tensor, y: Tensor, dydx: Tensor) -> None:
    for name, tensor in (("x", x), ("y", y), ("dydx", dydx)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise TypeError(f"Differentials: {name} must be a floating-point tensor, got {getattr(tensor, 'dtype', type(tensor).__name__)}")
    if x.dim() < 2 or not len(x):
        raise ValueError(f"Differentials: x must be [N, *input] with at least one sample, got {list(x.shape)}; for one input give x[:, None]")
    if dydx.shape != x.shape:
        raise ValueError(f"Differentials: dydx has shape {list(dydx.shape)}; expected one derivative for each input, {list(x.shape)}, as x has")
    if y.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(
            f"Differentials: y has shape {list(y.shape)}; expected one value per sample, [N] = [{len(x)}] or [N, 1]. For several outputs: Sobolev training"
        )


def _check_varies(name: str, size: Tensor, fault: str = "does not vary") -> None:
    """One look at the values, when the data are made."""
    if bool((size > 0).all()):
        return
    features = (size.flatten() <= 0).nonzero().flatten().tolist()
    where = f" in the inputs {features[:8]}" if size.dim() else ""
    if bool(size.isnan().any()) and name == "dydx":
        unknown = size.flatten().isnan().nonzero().flatten().tolist()
        raise ValueError(f"Differentials: dydx has no number at all in the inputs {unknown[:8]} (NaN is a missing derivative): leave these out of x")
    if bool(size.isnan().any()):
        raise ValueError(f"Differentials: {name} has values that are not numbers; leave those samples out")
    raise ValueError(f"Differentials: {name} {fault}{where} over the whole training set, so it has no scale: leave them out")
