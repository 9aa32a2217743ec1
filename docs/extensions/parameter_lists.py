"""The list of a recipe's parameters: name, type in words, default, and what the docstring says."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from extensions import definitions, markdown
from inputgrad import catalogue
from inputgrad.heads import Of
from inputgrad.operators.coordinates import Names
from inputgrad.places.base import Place
from inputgrad.places.samples import Samples
from inputgrad.recipes.critics import whole_target
from inputgrad.recipes.residuals import Quantity
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key, Wrt

TYPES: list[tuple[Any, str]] = [
    (Samples, "tensor, key of the target, callable of the batch, or several in a tuple or dict"),
    (Weight, "number, or a callable of the step number"),
    (Of, "head: a name, an object of `ig.heads`, or a callable"),
    (Wrt, "position or name of an input, or a tuple of such"),
    (Key, "position or name of an input"),
    (TensorRef, "tensor, key of the target, or callable of the batch"),
    (Quantity, "number, tensor, or callable of the field"),
    (Names, 'one name per coordinate, such as `"xt"`'),
    (tuple[float, float], "pair of numbers"),
    (tuple[str, ...], "tuple of names"),
    (Place, "place, such as `ig.Given(points)`"),
    (float, "number"),
    (int, "whole number"),
    (bool, "`True` or `False`"),
    (str, "text"),
    (Tensor, "tensor"),
    (nn.Module, "module"),
    (type(None), "`None`"),
]
KEYS = {"output": "position or name of an output"} | dict.fromkeys(
    ("energy", "forces", "stress", "normals", "mask", "index", "on_surface"), "key of the target"
)
"""What a whole number or a text stands for under these names, where it is not an input."""


def parameters(entry: catalogue.Entry, homes: dict[str, str] | None = None, family: str = "") -> Iterator[str]:
    """A line for each parameter."""
    said = definitions.of(entry)[0]
    for name, parameter in inspect.signature(entry.made_of).parameters.items():
        default = "" if parameter.default is parameter.empty else f"; default {_default(parameter.default)}"
        text = markdown.plain(said[name].rstrip("."), homes, family)
        yield f"- **`{name}`** ({_kind(name, parameter.annotation)}{default}): {text}."


def in_words(annotation: Any) -> str:
    """A type, for readers who do not know the library's aliases."""
    for alias, words in TYPES:
        if annotation == alias:
            return words
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for value in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        parts = typing.get_args(annotation)
        for alias, words in sorted(TYPES, key=lambda pair: -len(typing.get_args(pair[0]))):  # an alias that is a union itself, beside others
            of_alias = typing.get_args(alias)
            if of_alias and len(of_alias) < len(parts) and set(map(str, of_alias)) <= set(map(str, parts)):
                rest = [part for part in parts if str(part) not in set(map(str, of_alias))]
                return ", or ".join([words, *map(in_words, rest)])
        return " or ".join(map(in_words, parts))
    if typing.get_origin(annotation) is Callable:
        return "callable"
    if typing.get_origin(annotation) is Mapping:
        return "dict"
    shown = getattr(annotation, "__name__", str(annotation)) if not typing.get_args(annotation) else str(annotation)
    return f"`{re.sub(r'[a-z_]+[.]', '', shown)}`"


def _kind(name: str, annotation: Any) -> str:
    words = in_words(annotation).replace("position or name of an input", KEYS.get(name, "position or name of an input"))
    return words.replace('coordinate, such as `"xt"`', 'output, such as `"uv"`') if name == "outputs" else words


def _default(value: Any) -> str:
    return "the whole target" if value is whole_target else f"`{getattr(value, '__name__', None) or repr(value)}`"
