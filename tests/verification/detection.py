"""``python -m tests.verification.detection``: how often the first step's check finds a mistake of a given size; makes the table of docs/verification.md.

Each mistake is tried on fresh weights and data of every model of `models`, some minutes in all.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import KnownGradients
from inputgrad.step.active_terms import active_terms
from inputgrad.step.verifier import Verification, Verifier
from inputgrad.variables import ModelInputs
from tests.verification.models import SETTINGS, Setting, Wrong, off_by, through_the_model

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"
BEGIN, END = "<!-- detection: table -->", "<!-- end of detection: table -->"
SIZES = (0.01, 0.03, 0.1, 0.3, 1.0)
TRIES = 40
"""Weights and batches for each model, size and precision."""
DTYPES = {"float32": torch.float32, "float64": torch.float64}

Mistake = Callable[[Tensor, list[nn.Parameter]], Iterable[Tensor | KnownGradients]]


def verified(setting: Setting, engine: Any, dtype: torch.dtype) -> Verification:
    """What the first step says of the terms of a setting on this engine: that of the second derivative in the inputs comes before its verification."""
    criterion = ig.InputGradientLoss(setting.base, setting.term, engine=engine)
    model, inputs, target = setting.model.to(dtype), cast(setting.inputs, dtype), cast(setting.target, dtype)
    due = active_terms(criterion.terms, 0, training=True)
    try:
        return Verifier(criterion.objective, model, ModelInputs.of(inputs), target, due).verify(criterion.engine)
    except ig.EngineError as error:
        return Verification("wrong", reason=str(error))


def cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def everywhere(size: float, _seed: int) -> Mistake:
    """Every parameter learns so much too little."""

    def mistake(share: Tensor, _parameters: list[nn.Parameter]) -> Iterable[Tensor]:
        yield (1 - size) * share

    return mistake


def in_one_tensor(size: float, seed: int) -> Mistake:
    """One tensor, another one in every try, learns so much too little; of those that learn anything."""

    def mistake(share: Tensor, parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
        gradients = torch.autograd.grad(share, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        learning = [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient.any()]
        yield off_by(learning[seed % len(learning)], share, -size)
        yield share

    return mistake


KINDS: dict[str, Callable[[float, int], Mistake]] = {"the whole gradient": everywhere, "one tensor": in_one_tensor}


def found(kind: Callable[[float, int], Mistake], model: str, size: float, dtype: torch.dtype, tries: int = TRIES) -> float:
    """The share of the tries in which the mistake was found."""
    results = []
    for seed in range(tries):
        torch.manual_seed(seed)
        setting = SETTINGS[model]()
        if model == "pinn":  # its residual differentiates the model itself, whatever the engine
            setting, engine = through_the_model(setting, size, None if kind is everywhere else seed), "double_backward"
        else:
            engine = Wrong(kind(size, seed))
        results.append(verified(setting, engine, dtype).status)
    return results.count("wrong") / tries


def table(tries: int = TRIES) -> str:
    """A row for each kind of mistake and precision, a column for each size: the least share over the models, and the mean."""
    rows = [["mistake in", "precision", *(f"{size:.0%}" for size in SIZES)], ["---"] * (2 + len(SIZES))]
    for words, kind in KINDS.items():
        for name, dtype in DTYPES.items():
            shares = [[found(kind, model, size, dtype, tries) for model in SETTINGS] for size in SIZES]
            rows.append([words, name, *(f"{min(row):.0%} … {max(row):.0%}" if min(row) < max(row) else f"{min(row):.0%}" for row in shares)])
            print(rows[-1], flush=True)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    torch.set_num_threads(1)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
