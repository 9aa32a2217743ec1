"""The loss: a base loss plus weighted terms on the input gradient. The only place where heads, terms and engines meet.

total(θ) = mean_n loss(f(x_n; θ), y_n) + Σ_k w_k · mean_n R_k(g_n, …)        g_n = ∂ s(f(x_n; θ), y_n) / ∂ x_n
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses, engines
from inputgrad.base_losses import Base
from inputgrad.batch import Step
from inputgrad.diagnosis.records import Explanation
from inputgrad.diagnosis.validation import explain
from inputgrad.diagnosis.verification_table import VerificationTable, verify
from inputgrad.distributed.agreement import check_agreement
from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.engines import Engine
from inputgrad.passes.kept import UnforeseenError
from inputgrad.passes.model_checks import check_model, without_inference_tensors
from inputgrad.passes.outputs import Part
from inputgrad.step.active_terms import Terms, active_terms, part_names, weighted_terms
from inputgrad.step.checks import check_backward, warn_if_coupled, warn_if_split
from inputgrad.step.known_forms import KnownForms
from inputgrad.step.known_programs import ProgramStep
from inputgrad.step.loss_arithmetic import LossArithmetic
from inputgrad.step.objective import Call, WithObjective
from inputgrad.step.one_step import StepCounter, in_one_step
from inputgrad.step.parts import Parts, detached
from inputgrad.step.plain_step import PlainStep
from inputgrad.step.verification import verify_first_step
from inputgrad.step.whole_step import as_loss, hand_over, whole_step
from inputgrad.terms.base import register_loss
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs


class InputGradientLoss(LossArithmetic, WithObjective):
    """A training loss that depends on the input gradient: ``criterion(model, inputs, target)`` is a 0-d tensor, right in value and parameter gradient.

    base: the loss of output and target: a name ("mse", "cross_entropy", …), a torch loss, any callable, or None for a loss of terms alone.
    terms: terms, weighted terms such as ``0.01 * GradientNorm()``, or their sum.
    engine: how the parameter gradient of the terms is computed: "auto", a name in `inputgrad.engines.ENGINES`, or an engine object.
    output: the output tensor ``[N, ...]`` among what the model returns: a key (``"energy"``, ``0``, an attribute) or a callable that selects it. The default
    is the tensor itself, the first of a tuple, or ``.logits``; a base loss that is your own callable then gets everything that the model returns.
    verify: at the first step with a model, compare the terms' parameter gradient with finite differences of their value. If they disagree, "auto" takes
    another engine and says so, and a named engine raises `EngineError`.

    A loss that is NaN because of an input raises an error that names the input. On an accelerator this check would make every step wait, so it is off unless
    ``criterion.check_finite = k`` asks for it at every k-th step.

    ``nn.MSELoss() + 0.01 * GradientNorm()`` builds the same. The weight of a term may be a callable of the step number, `step_number`, which is kept in the
    ``state_dict``; calls in training mode with gradients enabled count as steps.
    Under ``no_grad`` and ``inference_mode`` the values are the same, and the loss has no graph.
    """

    def __init__(
        self, base: Base, terms: Terms = (), *, engine: str | Engine = "auto", output: str | int | Callable[[Any], Tensor] | None = None, verify: bool = True
    ) -> None:
        super().__init__()
        if isinstance(base, LossArithmetic):
            raise TypeError("base is a loss with terms already: add to it, such as base + 0.1 * term, and give output= where it is made")
        self.base = base_losses.resolve(base)
        self.terms = weighted_terms(terms)
        if self.base is None and not self.terms:
            raise ValueError("InputGradientLoss needs a base loss, terms, or both; got neither")
        if output is not None and (isinstance(output, bool) or not (callable(output) or isinstance(output, (str, int)))):
            raise TypeError(f"output must be a key, or a callable that picks a tensor from what the model returns; got {type(output).__name__}")
        self.base_weight = 1.0
        self.engine = engine
        self.output = Part(output) if isinstance(output, (str, int)) else output
        self.verify_first_step = verify
        self.check_finite: int | None = None
        self.step_number = 0
        self.steps = StepCounter()
        self._forms = KnownForms()

    @property
    def engine(self) -> Engine:
        """How the parameter gradient of the terms is obtained; may be set later: a name of `inputgrad.engines.ENGINES`, or an engine object."""
        return self._engine

    @engine.setter
    def engine(self, engine: str | Engine) -> None:
        self._engine = engines.resolve(engine)

    def one_step(self, *, last: bool = True) -> AbstractContextManager[None]:
        """Around several calls that make one training step: closures of L-BFGS, or micro-batches whose gradients add up.

        Schedules, ``every=`` and `step_number` count the calls inside as one step. A batch that is evaluated again draws the same random heads, places, shares
        and dropout masks as the first time. A closure that ``optimizer.step(closure)`` calls needs no such block.

        last: False where the next block goes on with this step: ``with criterion.one_step(last=i % 4 == 3): ...`` in a loop over micro-batches.
        """
        return self.steps.block(last=last)

    @in_one_step
    def forward(self, model: nn.Module, inputs: Any, target: Any = None) -> Tensor:
        """The loss of one batch, 0-d. ``inputs``: a tensor, a tuple (``model(*inputs)``) or a dict (``model(**inputs)``)."""
        step = self._at_once(model, inputs, target)
        return step.loss() if step is not None else self._in_full(model, inputs, target).loss

    def _step(self, loss: Tensor, output: Any, parts: Mapping[str, Tensor]) -> Step:
        own = parts if self.objective.base is not None else {name: value for name, value in parts.items() if name != "base"}  # nothing is due at this step
        return Step(loss, output, Parts(own, self.terms))

    @in_one_step
    def evaluate(self, model: nn.Module, inputs: Any, target: Any = None) -> Step:
        """The loss with its parts and the model's output."""
        if (step := self._at_once(model, inputs, target)) is not None:
            return self._step(step.loss(), step.detached_output, step.parts)
        return self._in_full(model, inputs, target)

    def _in_full(self, model: nn.Module, inputs: Any, target: Any) -> Step:
        with self._call(model, inputs, target) as call:
            if (result := whole_step(self, call)) is not None:
                self._forms.learn(self, call, result.program, verify=self.verify_first_step)
                return self._step(as_loss(model, result), result.output, result.parts)
            loss = call.attached(call.total(values := call.values()))
            self._forms.learn(self, call, verify=self.verify_first_step)
            return self._step(loss, call.evaluation.outputs.detached(), detached(values))

    @in_one_step
    def backward(self, model: nn.Module, inputs: Any, target: Any = None, *, scaler: torch.amp.GradScaler | None = None) -> Step:
        """`evaluate` and ``loss.backward()`` in one call; the loss of the step that comes back is detached.

        Needs less time and memory: it skips the gradient of the inputs, unless they require grad themselves, and engines with several passes run them
        one at a time.

        scaler: multiplies the gradients, as ``scaler.scale(loss).backward()`` does; the loss of the step is without its scale.
        Raises `RuntimeError` where gradients are not enabled and inside the forward pass of a replica, `TypeError` for another kind of scaler.
        """
        check_backward(model, scaler)
        scaled = scaler.scale if scaler is not None else None
        if (step := self._at_once(model, inputs, target)) is not None:
            return self._step(step.backward(scaled), step.detached_output, step.parts)
        with self._call(model, inputs, target, immediate=True) as call:
            if (result := whole_step(self, call)) is not None:
                hand_over(model, result, scaled)
                self._forms.learn(self, call, result.program, verify=self.verify_first_step)
                return self._step(result.loss, result.output, result.parts)
            total = call.total(values := call.values())
            call.pull_back().run(scaled(total) if scaled else total)
            self._forms.learn(self, call, verify=self.verify_first_step)
            return self._step(total.detach(), call.evaluation.outputs.detached(), detached(values))

    @in_one_step
    def losses(self, model: nn.Module, inputs: Any, target: Any = None) -> dict[str, Tensor]:
        """The parts by name, each a 0-d tensor with its own graph and without its weight: for adaptive weights and gradient aggregation.

        Their graphs overlap: ``backward(retain_graph=True)`` for all but the last. A term that is not due at this step is not among them, and
        the factor ``every`` of one that is due is left out like its weight.
        """
        with self._call(model, inputs, target) as call:
            return {name: call.attached(value) for name, value in call.values().items()}

    def gradient_of_terms(self, model: nn.Module, inputs: Any, target: Any = None, *, engine: Engine | None = None) -> list[Tensor]:
        """The parameter gradient of the weighted terms by themselves, one tensor for each parameter that requires grad; empty where there are no terms.

        engine: another engine than the criterion's. Sets no ``.grad``, and counts no step.
        """
        kept, step = self.engine, self.step_number
        self.engine = engine or self.engine
        try:
            parts = self.losses(model, inputs, target)
        finally:
            self.engine, self.step_number = kept, step
        weighted = [item.weight * parts[item.name] for item in active_terms(self.terms, step, training=True)]
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not weighted or not parameters:
            return []
        gradients = torch.autograd.grad(torch.stack(weighted).sum(), parameters, allow_unused=True, materialize_grads=True)
        return [gradient.detach() for gradient in gradients]

    def explain(self, model: nn.Module, inputs: Any, target: Any = None, *, compile: bool = False) -> Explanation:
        """Which engine this criterion takes for this model and batch, why, and what each of the others gives, needs and costs. Printed, it is a table.

        Every engine makes a step in which every term is due, on the whole batch; ``compiled`` only with ``compile=True``, for compiling takes long.
        Nothing is touched, no step is counted, and warnings are collected in the record. Raises what the model and the base loss raise by
        themselves, and `ValueError` for a criterion without terms; what an engine raises stands in its row.
        """
        return explain(self.objective, self.step_number, model, inputs, target, compile=compile)

    def verify(self, model: nn.Module, inputs: Any, target: Any = None) -> VerificationTable:
        """Compare every engine's gradient of the terms with the change of their value when the parameters move. Printed, it is a table.

        Thorough: in float64, on a copy of the model, along six directions, where the model can be copied and cast; else in its own precision. Nothing is
        touched. Raises what the model itself raises, and `ValueError` for a criterion without terms.
        """
        return verify(self.objective, self.step_number, model, inputs, target)

    def _at_once(self, model: nn.Module, inputs: Any, target: Any) -> PlainStep | ProgramStep | None:
        """The step as one would write it by hand, or by its program; None where it is to be made in full."""
        if (known := self._forms.of(model)) is None:
            return None
        given, target, objective = ModelInputs.of(without_inference_tensors(inputs)), without_inference_tensors(target), self.objective
        active = objective.constantly_active or active_terms(objective.terms, self.step_number, training=True)
        step = self._forms.make(known, objective, model, given, target, active, verify=self.verify_first_step)
        if step is None:
            return None
        try:
            step.run(active, is_training_step=self.training and not self.steps.again)
        except (UnforeseenError, RuntimeError, ValueError, TypeError) as error:
            if messages.is_machine_error(error):
                raise
            self._forms.give_up(model, error)  # the step in full says what is wrong
            return None
        if self.training:
            self.__dict__["step_number"] += 1  # past what a module looks at when something is set
        return step

    @contextmanager
    def _call(self, model: nn.Module, inputs: Any, target: Any, *, immediate: bool = False) -> Iterator[Call]:
        """Prepare one call on a batch: checks, the terms that are due, and the passes' setting."""
        check_model(model)
        differentiable = torch.is_grad_enabled()
        counted = differentiable and self.training
        with torch.inference_mode(False), torch.enable_grad():
            warn_if_coupled(model, self.terms)
            warn_if_split(self, model, self.terms)
            given, target = ModelInputs.of(without_inference_tensors(inputs)), without_inference_tensors(target)
            due = active_terms(self.terms, self.step_number, training=differentiable)
            if differentiable and due and self.verify_first_step and not self._forms.has_verified(self.objective, model, given, due):
                verify_first_step(self.objective, model, given, target, due)
            moves = counted and not self.steps.again
            call = self.objective.on(model, given, target, due, differentiable=differentiable, is_training_step=moves, immediate=immediate)
            with twice_differentiable_from_local(), check_agreement(model, given, target), call as opened:
                yield opened
        if counted:
            self.step_number += 1

    def get_extra_state(self) -> dict[str, Any]:
        kept = {name: item.term.state() for name, item in zip(part_names(self.terms), self.terms, strict=True)}
        return {"step_number": self.step_number, "terms": {name: state for name, state in kept.items() if state}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.step_number = state["step_number"]
        for name, item in zip(part_names(self.terms), self.terms, strict=True):
            item.term.load_state(state.get("terms", {}).get(name, {}))

    def extra_repr(self) -> str:
        shown = "base" if self.base is None or isinstance(self.base, nn.Module) else getattr(self.base, "__qualname__", None) or repr(self.base)
        base = f"{self.base_weight:g} * {shown} + " if self.base_weight != 1 else f"{shown} + " if shown != "base" else ""
        return f"{base}{' + '.join(map(repr, self.terms))}, engine={self.engine}"


register_loss(InputGradientLoss)
