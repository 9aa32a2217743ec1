"""What is measured of a trained network: one record. None of it reaches the training: random states and modes are left as they were.

Knows the assembly and the core's operators; knows no file and no page.
"""

import importlib.metadata
import platform
from typing import Any

import torch
from torch import Tensor

from inputgrad import heads
from inputgrad.devices import devices_of
from inputgrad.loss import InputGradientLoss
from inputgrad.operators.functions import follow_gradient, output_and_gradient
from inputgrad.passes.random_state import kept_random_state
from inputgrad.report.record import AttackCurve, Epoch, Path, Pictures, RunRecord
from inputgrad.study import attacks
from inputgrad.study.assembly import Assembly
from inputgrad.study.problems import StudyError, raised
from inputgrad.study.registry import HeadEntry
from inputgrad.study.training import CHUNK, score
from inputgrad.study.wording import brief, loss_line, score_in_words, settings_of
from inputgrad.terms import DirectionMatch

PACKAGES = ("inputgrad", "torch", "foolbox", "scikit-learn", "numpy")


def measured(assembly: Assembly, epochs: list[Epoch], before: tuple[float, list[float]], seconds: float) -> RunRecord:
    """The record of a finished run. before: the score and the gradient norms of the untrained network."""
    config, data = assembly.config, assembly.data
    with kept_random_state(devices_of(assembly.model)):
        pictures, path = (_pictures(assembly), _path(assembly)) if data.is_image else (None, None)
        return RunRecord(
            name=config.name, title=config.title or config.name, task=data.task, data=data.describe(),
            model=_model_line(assembly), loss=loss_line(config), settings=settings_of(config), epochs=epochs,
            test_score_before=before[0], test_score=score(assembly, data.test_inputs, data.test_labels),
            gradient_norms_before=before[1], gradient_norms=gradient_norms(assembly),
            attacks=_attacks(assembly), mean_cosine=mean_cosine(assembly), pictures=pictures, path=path,
            seconds=seconds, environment=environment(assembly),
        )  # fmt: skip


def try_out(assembly: Assembly) -> None:
    """Measure one sample before the training, so that a measure that fails does so at once. Raises `StudyError`."""
    try:
        term, of = _direction_term(assembly), _score(assembly)
        if assembly.data.is_image:
            inputs, labels = (part[:1] for part in (assembly.data.test_inputs, assembly.data.test_labels))
            _gradient(assembly, inputs, _target(assembly, labels), of)
        if term is not None:
            inputs, labels = (part[:1].to(assembly.device) for part in (assembly.data.test_inputs, assembly.data.test_labels))
            InputGradientLoss(None, [term]).evaluate(assembly.model, inputs, labels)
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(f"{assembly.config.name}: measures cannot be taken: {raised(error)}") from error


def gradient_norms(assembly: Assembly) -> list[float]:
    """‖∂loss_n/∂x_n‖₂ of each held-out sample's own base loss."""
    data = assembly.data
    rows = []
    for inputs, labels in zip(data.test_inputs.split(CHUNK), data.test_labels.split(CHUNK), strict=True):
        gradient = _gradient(assembly, inputs, assembly.targets(labels), assembly.sample_loss)
        rows += gradient.flatten(1).norm(dim=1).tolist()
    return rows


def mean_cosine(assembly: Assembly) -> float | None:
    """The mean cosine between input gradient and wanted direction over the held-out samples; None where no direction is wanted."""
    term = _direction_term(assembly)
    if term is None:
        return None
    data, mode = assembly.data, assembly.model.training
    assembly.model.eval()
    with torch.no_grad():
        step = InputGradientLoss(None, [term]).evaluate(assembly.model, data.test_inputs.to(assembly.device), data.test_labels.to(assembly.device))
    assembly.model.train(mode)
    return 1 - step.loss.item()


def environment(assembly: Assembly) -> dict[str, str]:
    """Versions of what computed the run, and on what kind of device."""
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **versions, "device": assembly.device.type, "threads": str(torch.get_num_threads())}


def _direction_term(assembly: Assembly) -> DirectionMatch | None:
    measures: Any = assembly.config.measures
    if measures.direction is not None:
        return DirectionMatch(measures.direction.make(assembly.data), of=_score(assembly))
    terms = assembly.criterion.terms if isinstance(assembly.criterion, InputGradientLoss) else ()
    return next((weighted.term for weighted in terms if isinstance(weighted.term, DirectionMatch)), None)


def _head(assembly: Assembly) -> Any:
    """Which score the pictures and the path show, as the config names it."""
    config: Any = assembly.config
    if config.measures.of is not None:
        return config.measures.of
    for term in config.loss.terms if config.loss is not None else ():
        if term.chosen == "direction_match":
            return term.settings.of
    return HeadEntry.model_validate("label" if assembly.data.task == "classification" else "output")


def _score(assembly: Assembly) -> Any:
    """The head itself; the sample's own loss is given as a callable, which every operator takes."""
    head = _head(assembly).make(assembly.data)
    return assembly.sample_loss if head == "loss" else head


def _attacks(assembly: Assembly) -> list[AttackCurve]:
    data, epsilons = assembly.data, assembly.config.measures.epsilons
    if data.task != "classification" or not epsilons:
        return []
    inputs, labels = data.test_inputs.to(assembly.device), data.test_labels.to(assembly.device)
    return attacks.curves(assembly.model, inputs, labels, data.bounds, epsilons, assembly.config.seed)


def _pictures(assembly: Assembly) -> Pictures:
    inputs, labels = _shown(assembly)
    gradient = _gradient(assembly, inputs, _target(assembly, labels), _score(assembly))
    names = [assembly.data.classes[label] for label in labels.tolist()] if assembly.data.classes else [f"{label:.2f}" for label in labels.tolist()]
    return Pictures(inputs[:, 0].tolist(), gradient[:, 0].tolist(), names, score_in_words(_head(assembly), assembly.data))


def _path(assembly: Assembly) -> Path:
    inputs, labels = (part.to(assembly.device) for part in _shown(assembly))
    measures, score_of, mode, target = assembly.config.measures, _score(assembly), assembly.model.training, _target(assembly, labels)
    assembly.model.eval()
    path = follow_gradient(
        assembly.model, inputs, of=score_of, target=target,
        steps=measures.steps, step_size=measures.step_size, move=measures.move, bounds=assembly.data.bounds,
    )  # fmt: skip
    assembly.model.train(mode)
    scores = [heads.resolve(score_of)(assembly.output(step), target).tolist() for step in path]
    by_sample = [list(values) for values in zip(*scores, strict=True)]
    return Path(path[:, :, 0].transpose(0, 1).tolist(), by_sample, score_in_words(_head(assembly), assembly.data), measures.step_size)


def _shown(assembly: Assembly) -> tuple[Tensor, Tensor]:
    """The first held-out samples, one per class in turn, so that every run on the same data shows the same ones."""
    data, count = assembly.data, assembly.config.measures.samples
    seen: dict[int, int] = {}
    turns = []
    for position, label in enumerate(data.test_labels.tolist() if data.classes else [0] * len(data.test_labels)):
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], label, position))
    chosen = [position for _, _, position in sorted(turns)[:count]]
    return data.test_inputs[chosen], data.test_labels[chosen]


def _gradient(assembly: Assembly, inputs: Tensor, target: Tensor, of: Any) -> Tensor:
    mode = assembly.model.training
    assembly.model.eval()
    gradient: Tensor = output_and_gradient(assembly.model, inputs.to(assembly.device), of=of, target=target.to(assembly.device))[1]
    assembly.model.train(mode)
    return gradient.detach().cpu()


def _target(assembly: Assembly, labels: Tensor) -> Tensor:
    """What the score of pictures and path is given: the base loss's targets for a loss, labels for a head."""
    return assembly.targets(labels) if _score(assembly) is assembly.sample_loss else labels


def _model_line(assembly: Assembly) -> str:
    count = sum(parameter.numel() for parameter in assembly.model.parameters())
    return f"{brief(assembly.model_entry)}, {count:,} parameters"
