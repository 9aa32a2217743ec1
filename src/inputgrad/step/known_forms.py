"""The forms of step that a criterion has made in full before, so that the next step of one of them is a plain one. Must not know engines but by class."""

import os
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from inputgrad.distributed.joined import is_joined
from inputgrad.engines.choice import Auto
from inputgrad.engines.compiled import Compiled
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.memory import Memory, memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.kept import Kept, UnforeseenError
from inputgrad.passes.structure import ModelStructure
from inputgrad.passes.traces import is_written_on, note_writing, traces_of
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.by_hand import is_plain, runs
from inputgrad.step.known_programs import KnownProgram, ProgramStep
from inputgrad.step.objective import Call, Objective
from inputgrad.step.plain_form import PlainForm
from inputgrad.step.plain_step import PlainStep
from inputgrad.step.verification import SWITCH, is_verified
from inputgrad.torch_internals.tracing import is_only_autograd
from inputgrad.tracing.records import Program
from inputgrad.variables import ModelInputs

Kinds = tuple[tuple[Any, int, torch.dtype], ...]


@dataclass
class KnownForms:
    """By model: its structure, and the forms of step that were made with it. Not copied with the criterion, since it is learnt again in one step."""

    _models: "weakref.WeakKeyDictionary[nn.Module, KnownModel]" = field(default_factory=weakref.WeakKeyDictionary)
    _given_up: "weakref.WeakKeyDictionary[nn.Module, int]" = field(default_factory=weakref.WeakKeyDictionary)
    """How many plain steps were begun and could not be made."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "KnownForms":
        return KnownForms()

    def __reduce__(self) -> tuple[Any, ...]:
        return KnownForms, ()

    def make(
        self, known: "KnownModel", objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm], *, verify: bool
    ) -> PlainStep | ProgramStep | None:
        """A step to be run, where its form is among those known of the model and nothing that decides has changed."""
        if not _is_ordinary(inputs):
            return None
        if isinstance(objective.engine, Compiled):
            program = next((item for item in known.programs if item.fits(objective, inputs, target, active)), None)
            if program is not None:
                return ProgramStep(program, inputs, target) if program.holds() and (program.verified or _is_off(verify)) else None
        form = self._form(known, objective, model, inputs, active)
        if form is None or form.plain is None or not _takes_double_backward(objective, known) or not (form.verified or _is_off(verify)):
            return None
        has_grown = form.plain.most is not None and _numbers(inputs) > form.plain.most  # what was too small for a derivative of our own may be no longer
        if form.plain.has_failed:  # the way in full says why, or takes another engine: all that was checked of the model is checked again
            known.memory.checked.clear()
        if has_grown or form.plain.has_failed:
            self.forget(model)
            return None
        return PlainStep(form.plain, model, inputs, target)

    def of(self, model: Any) -> "KnownModel | None":
        """What is known of this model, if anything is."""
        return self._models.get(model) if isinstance(model, nn.Module) else None

    def forget(self, model: nn.Module) -> None:
        """Make the next step with this model in full."""
        self._models.pop(model, None)

    def give_up(self, model: nn.Module, error: BaseException) -> None:
        """Make the next step in full, as a plain one could not be made; after a few of these all of them, for what a term does outside happens twice then."""
        self._given_up[model] = self._given_up.get(model, 0) + isinstance(error, UnforeseenError)
        self.forget(model)

    def has_verified(self, objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> bool:
        """Whether the gradient of the terms has been verified in this form, as far as it can be told at once."""
        form = self._find(objective, model, inputs, active)
        return form is not None and form.verified

    def learn(self, owner: nn.Module, call: Call, program: Program | None = None, *, verify: bool) -> None:
        """Remember the form of a call that was made in full, and whether the next one may be made at once: plainly, or by a program. owner: the criterion."""
        evaluation, objective, model = call.evaluation, call.objective, call.evaluation.model
        before = self._find(objective, model, evaluation.inputs, call.active)
        is_new = before is None or not (before.verified or _is_off(verify)) or not (program is None or id(program) in self._models[model].programs_seen)
        if not evaluation.setting.differentiable or not is_new:
            return
        verified = is_verified(objective, model, evaluation.inputs, call.active)
        known = self._models.get(model)
        if known is None or not known.structure.holds():
            structure = ModelStructure(model)
            if not structure.is_python:
                return
            known = self._models[model] = KnownModel(structure, memory(model))
        if program is not None:
            known.programs_seen.add(id(program))
            made = KnownProgram.of(call, program, verified=verified) if evaluation.state.placement.local else None
            known.programs = [*known.programs[1 - FORMS :], *([made] if made is not None else [])]
        plain = _plain_form(call, known, owner) if self._given_up.get(model, 0) < TRIALS else None
        form = _Form(objective, _kinds(evaluation.inputs), [item.term for item in call.active], verified, plain)
        known.forms = [*(other for other in known.forms[1 - FORMS :] if other is not before), form]

    def _find(self, objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> "_Form | None":
        known = self._models.get(model)
        return None if known is None else self._form(known, objective, model, inputs, active)

    def _form(self, known: "KnownModel", objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> "_Form | None":
        if not known.structure.holds():
            self.forget(model)
            return None
        kinds = _kinds(inputs)
        for form in known.forms:
            if form.kinds == kinds and form.is_of(objective, active):
                return form
        return None


def _plain_form(call: Call, known: "KnownModel", owner: nn.Module) -> PlainForm | None:
    """How the next step is made plainly; None where a plain step would not have given the same as this call, or the next one may be compiled."""
    objective, evaluation = call.objective, call.evaluation
    is_due = objective.base is not None or bool(call.active)
    if isinstance(objective.engine, Compiled) and not (
        objective.engine.has_given_up(evaluation.model, owner) or any(item.term.state() for item in call.active)
    ):
        return None
    if not is_due or not is_plain(evaluation) or not _takes_double_backward(objective, known) or not _is_ordinary(evaluation.inputs):
        return None
    return _as_made(call, known.structure.is_torchs_own)


def _as_made(call: Call, is_torchs_own: bool) -> PlainForm:
    """The form of steps that are made of the same passes as this call."""
    evaluation, terms, traces = call.evaluation, [item.term for item in call.active], traces_of(call.evaluation.model)
    passes = [forward for part in evaluation.with_subsets() for forward in part.passes()]
    phases, own = [forward.phase for forward in passes if forward.phase and not forward.any_order], [forward for forward in passes if forward.any_order]
    exchanged = any(phase.has_exchanged or not is_torchs_own for phase in phases)
    of_any_order = any(forward.phase and (forward.phase.has_exchanged or not is_torchs_own) for forward in own)
    small = any(forward.phase and forward.phase.left_small for forward in passes)
    are_several, wrt = runs(evaluation) > 1, evaluation.primal_pass.wrt
    differentiated = evaluation.differentiated() if are_several else wrt  # one that is asked for later is of a further pass, which only several are ready for
    needed = exchanged if differentiated else any(phase.has_mended or not is_torchs_own for phase in phases)
    return PlainForm(
        call.objective,
        differentiated,
        exchanged=exchanged,
        exchanged_at_inputs=bool(wrt) and needed,
        exchanged_at_any_order=of_any_order or not own,
        is_torchs_own=is_torchs_own,
        kept=Kept(evaluation.model, traces),
        are_several=are_several,
        stateful=[term for term in terms if term.state()],
        rewindable=not traces.can_be_undone and any(term.further_passes for term in terms),
        may_draw=any(term.further_passes or getattr(term, "at", None) is not None for term in terms),
        most=_numbers(evaluation.inputs) if small and not exchanged and not of_any_order else None,
        may_share=not _is_written_on(evaluation.model, passes) and not (wrt and any(phase.has_exchanged for phase in phases)),
    )


def _is_written_on(model: nn.Module, passes: list[ForwardPass]) -> bool:
    """Whether a term writes in place on what a pass gives it: on the output, or on first derivatives."""
    if any(forward.slopes.were_written or forward.is_output_written for forward in passes):
        note_writing(model)
    return is_written_on(model)


def _numbers(inputs: ModelInputs) -> int:
    return sum(z.numel() for _, z in inputs.tensors())


TRIALS = 3
"""How many plain steps with a model may be begun and not made."""
FORMS = 8
"""How many forms of one model are remembered: as many as there are sets of terms that are due at one step, times kinds of inputs."""


@dataclass
class _Form:
    objective: Objective
    kinds: Kinds
    terms: list[Any]
    verified: bool
    plain: PlainForm | None

    def is_of(self, objective: Objective, active: list[ActiveTerm]) -> bool:
        mine = self.objective
        if mine is objective and active is objective.constantly_active:
            return True
        return (
            mine.engine is objective.engine
            and mine.base is objective.base
            and mine.base_weight == objective.base_weight
            and mine.output is objective.output
            and len(active) == len(self.terms)
            and all(item.term is term for item, term in zip(active, self.terms, strict=True))
        )


@dataclass
class KnownModel:
    """A model's structure, and the forms of step and programs that were made with it."""

    structure: ModelStructure
    memory: Memory
    forms: list[_Form] = field(default_factory=list)
    programs: list[KnownProgram] = field(default_factory=list)
    programs_seen: set[int] = field(default_factory=set)
    """Programs by identity, those that may not be run at once too. A new one at the place of one that is gone is run in the full way."""


def _kinds(inputs: ModelInputs) -> Kinds:
    if inputs.bare:
        return ((0, inputs.args[0].dim(), inputs.args[0].dtype),)
    return tuple((key, z.dim(), z.dtype) for key, z in inputs.tensors())


def _is_ordinary(inputs: ModelInputs) -> bool:
    """Whether autograd alone is at work, on one process and in full precision."""
    if not is_only_autograd() or is_joined():
        return False
    if inputs.bare:
        return bool(inputs.args[0].numel())
    return all(z.numel() for _, z in inputs.tensors())


def _takes_double_backward(objective: Objective, known: "KnownModel") -> bool:
    engine = objective.engine
    if isinstance(engine, (Auto, Compiled)):  # the latter where it has given up
        return known.memory.engine is None
    return isinstance(engine, DoubleBackward) and not engine.recompute


def _is_off(verify: bool) -> bool:
    return not verify or os.environ.get(SWITCH) == "0"
