"""The forms of step that a criterion has made in full before, so that the next step of one of them is a plain one. Must not know engines but by class."""

import os
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from inputgrad.engines.choice import Auto
from inputgrad.engines.compiled import Compiled
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.memory import memory
from inputgrad.passes.structure import ModelStructure
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.known_programs import KnownProgram, ProgramStep
from inputgrad.step.objective import Call, Objective
from inputgrad.step.plain_step import PlainForm, PlainStep
from inputgrad.step.verification import SWITCH, is_verified
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.tracing.records import Program
from inputgrad.variables import ModelInputs

Kinds = tuple[tuple[Any, int, torch.dtype], ...]


@dataclass
class KnownForms:
    """By model: its structure, and the forms of step that were made with it. Not copied with the criterion, since it is learnt again in one step."""

    _models: "weakref.WeakKeyDictionary[nn.Module, _Known]" = field(default_factory=weakref.WeakKeyDictionary)

    def __deepcopy__(self, memo: dict[int, Any]) -> "KnownForms":
        return KnownForms()

    def __reduce__(self) -> tuple[Any, ...]:
        return KnownForms, ()

    def make(
        self, objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm], *, verify: bool
    ) -> PlainStep | ProgramStep | None:
        """A step to be run, where this form is known and nothing that decides has changed."""
        known = self._models.get(model)
        if known is None or not _is_ordinary(inputs):
            return None
        if isinstance(objective.engine, Compiled):
            program = next((item for item in known.programs if item.serves(objective, inputs, target, active)), None)
            return ProgramStep(program, inputs, target) if program and program.holds() and (program.verified or _is_off(verify)) else None
        form = self._find(known, objective, model, inputs, active, verify)
        return None if form is None else PlainStep(form, model, inputs, target)

    def knows(self, model: Any) -> bool:
        """Whether a form of this model is known at all."""
        return isinstance(model, nn.Module) and model in self._models

    def forget(self, model: nn.Module) -> None:
        """Make the next step with this model in full."""
        self._models.pop(model, None)

    def learn_program(self, call: Call, program: Program | None, *, verify: bool) -> None:
        """Remember a compiled step that may be run at once at the next step of its form."""
        evaluation = call.evaluation
        if program is None or not evaluation.state.placement.local or not _is_ordinary(evaluation.inputs):
            return
        verified = is_verified(call.objective, evaluation.model, evaluation.inputs, call.active)
        known = KnownProgram.of(call, program, verified=verified) if verified or _is_off(verify) else None
        if known is not None:
            programs = self._models.setdefault(evaluation.model, _Known(known.structure)).programs
            programs.append(known)
            del programs[:-FORMS]

    def learn(self, call: Call, *, verify: bool) -> None:
        """Remember the form of a call that was made in full, where a plain step would have given the same."""
        evaluation, objective = call.evaluation, call.objective
        model, primal = evaluation.model, evaluation.primal_pass
        if objective.base is None and not call.active:  # nothing is due
            return
        if not evaluation.is_plain() or not _takes_double_backward(objective, model) or not _is_ordinary(evaluation.inputs):
            return
        learnt = is_verified(objective, model, evaluation.inputs, call.active)
        if not learnt and not _is_off(verify):
            return
        known = self._models.get(model)
        if known is None or not known.structure.holds():
            structure = ModelStructure(model)
            if not structure.is_python:
                return
            known = self._models[model] = _Known(structure)
        exchanged = primal.has_phase and not (known.structure.is_torchs_own and not primal.has_exchanged)
        rewindable = any(item.term.further_passes for item in call.active)
        form = PlainForm(objective, primal.wrt, exchanged, rewindable)
        known.forms.append(_Form(form, _kinds(evaluation.inputs), [item.term for item in call.active], learnt))
        del known.forms[:-FORMS]

    def _find(self, known: "_Known", objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm], verify: bool) -> PlainForm | None:
        if not _takes_double_backward(objective, model):
            return None
        if not known.structure.holds():
            self.forget(model)
            return None
        kinds = _kinds(inputs)
        for known_form in known.forms:
            if known_form.kinds == kinds and known_form.is_of(objective, active):
                return known_form.form if known_form.verified or _is_off(verify) else None
        return None


FORMS = 8
"""How many forms of one model are remembered: as many as there are sets of terms that are due at one step, times kinds of inputs."""


@dataclass
class _Form:
    form: PlainForm
    kinds: Kinds
    terms: list[Any]
    verified: bool

    def is_of(self, objective: Objective, active: list[ActiveTerm]) -> bool:
        mine = self.form.objective
        return (
            mine.engine is objective.engine
            and mine.base is objective.base
            and mine.output is objective.output
            and len(active) == len(self.terms)
            and all(item.term is term for item, term in zip(active, self.terms, strict=True))
        )


@dataclass
class _Known:
    structure: ModelStructure
    forms: list[_Form] = field(default_factory=list)
    programs: list[KnownProgram] = field(default_factory=list)


def _kinds(inputs: ModelInputs) -> Kinds:
    return tuple((key, z.dim(), z.dtype) for key, z in inputs.tensors())


def _is_ordinary(inputs: ModelInputs) -> bool:
    """Whether autograd alone is at work, on one process and in full precision."""
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not (torch.distributed.is_available() and torch.distributed.is_initialized())
        and not is_tracing()
        and not is_transforming()
        and not torch.compiler.is_compiling()
        and not any(torch.is_autocast_enabled(z.device.type) or not z.numel() for _, z in inputs.tensors())
    )


def _takes_double_backward(objective: Objective, model: nn.Module) -> bool:
    engine = objective.engine
    return isinstance(engine, DoubleBackward) or (isinstance(engine, Auto) and memory(model).engine is None)


def _is_off(verify: bool) -> bool:
    return not verify or os.environ.get(SWITCH) == "0"
