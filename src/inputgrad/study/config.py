"""The config of one run: what can be written in the YAML file, and what each key means.

Knows the names of everything (through the registry) and builds nothing; how problems are told is `inputgrad.study.checking`'s.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from inputgrad import base_losses, engines
from inputgrad.study import expression
from inputgrad.study.data import Data, Task, breast_cancer, diabetes, digits
from inputgrad.study.files import read_csv, read_npz
from inputgrad.study.models import ModelEntry
from inputgrad.study.problems import shown
from inputgrad.study.registry import TERMS, BaseEntry, DirectionEntry, HeadEntry, TermEntry
from inputgrad.study.settings import CallableReference, Settings, one_of

EPSILONS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.2)
LONGEST_NAME = 200
NOT_ON_WINDOWS = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³")}
"""Devices on Windows, with any ending."""
REPORT = "report.html"
"""What the command writes beside the runs' directories."""
LARGEST_FACTOR = 1e30
"""Of learning rates and the like: float32 ends at 3e38."""
LARGEST = 2**31 - 1
"""Of whole numbers that count something."""
SHIPPED = {"digits": digits, "breast_cancer": breast_cancer, "diabetes": diabetes}


class Split(Settings):
    """held_out: the share of samples that training never sees; split_seed: which ones (the same for every run, unless changed)."""

    held_out: float = Field(default=0.3, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0, lt=2**32)


class CsvFile(Split):
    """A CSV file: ``path``, the column ``target``, and whether its values are classes or numbers. By default the command guesses, and says so."""

    path: str = Field(min_length=1)
    target: str
    task: Task | None = None

    def make(self, data: Any = None) -> Data:
        return read_csv(self.path, self.target, self.task, self.held_out, self.split_seed)


class NpzFile(Split):
    """An NPZ file: ``path``, the keys of the two arrays, and whether the target holds classes or numbers."""

    path: str = Field(min_length=1)
    inputs: str = "x"
    target: str = "y"
    task: Task | None = None

    def make(self, data: Any = None) -> Data:
        return read_npz(self.path, self.inputs, self.target, self.task, self.held_out, self.split_seed)


def _shipped(name: str) -> type[Settings]:
    def make(self: Split, data: Any = None) -> Data:
        return SHIPPED[name](self.held_out, self.split_seed)

    return type(name, (Split,), {"make": make, "__module__": __name__})


class Loss(Settings):
    """A base loss and terms on the input gradient; either may be missing, not both."""

    base: BaseEntry | None = None  # type: ignore[valid-type]  # made from the table of base losses
    terms: list[TermEntry] = Field(default_factory=list)  # type: ignore[valid-type]  # a type made from the registry

    @field_validator("terms", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [{name: settings} for name, settings in value.items()] if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.base is None and not self.terms:
            raise ValueError("there is neither a base loss nor a term; for example base: cross_entropy")
        return self


class Criterion(Settings):
    """A loss of the user's own, ``callable(model, inputs, target, **settings)``: a 0-d tensor, or an `inputgrad.Step` that tells its parts too."""

    callable: CallableReference
    settings: dict[str, Any] = Field(default_factory=dict)


class OptimizerSettings(Settings):
    """The settings of an optimiser, tried on one parameter while the config is read."""

    kind: ClassVar[type[torch.optim.Optimizer]]

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        settings: dict[str, Any] = self.model_dump()
        return self.kind(parameters, **settings)

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        self.build([nn.Parameter(torch.zeros(1))])
        return self


class Adam(OptimizerSettings):
    kind: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam

    lr: float = Field(default=1e-3, gt=0, le=LARGEST_FACTOR)
    weight_decay: float = Field(default=0, ge=0, le=LARGEST_FACTOR)
    betas: tuple[float, float] = (0.9, 0.999)


class AdamW(Adam):
    kind: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW

    weight_decay: float = Field(default=1e-2, ge=0, le=LARGEST_FACTOR)


class Sgd(OptimizerSettings):
    kind: ClassVar[type[torch.optim.Optimizer]] = torch.optim.SGD

    lr: float = Field(default=0.1, gt=0, le=LARGEST_FACTOR)
    momentum: float = Field(default=0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0, ge=0, le=LARGEST_FACTOR)


class Measures(Settings):
    """What is measured at the end. None of it reaches the training.

    of: the score of the pictures and of the path; by default that of a `direction_match` term, else ``label`` (``output`` for a regression).
    direction: with it the mean cosine is measured for a network that was not trained for it. epsilons: sizes of the attacks; empty for none.
    """

    of: HeadEntry | None = None  # type: ignore[valid-type]  # a type made from the registry
    direction: DirectionEntry | None = None  # type: ignore[valid-type]  # a type made from the registry
    move: Literal["ascend", "descend"] = "ascend"
    steps: int = Field(default=10, ge=1, le=1000)
    step_size: float = Field(default=0.3, gt=0)
    samples: int = Field(default=6, ge=1, le=24)
    epsilons: list[float] = Field(default_factory=lambda: list(EPSILONS))

    @field_validator("epsilons")
    @classmethod
    def _sizes(cls, value: list[float]) -> list[float]:
        if any(not 0 <= epsilon < float("inf") for epsilon in value):
            raise ValueError(f"the epsilons must be at least 0 and finite, got {value}")
        return sorted(set(value))


DataEntry = one_of("Data", {name: _shipped(name) for name in SHIPPED} | {"csv": CsvFile, "npz": NpzFile})
OptimizerEntry = one_of("Optimizer", {"adam": Adam, "adamw": AdamW, "sgd": Sgd})


class Config(Settings):
    """One run. name: its directory below ``--out`` (by default the config file's name); title: its heading in the report.

    threads: CPU threads, by default torch's choice. One is fastest for networks as small as the built-in ones, and gives the same digits
    on any number of cores.
    """

    name: str
    title: str | None = None
    data: DataEntry  # type: ignore[valid-type]  # a type made from the registry
    model: ModelEntry | None = None  # type: ignore[valid-type]  # by default cnn for pictures and mlp for the rest
    loss: Loss | None = None
    criterion: Criterion | None = None
    optimizer: OptimizerEntry = OptimizerEntry.model_validate("adam")  # type: ignore[valid-type]  # a type made from the registry
    epochs: int = Field(default=30, ge=1, le=LARGEST)
    batch_size: int = Field(default=64, ge=1, le=LARGEST)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    engine: str = "auto"
    measures: Measures = Measures()

    @field_validator("name")
    @classmethod
    def _is_a_directory(cls, value: str) -> str:
        if not re.fullmatch(r"[\w][\w.+ -]*", value) or value[-1] in ". ":
            raise ValueError(f"a run's name is its directory's name: letters, digits, and . _ - + inside, not at the end; got {shown(value)}")
        if len(value.encode()) > LONGEST_NAME:
            raise ValueError(f"a run's name is its directory's name, of at most {LONGEST_NAME} bytes; got {len(value.encode())}")
        if value.casefold() == REPORT:
            raise ValueError(f"a run's name is its directory's name, and {REPORT} is the report beside it: choose another")
        if value.split(".")[0].strip().upper() in NOT_ON_WINDOWS:
            raise ValueError(f"a run's name is its directory's name, and Windows has no files of the name {value!r}: choose another")
        return value

    @field_validator("loss", mode="before")
    @classmethod
    def _from_line(cls, value: Any) -> Any:
        return expression.parse(value, base_losses.NAMED, TERMS) if isinstance(value, str) else value

    @field_validator("criterion", mode="before")
    @classmethod
    def _from_reference(cls, value: Any) -> Any:
        return {"callable": value} if isinstance(value, str) else value

    @field_validator("engine")
    @classmethod
    def _is_known(cls, value: str) -> str:
        engines.resolve(value)
        return value

    @field_validator("device")
    @classmethod
    def _is_there(cls, value: str) -> str:
        try:
            if torch.empty(0, device=value).is_meta:
                raise RuntimeError("it holds no numbers")
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"{value!r} is not a device of this machine, use cpu, or cuda where there is one: {str(error).splitlines()[0]}") from error
        return value

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if (self.loss is None) == (self.criterion is None):
            found = "neither" if self.loss is None else "both"
            raise ValueError(f"a run has either `loss` (a base loss and terms) or `criterion` (a loss of your own); got {found}")
        return self
