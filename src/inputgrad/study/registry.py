"""What a config can name: heads, perturbations, places, terms, base losses and directions, each with its settings.

Everything is found by its class: a new term is known here without a line. Builds objects of the core; trains nothing.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from torch import Tensor

from inputgrad import base_losses, catalogue, heads, perturb, places
from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.loss import InputGradientLoss
from inputgrad.passes.output_views import OfLosses, OnPart
from inputgrad.study.directions import DIRECTIONS
from inputgrad.study.imports import load, load_callable
from inputgrad.study.settings import (
    CallableReference,
    Checked,
    NeedsDataError,
    Nothing,
    OneOf,
    Reference,
    Settings,
    of_dataclass,
    of_function,
    of_keywords,
    one_of,
)
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms import FunctionTerm, Term, Weighted
from inputgrad.terms.weights import Weight
from inputgrad.terms.with_base import WithBase
from inputgrad.variables import Key, Wrt

SCHEDULE: dict[str, Any] = {"weight": (float, 1.0), "every": (int, 1), "fraction": (float, 1.0)}
"""What `Weighted` knows beside its term."""


class OwnCallable(Settings):
    """An object of the user's own that can be called: ``callable: package.module:name``."""

    callable: CallableReference

    def make(self, data: Any = None) -> Any:
        return load_callable(self.callable)


class InnerOutput(Settings):
    """Each output of an inner module, by its name in the model: ``{inner: {module: "2"}}``."""

    module: str

    def make(self, data: Any = None) -> heads.Inner:
        return heads.Inner(self.module)


class OwnTerm(Checked):
    """A term of the user's own: ``callable: package.module:name`` of a term object, or of a function decorated with ``@inputgrad.term``."""

    callable: Reference
    weight: float = 1.0

    def make(self, data: Any = None) -> Weighted:
        found = load(self.callable)
        made = found() if isinstance(found, type) and issubclass(found, Term) else found
        if not isinstance(made, Term):
            raise ValueError(f"{self.callable!r} is a {type(made).__name__}, expected a term: decorate the function with @inputgrad.term")
        return Weighted(made, self.weight)


_CATALOGUE = catalogue.entries()
"""Also imports every term, so that they are found by their class."""
_LATE = {"Batch": Batch, "Perturbation": perturb.Perturbation, "InputGradientLoss": InputGradientLoss}
"""Names that the core's annotations hold as text, since their modules come later."""


def snake(name: str) -> str:
    """``GradientNorm`` -> ``gradient_norm``; ``FGSM`` -> ``fgsm``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def concrete(base: type[Any]) -> dict[str, type]:
    """The frozen dataclasses below ``base`` that the library has, by name."""
    found: dict[str, type] = {}
    subclasses: list[type[Any]] = base.__subclasses__()
    for cls in subclasses:
        if dataclasses.is_dataclass(cls) and cls.__module__.startswith("inputgrad."):
            found[snake(cls.__name__)] = cls
        found.update(concrete(cls))
    return found


def _perturbations() -> dict[str, type]:
    """Every perturbation; two also by their names in earlier versions."""
    return {**concrete(perturb.Perturbation), "carried": perturb.PersistentPerturbation, "foreign": perturb.ExternalAttack}


def _heads() -> type[OneOf]:
    named = {type(head) for head in heads.NAMED.values()}
    apart = named | {heads.CallableHead, heads.FixedProjection, heads.Inner, heads.Output, base_losses.OwnLoss, OnPart, OfLosses}
    kinds: dict[str, type[Settings]] = dict.fromkeys(["loss", *heads.NAMED], Nothing)
    kinds |= {name: _settings(kind) for name, kind in concrete(heads.Head).items() if kind not in apart}
    kinds.update(inner=InnerOutput, own=OwnCallable)
    return one_of("Head", kinds, shorthand="own")


def _settings(cls: type, extra: dict[str, Any] | None = None) -> type[Settings]:
    hints = typing.get_type_hints(cls, localns=_LATE)
    return of_dataclass(cls, {name: _NAMED.get(name) or translated(hint) for name, hint in hints.items()}, extra)


def _weighted(cls: type) -> type[Settings]:
    """The settings of a term, with its weight and schedule: they make a `Weighted`."""
    plain = _settings(cls, SCHEDULE)

    def make(self: Settings, data: Any = None) -> Weighted:
        arguments = _with_columns(self.arguments(data), data)
        schedule = {name: arguments.pop(name) for name in SCHEDULE}
        return Weighted(cls(**arguments), **schedule)

    return type(cls.__name__, (plain,), {"make": make, "__module__": __name__})


def _with_columns(arguments: dict[str, Any], data: Any) -> dict[str, Any]:
    """The arguments with ``features`` by number, where the config has the names of a table's columns. Raises `ValueError` for a name that is none."""
    features = arguments.get("features")
    if not isinstance(features, dict) or not any(isinstance(name, str) for name in features):
        return arguments
    if data is None:
        raise NeedsDataError
    columns = list(data.columns)
    for name in features:
        if isinstance(name, str) and name not in columns:
            known = f"; {nearest(name, columns)}" if columns else f": {data.name} has no names of columns, number its entries from 0"
            raise ValueError(f"features: there is no column {name!r}{known}")
    return {**arguments, "features": {columns.index(name) if isinstance(name, str) else name: sign for name, sign in features.items()}}


def _recipes() -> dict[str, type[Settings]]:
    """The methods of papers: what they return, with a schedule. One whose name a term has is not told apart from it, and no config needs both."""
    return {entry.name: _recipe(entry.made_of) for entry in _CATALOGUE if entry.kind == "recipe"}


def _recipe(function: Callable[..., Any]) -> type[Settings]:
    hints = {name: translated(hint) for name, hint in typing.get_type_hints(function, localns=_LATE).items()}
    schedule = {name: default for name, default in SCHEDULE.items() if name != "weight" and name not in hints}
    plain = of_function(function, hints, schedule)

    def make(self: Settings, data: Any = None) -> Any:
        arguments = _with_columns(self.arguments(data), data)
        given = {name: arguments.pop(name) for name in schedule}
        made = function(**arguments)
        return made.scheduled(**given) if given != {name: default for name, (_, default) in schedule.items()} else made

    return type(function.__name__, (plain,), {"make": make, "__module__": __name__})


def translated(annotation: Any) -> Any:
    """The type that a config has where a dataclass of the core has ``annotation``."""
    for known, replacement in _TRANSLATIONS:
        if annotation == known:
            return replacement
    return annotation if _plain(annotation) else Any


def _plain(annotation: Any) -> bool:
    """Whether YAML can hold it: numbers, words, switches, and tuples, unions and choices of these."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list):
        return all(map(_plain, typing.get_args(annotation)))
    return annotation in (int, float, str, bool, type(None), Ellipsis) or typing.get_origin(annotation) is typing.Literal


_NAMED: dict[str, Any] = {}
"""Setting -> its type, where the annotation alone would not tell: a direction is more than any labels."""
_TRANSLATIONS: list[tuple[Any, Any]] = [(Key, int | str), (Wrt, int | str | list[int | str])]
HeadEntry = _heads()
_TRANSLATIONS.append((Of, HeadEntry))
PerturbationEntry = one_of("Perturbation", {name: _settings(cls) for name, cls in _perturbations().items()})
_TRANSLATIONS.append((perturb.Perturbation | Callable[[Batch], Tensor], PerturbationEntry))
PlaceEntry = one_of("Place", {"perturbed": _settings(places.Perturbed), "own": OwnCallable}, shorthand="own")
_TRANSLATIONS.append((places.Place | None, PlaceEntry | None))
DirectionEntry = one_of("Direction", DIRECTIONS, shorthand="own")
_NAMED["direction"] = DirectionEntry

_TRANSLATIONS += [(TensorRef, int | str | OwnCallable), (TensorRef | None, int | str | OwnCallable | None), (Weight, float)]
TERMS: dict[str, type[Settings]] = {name: _weighted(cls) for name, cls in concrete(Term).items() if cls not in (FunctionTerm, WithBase)} | _recipes()
TermEntry = one_of("Term", TERMS | {"own": OwnTerm}, shorthand="own")
BaseEntry = one_of("BaseLoss", {name: of_keywords(cls) for name, cls in base_losses.NAMED.items()} | {"own": OwnCallable}, shorthand="own")
