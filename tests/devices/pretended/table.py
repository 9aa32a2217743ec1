"""Steps on the pretended device beside the same steps on the CPU: ``python -m tests.devices.pretended.table [EVERY]`` prints one line of JSON for each.

EVERY: how many of the steps one is taken of; 0: none, the checks alone.

A line holds the case, how far value and gradient are from the CPU's, what the host waited for or copied in the third step, and the error where one came.
"""

import copy
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import inputgrad as ig
from tests.cases import table
from tests.catalogue import harness
from tests.devices.pretended import autocast_checks, backend, capture_checks, held_checks, training_checks  # noqa: F401  # four register their checks
from tests.devices.pretended.checks import CHECKS, SLOW
from tests.table import LIMITS

ENGINES = ("auto", "double_backward", "reverse_over_forward", "finite_difference")
STEPS = 3


@dataclass(frozen=True)
class Trial:
    """What is done on both. make: the model, its inputs and the target; criterion: made anew for each."""

    name: str
    make: Callable[[], tuple[nn.Module, Any, Any]]
    criterion: Callable[[], ig.InputGradientLoss]


def of_catalogue() -> Iterator[Trial]:
    """Every published loss on its first model, by every engine that serves."""
    for path in sorted((Path(__file__).parents[2] / "catalogue").glob("test_*.py")):
        entries: tuple[harness.Entry, ...] = getattr(importlib.import_module(f"tests.catalogue.{path.stem}"), "ENTRIES", ())
        for entry in (entry for entry in entries if isinstance(entry, harness.Entry)):
            for engine in ENGINES:
                yield Trial(
                    f"{entry.name}-{engine}",
                    lambda entry=entry: harness.made(entry, entry.models[0]),
                    lambda entry=entry, engine=engine: ig.InputGradientLoss(entry.base, entry.terms(), engine=engine),
                )


def of_cases() -> Iterator[Trial]:
    """The table of terms and models."""
    for case in table():
        for engine in ENGINES:
            if case.specimen.name not in LIMITS.get(engine, {}):
                yield Trial(
                    f"{case.name}-{engine}",
                    lambda case=case: (case.specimen.make(), case.specimen.data(case.size), case.target()),
                    lambda case=case, engine=engine: case.criterion(engine),
                )


def moved(value: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(backend.DEVICE), value)


def steps(trial: Trial, *, there: bool) -> tuple[float, list[Tensor | None], list[tuple[str, str]]]:
    """Value and gradients of the last step, and what the host waited for in it."""
    torch.manual_seed(0)
    model, inputs, target = trial.make()
    criterion = trial.criterion()
    if there:
        model, inputs, target = model.to(backend.DEVICE), moved(inputs), moved(target)
    state = copy.deepcopy(model.state_dict())
    for _ in range(STEPS):
        model.load_state_dict(state)
        model.zero_grad()
        torch.manual_seed(4)
        backend.STATE.events.clear()
        loss = criterion(model, inputs, target)
        loss.backward()
        events = list(backend.STATE.events)
    return loss.item(), [None if p.grad is None else p.grad.cpu() for p in model.parameters()], events


def tried(trial: Trial) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value, gradients, _ = steps(trial, there=False)
        except ig.EngineError:
            return {"case": trial.name, "refused": True}
        try:
            found, there, events = steps(trial, there=True)
        except Exception as error:  # whatever comes is the result
            return {"case": trial.name, "error": f"{type(error).__name__}: {error}"[:400], "where": _where(error)}
    zero = torch.zeros(())
    pairs = [(zero if a is None else a, zero if b is None else b) for a, b in zip(there, gradients, strict=True)]
    least = 1e-6 * sum(float(b.square().sum()) for _, b in pairs) ** 0.5 + 1e-9  # a bias before a batch norm has no gradient but rounding
    off = max([abs(found - value) / (abs(value) + 1e-12), *(float((a - b).norm()) / max(float(b.norm()), least) for a, b in pairs)])
    return {"case": trial.name, "off": off, "events": sorted({f"{what} ({where})" for what, where in events})}


def _where(error: BaseException) -> str:
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if "/inputgrad/" in (file := trace.tb_frame.f_code.co_filename):
            lines.append(f"{file.split('/inputgrad/')[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return lines[-1] if lines else ""


def checked(name: str) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            (CHECKS | SLOW)[name]()
        except Exception as error:  # whatever comes is the result
            return {"check": name, "error": f"{type(error).__name__}: {error}"[:600], "where": _where(error)}
    return {"check": name}


def main(every: int) -> None:
    backend.switch_on()
    os.environ["INPUTGRAD_VERIFY"] = "0"  # what a first step does besides is not what is compared
    for name in (*CHECKS, *(SLOW if every == 1 else ())):
        print(json.dumps(checked(name)), flush=True)
    for number, trial in enumerate((*of_catalogue(), *of_cases())) if every else ():
        if number % every == 0:
            print(json.dumps(tried(trial)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
