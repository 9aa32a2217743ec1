"""Match second derivatives in the input with labels: gammas of prices, Hessians of energies."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import constant
from inputgrad.heads import Of
from inputgrad.operators.differentiation import gradients, gradients_of_output
from inputgrad.passes.flat_models import warn_if_flat
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import Norm, Reduction, broadcast, check_distance, check_scale, distance, shaped
from inputgrad.terms.missing_labels import both, counted, known
from inputgrad.variables import Key, keys_of


@dataclass(frozen=True, eq=False)
class HessianMatch(Term):
    """Matching of second derivatives: the distance between the Hessian of the score with respect to the input and its labels.

        R_n = Σ_ij |scale_ij · (H_nij − H*_nij)|²          H_n = ∂²s_n/∂x_n∂x_n

    wanted: H*, ``[N, *input, *input]``, or one sample's for all; NaN in it is a missing label: gammas alone are a diagonal with NaN beside it.
    rows: None for all rows of H, a tuple of numbers for these entries i of the input (flattened), or a number of rows drawn per sample and step, without
    repetition, whose mean estimates that over all. norm, reduction, mask, scale, delta: as in `GradientMatch`, of the shape of H.
    of: what is differentiated, a head of one score per sample. wrt: the input. at: where; the samples themselves by default.

    Since it needs second derivatives with respect to the input, the term differentiates the model twice itself, eagerly and exactly, whatever the engine: one
    backward pass per row. The model must have third derivatives, and must not couple the samples.

    When not: for networks of ReLU units, whose second derivative is 0: use smooth activations. Where labels of second derivatives are mostly noise.

    Source: Czarnecki, Osindero, Jaderberg, Swirszcz & Pascanu 2017, "Sobolev training for neural networks", NeurIPS, at order 2; by drawn rows Amin, Raja &
    Krishnapriyan 2025, "Towards fast, specialized machine learning force fields: distilling foundation models via energy Hessians", ICLR.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("price") + ig.GradientMatch("delta") + 0.1 * HessianMatch("gamma")
    """

    wanted: TensorRef
    of: Of = "output"
    wrt: Key = 0
    at: Place | None = None
    rows: int | tuple[int, ...] | None = None
    norm: Norm = "squared"
    reduction: Reduction = "sum"
    mask: TensorRef | None = None
    scale: TensorRef | float | None = None
    delta: float = 1.0

    def __post_init__(self) -> None:
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"HessianMatch: wrt names one input; got {self.wrt!r}")
        for name in ("wanted", "mask"):
            if name == "wanted" or self.mask is not None:
                check_tensor_ref(f"HessianMatch: {name}", getattr(self, name))
        check_scale("HessianMatch", self.scale)
        check_distance("HessianMatch", self.norm, self.reduction)
        if self.rows is not None and (isinstance(self.rows, bool) or not isinstance(self.rows, (int, tuple)) or self.rows in (0, ())):
            raise ValueError(f"HessianMatch: rows must be a number of drawn rows, a tuple of entries, or None for all; got {self.rows!r}")

    @classmethod
    def example(cls) -> "HessianMatch":
        return cls(lambda batch: torch.ones(2 * tuple(batch.variable(0).shape[1:])))

    def variables(self) -> tuple[Key, ...]:
        return ()  # it asks for no input gradient

    def __call__(self, batch: Batch) -> Tensor:
        (key,) = keys_of(self.wrt)
        output, (x,) = batch.output_and_variables(key, at=self.at)
        score = batch.scores(output, self.of, self.at)
        if score.dim() != 1:
            raise ValueError(f"HessianMatch needs a head of one score per sample, and {self.of!r} gave {list(score.shape)}; for one of several: OneOutput(i)")
        if self.of == "output":
            forward, keys = batch.differentiable_pass(key, at=self.at)
            (slope,) = gradients_of_output(forward, score, keys, [x])
        else:
            (slope,) = gradients(score, [x], [key])
        chosen = self._chosen(x)
        flat = slope.flatten(1) if slope.dim() > 1 else slope[:, None]
        columns = [flat[:, row] for row in chosen] if isinstance(chosen, list) else [flat.gather(1, column[:, None]) for column in chosen.unbind(1)]
        found = [gradients(column, [x])[0] for column in columns]
        hessian = torch.stack(found, 1) if len(found) > 1 else found[0][:, None]
        warn_if_flat("HessianMatch", batch.model, [slope], [hessian])
        return self._distance(widened(hessian), chosen, batch)

    def _chosen(self, x: Tensor) -> Tensor | list[int]:
        """The rows of each sample, ``[N, R]``, or those of every sample."""
        n, size = x.shape[0], x[0].numel()
        if isinstance(self.rows, int) and self.rows < size:
            return torch.rand(n, size, device=x.device).argsort(1)[:, : self.rows]
        rows = self.rows if isinstance(self.rows, tuple) else range(size)
        if not all(-size <= row < size for row in rows):
            raise ValueError(f"HessianMatch: rows={self.rows!r} names entries outside 0..{size - 1} of one sample of the input")
        return [row % size for row in rows]

    def _distance(self, hessian: Tensor, chosen: Tensor | list[int], batch: Batch) -> Tensor:
        counts, wanted = known(self._labels("wanted", batch, hessian, chosen))
        gap = hessian - wanted
        if self.mask is not None:
            counts = both(counts, self._labels("mask", batch, hessian, chosen) != 0)
        if self.scale is not None:
            gap = gap * (self.scale if isinstance(self.scale, (int, float)) else self._labels("scale", batch, hessian, chosen))
        return distance(counted(gap, counts), counts, self.norm, self.reduction, lambda parts: parts.flatten(1).sum(1), self.delta)

    def _labels(self, which: str, batch: Batch, hessian: Tensor, chosen: Tensor | list[int]) -> Tensor:
        """The chosen rows of labels ``[N, *input, *input]``, ``[N, R, *input]``."""
        name, own = f"HessianMatch: {which}", hessian.shape[2:]
        whole = hessian.new_empty(()).expand(len(hessian), *own, *own)
        labels = (shaped if which == "wanted" else broadcast)(name, resolve_tensor(name, getattr(self, which), batch), whole)
        labels = labels.expand(len(hessian), *labels.shape[1:]).expand_as(whole).reshape(len(hessian), -1, *own)
        if isinstance(chosen, list):
            return labels if chosen == list(range(labels.shape[1])) else labels[:, constant(chosen, labels.device, torch.long)]
        index = chosen.reshape(*chosen.shape, *[1] * len(own)).expand(-1, -1, *own)
        return labels.gather(1, index)
