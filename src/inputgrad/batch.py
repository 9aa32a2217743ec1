"""The batch: what a term may see. Inputs, output, target, the input gradient and the model; never an engine.

Also the record that a step hands back to the user.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from inputgrad.heads import Of
from inputgrad.identity import check_hashable
from inputgrad.places.base import Place
from inputgrad.tensor_refs import without_skipped
from inputgrad.torch_internals import pytree
from inputgrad.variables import Key, Wrt


class GradientSource(Protocol):
    """Where a batch gets what it is asked for: the loss's side of the border."""

    known: dict[Hashable, Any]

    def output(self) -> Tensor: ...
    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> tuple[Tensor, ...]: ...
    def gradient_at(self, value: Tensor, of: Of, key: Key) -> Tensor: ...
    def variable(self, key: Key) -> Tensor: ...
    def output_and_variables(self, wrt: Wrt, at: Place | None) -> tuple[Tensor, tuple[Tensor, ...]]: ...
    def differentiable_pass(self, wrt: Wrt, at: Place | None) -> tuple[Any, tuple[Key, ...]]: ...
    def output_with(self, values: Mapping[Key, Tensor]) -> Tensor: ...
    def further_run(self, values: Mapping[Key, Tensor]) -> Any: ...
    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any: ...
    def loss_of(self, output: Tensor | None) -> Tensor: ...
    def loss_with(self, values: Mapping[Key, Tensor]) -> Tensor: ...
    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor: ...
    def size(self) -> int: ...
    def for_base(self, base: Any) -> Any: ...
    def batch_at(self, place: Place) -> "Batch": ...


MOST_KNOWN = 256
"""How much terms may keep from step to step."""


class Batch:
    """One batch as a term sees it. N is the number of samples, the first dimension of the output.

    model: the model, for terms that call it themselves.
    inputs: the inputs as the criterion was called with them: a tensor, a tuple, or a dict.
    target: the target as the criterion was called with it.
    """

    def __init__(self, model: nn.Module, inputs: Any, target: Any, source: GradientSource, *, is_training_step: bool = False) -> None:
        self.model = model
        self.inputs = inputs
        self.target = target
        self._source = source
        self._made: dict[Hashable, Any] = {}
        self.is_training_step = is_training_step
        """Whether this is a step of training, at which a term may update its running statistics: gradients enabled, the criterion in training mode."""
        self.skipped: Tensor | None = None
        """Which samples have the weight 0 in the term that sees this batch."""
        self.gradient_leaves = 0
        """How many input gradients were handed out that lead on to the parameters."""

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """``make()``, computed once for this batch however many terms ask for it under the same key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def known(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """``make()``, of what is the same at every step at which the same terms are due: ordinary steps compute it once for all of them."""
        known = self._source.known
        if key not in known:
            if len(known) >= MOST_KNOWN:  # from terms that make functions anew at each step
                known.clear()
            known[key] = make()
        return known[key]

    def close(self) -> None:
        """Let go of what was made for it: a field holds the batch that it came from, so neither would be freed before the garbage collector comes."""
        self._made.clear()

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        if isinstance(self.inputs, Tensor):
            return self.inputs.device
        return next((leaf.device for leaf in pytree.leaves(self.inputs) if isinstance(leaf, Tensor)), torch.device("cpu"))

    @property
    def source(self) -> GradientSource:
        """Where it gets what it is asked for."""
        return self._source

    @property
    def counts(self) -> bool:
        """`is_training_step` under its name in earlier versions."""
        return self.is_training_step

    @property
    def output(self) -> Tensor:
        """The model's output ``[N, ...]``, detached from the model. A term may compute with it, and its parameter gradient is right."""
        return self._source.output()

    @property
    def size(self) -> int:
        """N, the number of samples."""
        return self._source.size()

    def gradient(self, of: Of = "output", wrt: Wrt = 0, at: Place | None = None, *, constant: bool = False) -> Any:
        """The input gradient ∂s/∂x of each sample's own score, ``[N, *input]`` (``[N, K, *input]`` for a head of K rows).

        of: the score s, a head. wrt: the input, or several in a tuple, and then the gradient is a tuple. at: the place; the batch's own inputs by default.
        constant: True for a constant of the parameter gradient (as in an adversarial perturbation), which costs no second derivative.
        """
        if not isinstance(of, str):
            check_hashable("of", of)
        if at is not None:
            check_hashable("at", at)
        gradients = self._source.gradient(of, wrt, at, constant=constant)
        if not isinstance(wrt, (tuple, list)):
            self.gradient_leaves += gradients[0].requires_grad
            return gradients[0]
        self.gradient_leaves += sum(gradient.requires_grad for gradient in gradients)
        return gradients

    def gradient_at(self, value: Tensor, of: Of = "loss", wrt: Key = 0) -> Tensor:
        """∂s/∂z ``[N, ...]`` at another value of an input: a constant.

        value: z, of the shape of ``variable(wrt)``. of: the score s, a head. wrt: an input, or an inner module's output.

        For perturbations that take several steps. Each call is one pass, forward and backward, which keeps nothing.
        """
        check_hashable("of", of)
        return self._source.gradient_at(value, of, wrt)

    def variable(self, wrt: Key = 0) -> Tensor:
        """The tensor with respect to which ``gradient(wrt=...)`` differentiates, detached. wrt: an input, or an inner module's output."""
        return self._source.variable(wrt)

    def output_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        """The model's output at other values of some inputs, with its graph to the parameters.

        values: by input, as in ``wrt``: ``{0: moved}``. For an inner module's output a value without a graph is a constant displacement of that output: what
        computes it learns from the result too.

        The pass sees the step's own dropout masks and does not change running statistics.
        """
        return self._source.output_with(values)

    def output_and_variables(self, wrt: Wrt = 0, at: Place | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The model's output and the inputs, in one graph, for derivatives of any order with respect to the inputs and the parameters.

        wrt: the inputs. at: the place; the batch's own inputs by default.

        A pass of its own, on the step's own dropout masks, which does not change running statistics. `inputgrad.field` differentiates it by name, and the
        operators (`inputgrad.laplacian`, …) take a batch in place of a model. They use no engine.
        """
        check_hashable("at", at)
        return self._source.output_and_variables(wrt, at)

    def differentiable_pass(self, wrt: Wrt = 0, at: Place | None = None) -> tuple[Any, tuple[Key, ...]]:
        """The pass that `output_and_variables` runs, not yet made, and its keys, so that an operator may run it in its own way."""
        check_hashable("at", at)
        return self._source.differentiable_pass(wrt, at)

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        """The inputs (tensor, tuple or dict), some of them replaced. values: by input, as in ``wrt``: ``{0: moved}``."""
        return self._source.inputs_with(values)

    def loss(self, output: Tensor | None = None) -> Tensor:
        """Each sample's own base loss ``[N]``. output: what is compared with the target; the batch's own output by default."""
        return self._source.loss_of(output)

    def scores(self, output: Tensor, of: Of = "output", at: Place | None = None) -> Tensor:
        """Each sample's own score of an output: ``[N]``, or ``[N, K]`` for a head of K rows.

        output: ``[N, ...]``. of: the head. at: the place where the output was taken, whose target then counts.

        For terms that differentiate the model themselves (`output_and_variables`).
        """
        check_hashable("of", of)
        return self._source.scores_of(of, output, at)

    def at(self, place: Place | None) -> "Batch":
        """The batch at a place: its inputs there, and the target that the place has for them. place: such as `inputgrad.Given` samples without labels."""
        if place is None:
            return self
        there = self._source.batch_at(place)
        return there if self.skipped is None else there.without(self.skipped)

    def without(self, skipped: Tensor) -> "Batch":
        """The same batch for a term that skips some samples, ``[N]``, whose labels may be NaN or infinite."""
        own = Batch(self.model, self.inputs, without_skipped(self.target, skipped), self._source, is_training_step=self.is_training_step)
        own.skipped = skipped
        return own

    def loss_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        """Each sample's own base loss ``[N]`` at other values of some inputs: ``loss(output_with(values))``. values: as in `output_with`.

        Where the model returns several outputs and the base loss is a callable of your own, it sees them all.
        """
        return self._source.loss_with(values)


@dataclass(frozen=True)
class Step:
    """What `InputGradientLoss.evaluate` returns.

    loss: 0-d; its value and its parameter gradient are right.
    output: the model's output ``[N, ...]``, detached; all that the model returned where the base loss sees it whole and nobody asked for one output; None
    where neither a base loss nor a term asked for any.
    parts: the base loss under ``"base"`` and each term's own mean (without its weight) under its name, detached 0-d tensors. A term that is not due at this
    step (``scheduled(every=4)``) is not among them; ``step.parts["its name"]`` is then NaN, so that it can be logged at every step.
    """

    loss: Tensor
    output: Any
    parts: Mapping[str, Tensor]


class AddedUp(NamedTuple):
    """What a term's method ``_added_up(batch)`` gives: the sum of its numbers, where that takes fewer operations than the numbers themselves.

    An ordinary step asks it in place of the formula, after a step that was made in full. It may give the numbers instead, and None where it has asked for
    nothing yet and the formula is to be asked.
    total: Σ R_n · divisor over the samples, 0-d. samples: how many there are.
    """

    total: Tensor
    samples: int
    divisor: int = 1

    @property
    def numbers(self) -> int:
        """Of how many numbers R_n is the mean."""
        return self.samples * self.divisor

    def mean(self) -> Tensor:
        """The mean of R_n."""
        return self.total / self.numbers
