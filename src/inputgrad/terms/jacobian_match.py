"""Match the Jacobian with a teacher's, or with labels for it, along outputs or directions that are the same on both sides."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from inputgrad.batch import Batch
from inputgrad.devices import module_on, moved_like, moved_once
from inputgrad.heads import EachOutput, FixedProjection, LabelOutput, Of, OneOutput, RandomProjection
from inputgrad.passes.precision import widened
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.variables import Key

Outputs = EachOutput | RandomProjection | OneOutput | LabelOutput | Literal["label", "largest"]
_EACH = EachOutput()


@dataclass(frozen=True, eq=False)
class JacobianMatch(Term):
    """Jacobian matching: rows of the student's Jacobian against the same rows of the teacher's, each row at unit length if wanted.

        R_n = Σ_k ‖u_kᵀ J(x_n) − u_kᵀ J*(x_n)‖²₂          J = ∂f/∂x, the model's;   J* the teacher's
        R_n = Σ_k ‖u_kᵀ J/‖u_kᵀ J‖₂ − u_kᵀ J*/‖u_kᵀ J*‖₂‖²₂          with unit=True

    wanted: the teacher, a module called on the same inputs in its current mode (call ``teacher.eval()`` first, as a rule); constant, so nothing in it learns.
    Or the Jacobian's labels ``[N, C, *input]``: a tensor, a name or position of the target, a callable of the batch; NaN is
    a missing one. C: outputs of a sample, flattened.
    of: the rows u. "label": the output of the true class; "largest": the teacher's largest output; ``heads.EachOutput()``: each of the C outputs;
    ``heads.OneOutput(i)``; ``heads.RandomProjection(n)``: n directions per sample, drawn once for both sides, of which the MEAN is taken (with
    ``scale="isotropic"`` the sum, which estimates ‖J − J*‖²_F).
    unit: whether each row is divided by its length, as in the second formula.
    reduction: "sum" over the features of the input as in the papers, or "mean", 1/D of it.
    wrt: the input.
    Where a row of either side is zero, its unit vector is 0, with derivative 0.

    When not: where the student's outputs are not the teacher's, in number or order; where labels are of one score only (`GradientMatch`).

    Source: Srinivas & Fleuret 2018, "Knowledge transfer with Jacobian matching", ICML, eq. 10; by projections Czarnecki et al. 2017, "Sobolev training for
    neural networks", NeurIPS, eq. 2.

    >>> from torch import nn
    >>> teacher = nn.Linear(4, 3)
    >>> criterion = nn.CrossEntropyLoss() + JacobianMatch(teacher, of="label", unit=True)
    """

    wanted: TensorRef | nn.Module
    of: Outputs = _EACH
    unit: bool = False
    reduction: Literal["sum", "mean"] = "sum"
    wrt: Key = 0

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.wanted, nn.Module):
            check_tensor_ref("JacobianMatch: wanted, if it is not a teacher,", self.wanted)
        if not isinstance(self.of, (EachOutput, RandomProjection, OneOutput, LabelOutput)) and self.of not in ("label", "largest"):
            raise ValueError(
                f'JacobianMatch: of must name rows of the Jacobian: "label", "largest", heads.EachOutput(), heads.OneOutput(i) or heads.RandomProjection(n); '
                f"got {self.of!r}. For another score take GradientMatch with labels for its gradient"
            )
        if self.of == "largest" and not isinstance(self.wanted, nn.Module):
            raise ValueError('JacobianMatch: of="largest" is the teacher\'s largest output, and wanted is not a teacher; take "label", or give a teacher')
        if self.reduction not in ("sum", "mean"):
            raise ValueError(f'JacobianMatch: reduction must be "sum" or "mean" over the features, got {self.reduction!r}')
        if isinstance(self.wrt, (tuple, list)):
            raise TypeError(f"JacobianMatch: wrt names one input; got {self.wrt!r}. For several add one term for each")

    @classmethod
    def example(cls) -> "JacobianMatch":
        return cls(lambda batch: torch.zeros(batch.output[0].numel(), *batch.variable(0).shape[1:]))

    def __call__(self, batch: Batch) -> Tensor:
        head, wanted = self._from_teacher(self.wanted, batch) if isinstance(self.wanted, nn.Module) else self._from_labels(self.wanted, batch)
        own = batch.gradient(of=head, wrt=self.wrt)
        features = batch.variable(self.wrt)[0].numel()
        if own.numel() != wanted.numel():
            rows = f"{wanted.numel() // (batch.size * features)} rows of outputs, the model {own.numel() // (batch.size * features)}"
            raise ValueError(f"JacobianMatch: the teacher gives {rows}: both must have the same outputs; match one of them, such as heads.OneOutput(0)")
        wanted = wanted.detach().to(own).reshape(own.shape)
        counts = ~wanted.isnan()
        squares = (self._rows(torch.where(counts, own, 0), features) - self._rows(wanted.nan_to_num(), features)).square()
        known = counts.reshape(squares.shape).sum(2).clamp(min=1)
        lengths = squares.sum(2) if self.reduction == "sum" else squares.sum(2) / known
        return lengths.mean(1) if isinstance(self.of, RandomProjection) and self.of.scale == "unit" else lengths.sum(1)

    def _from_teacher(self, teacher: nn.Module, batch: Batch) -> tuple[Of, Tensor]:
        """The head for the model, and the teacher's gradient of the same one."""
        from inputgrad.operators.functions import output_and_gradient  # the operators know the loss, which knows the terms

        head = None if self.of == "largest" else self._head(batch)
        teacher = module_on(teacher, batch.device)
        of = (lambda output, _target: batch.scores(output, head)) if isinstance(head, (str, LabelOutput)) else head or _largest
        output, gradient = output_and_gradient(teacher, batch.inputs, of=of, target=batch.target, wrt=self.wrt)
        if head is None:
            head = FixedProjection(torch.eye(output[0].numel(), dtype=output.dtype, device=output.device)[output.flatten(1).argmax(1)][:, None])
        return head, gradient

    def _from_labels(self, labels: TensorRef, batch: Batch) -> tuple[Of, Tensor]:
        head, jacobian = self._head(batch), resolve_tensor("JacobianMatch: wanted", labels, batch)
        whole = (batch.size, batch.output[0].numel(), *batch.variable(self.wrt).shape[1:])
        if jacobian.shape not in (whole, whole[1:]):
            raise ValueError(
                f"JacobianMatch: wanted has shape {list(jacobian.shape)}; expected the whole Jacobian [N, C, *input] = {list(whole)}, or one for all, "
                f"{list(whole[1:])}. For labels of one score take GradientMatch"
            )
        return head, _picked(head, moved_like(jacobian, batch.output).expand(whole), batch)

    def _head(self, batch: Batch) -> Of:
        """The rows as a head, its draws made: the same for both sides."""
        return self.of if isinstance(self.of, (str, LabelOutput)) else self.of.drawn(batch.output)

    def _rows(self, gradient: Tensor, features: int) -> Tensor:
        """``[N, K, D]``, widened from half precision, at unit length where that is wanted."""
        rows = gradient.reshape(len(gradient), -1, features)
        rows = widened(rows)
        if not self.unit:
            return rows
        length = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
        return torch.where(length > 0, rows / torch.where(length > 0, length, 1), 0)


def _largest(output: Tensor, _target: Any) -> Tensor:
    return output.flatten(1).amax(1)


def _picked(head: Of, jacobian: Tensor, batch: Batch) -> Tensor:
    """The rows of the whole Jacobian ``[N, C, *input]`` that a head takes."""
    if isinstance(head, FixedProjection):
        return torch.einsum("nkc,nc...->nk...", moved_once(head.directions, jacobian.device, jacobian.dtype), jacobian)
    if isinstance(head, OneOutput):
        return jacobian[:, head.index]
    if isinstance(head, (str, LabelOutput)):
        numbers = torch.arange(jacobian.shape[1], device=jacobian.device, dtype=torch.float32)  # whole numbers up to 2²⁴
        return jacobian[torch.arange(len(jacobian), device=jacobian.device), batch.scores(numbers.expand(jacobian.shape[:2]), head).long()]
    return jacobian
