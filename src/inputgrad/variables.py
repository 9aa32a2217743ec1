"""Variables: how a model is called (`ModelInputs`), and how what is differentiated is named: inputs, and the outputs of inner modules.

Knows no head, no place, no term and no engine.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.errors import nearest

Key = int | str
"""One variable: a position, a name, or ``"module:<name>"`` for the output of an inner module."""

_UNPACKED = (
    '. A model that takes one dict needs a wrapper whose forward is `def forward(self, **inputs): return self.model(inputs)`, or ["energy"] of that, and the '
    'inputs as a dict: criterion(wrapper, {"positions": positions, ...}, target)'
)

Wrt = Key | tuple[Key, ...] | list[Key]
MODULE = "module:"


def is_module(key: Key) -> bool:
    """Whether a key names the output of an inner module, not an input."""
    return isinstance(key, str) and key.startswith(MODULE)


def keys_of(wrt: Wrt) -> tuple[Key, ...]:
    """``wrt`` as a tuple of keys. Raises `TypeError` for anything but a position, a name, or several of them."""
    several = tuple(wrt) if isinstance(wrt, (tuple, list)) else (wrt,)
    for key in several:
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise TypeError(
                f'wrt must be a position, a name, "module:<name>", or several of them; got {described(key) if isinstance(key, Tensor) else repr(key)}'
            )
    if not several:
        raise TypeError("wrt is empty: name at least one input, for example wrt=0")
    return several


@dataclass(frozen=True)
class ModelInputs:
    """How the model is called: a tensor as ``model(x)``, a tuple as ``model(*inputs)``, a dict as ``model(**inputs)``. It knows which of them was given."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    bare: bool = False
    """Whether a tensor by itself was given, not a tuple of one."""

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], bare: bool = False) -> None:
        self.__dict__.update(args=args, kwargs=kwargs, bare=bare)  # made several times a step, and frozen: one call in place of three

    @classmethod
    def of(cls, inputs: Any) -> "ModelInputs":
        if isinstance(inputs, ModelInputs):
            return inputs
        if isinstance(inputs, Tensor):
            return cls((inputs,), {}, bare=True)
        if isinstance(inputs, (tuple, list)) and len(inputs):
            return cls(tuple(inputs), {})
        if isinstance(inputs, Mapping) and len(inputs):
            return cls((), dict(inputs))
        raise TypeError(f"inputs must be a tensor, a tuple for model(*inputs) or a dict for model(**inputs), and not empty; got {described(inputs)}")

    def call(self, model: nn.Module) -> Any:
        try:
            return model(*self.args, **self.kwargs)
        except TypeError as error:
            if self.kwargs and "unexpected keyword argument" in str(error) and len(_parameter_names(model)) == 1:
                error.add_note(f"A dict of inputs is passed as model(**inputs){_UNPACKED}")
            raise

    def values(self) -> dict[Key, Any]:
        if self.bare:
            return {0: self.args[0]}
        positions: dict[Key, Any] = dict(enumerate(self.args))
        return positions | dict(self.kwargs)

    def key(self, key: Key, model: nn.Module) -> Key:
        """The canonical key of ``key``: for dicts a position is the n-th entry, for tuples a name is a parameter of ``model.forward``."""
        values = self.values()
        if key in values:
            return key
        if isinstance(key, int) and not self.args and 0 <= key < len(self.kwargs):
            return list(self.kwargs)[key]
        if isinstance(key, str) and key in (names := _parameter_names(model)) and names.index(key) < len(self.args):
            return names.index(key)
        known = [*values, *_parameter_names(model)[: len(self.args)]]
        told = f"wrt={key!r} is not an input of this call; {nearest(key, known)}, or 'module:<name>' for the output of an inner module"
        raise ValueError(told + next((_UNPACKED for part in self.args if isinstance(part, Mapping) and key in part), ""))

    def variable(self, key: Key) -> Tensor:
        """The tensor under ``key``, checked: a floating-point tensor with at least one row."""
        value = self.args[0] if self.bare and key == 0 else self.values()[key]
        if not isinstance(value, Tensor):
            raise TypeError(f"wrt={key!r} must name a tensor of the inputs, got {type(value).__name__}; choose another with wrt=")
        if value.is_complex():
            raise TypeError(
                f"inputs[{key!r}] is {value.dtype}: input gradients are taken of real inputs. Let the model take the real and imaginary parts, as "
                "torch.view_as_real gives them, and make the complex number inside"
            )
        if not value.is_floating_point():
            raise TypeError(
                f"inputs[{key!r}] is {value.dtype}: there is no derivative with respect to integers. "
                'Convert it to float, or for tokens differentiate the embedding: wrt="module:<name of the embedding>"'
            )
        if value.dim() == 0 or value.numel() == 0:
            raise ValueError(f"inputs[{key!r}] has shape {list(value.shape)}: expected a batch [N, ...] of at least one sample")
        return value

    def with_values(self, values: Mapping[Key, Tensor], model: nn.Module) -> "ModelInputs":
        """The same call with the tensors under these keys, as a user writes them, replaced: also those that cannot be differentiated."""
        return self.replaced({key if is_module(key) else self.key(key, model): value for key, value in values.items()})

    def replaced(self, values: Mapping[Key, Tensor]) -> "ModelInputs":
        """The same call with the tensors under the given keys replaced. Raises `ValueError` for a key that is no input."""
        if self.bare and values.keys() == {0}:
            return ModelInputs((values[0],), self.kwargs, bare=True)
        for key in values.keys() - self.values().keys():
            raise ValueError(
                f"{key!r} is not an input of the model, and a place moves inputs: an inner module's output cannot be moved by one. "
                "For a perturbation there use Adversarial, or in a term of your own batch.output_with"
            )
        args = tuple(values.get(position, value) for position, value in enumerate(self.args))
        return replace(self, args=args, kwargs={name: values.get(name, value) for name, value in self.kwargs.items()})

    def device(self, model: nn.Module | None = None) -> torch.device:
        """Where the tensors are; that of the model's parameters where there is none."""
        tensors = [*(tensor for _, tensor in self.tensors()), *(model.parameters() if model is not None else ())]
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def as_given(self) -> Any:
        """A tensor, tuple or dict again."""
        if self.kwargs:
            return dict(self.kwargs)
        return self.args[0] if self.bare else self.args

    @property
    def has_graph(self) -> bool:
        """Whether they hang on a graph of the caller's, which every pass of the model goes on into."""
        return any(tensor.grad_fn is not None for _, tensor in self.tensors())

    def tensors(self) -> list[tuple[Key, Tensor]]:
        if self.bare:
            return [(0, self.args[0])]
        return [(key, value) for key, value in self.values().items() if isinstance(value, Tensor)]


def inner_module(model: nn.Module, key: str) -> nn.Module:
    """The module that ``"module:<name>"`` names, by any of its names, looked for below the usual wrappers too. Raises `ValueError` with the nearest name."""
    name = key.removeprefix(MODULE)
    found = model.named_modules(remove_duplicate=False)
    modules = {candidate.removeprefix("_orig_mod.").removeprefix("module."): module for candidate, module in found}
    if name in modules and name:
        return modules[name]
    raise ValueError(f"wrt={key!r} is not a module of {type(model).__name__}; {nearest(name, filter(None, modules))}")


def canonical(wrt: Wrt, inputs: ModelInputs, model: nn.Module) -> tuple[Key, ...]:
    """The keys of ``wrt`` in the form that passes use, each checked to name something else that can be differentiated."""
    keys: list[Key] = []
    for key in keys_of(wrt):
        if not (isinstance(key, str) and key.startswith("module:")):
            key = inputs.key(key, model)
            inputs.variable(key)
        if key in keys:
            raise ValueError(f"wrt={wrt!r} names {key!r} twice: its gradient would count twice; name each input once")
        keys.append(key)
    return tuple(keys)


def sampled(inputs: ModelInputs, target: Any, fraction: float) -> tuple[ModelInputs, Any]:
    """A random share of the samples, at least one, without replacement: of every tensor that has one row per sample."""
    size = _samples(inputs, target)
    rows = torch.randperm(size)[: max(1, round(fraction * size))]

    def picked(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == size:
            return value[rows.to(value.device)]
        if isinstance(value, Mapping):
            return {key: picked(item) for key, item in value.items()}
        return type(value)(map(picked, value)) if type(value) in (tuple, list) else value

    return replace(inputs, args=picked(inputs.args), kwargs=picked(inputs.kwargs)), picked(target)


def _samples(inputs: ModelInputs, target: Any) -> int:
    """How many samples there are: the rows of the target's tensors, which some input has too, or else those that all input tensors agree on."""
    shapes = [list(tensor.shape) for tensor in _tensors_in((inputs.args, inputs.kwargs))]
    targets = [list(tensor.shape) for tensor in _tensors_in(target)]
    rows = {shape[0] for shape in shapes}
    sizes = {shape[0] for shape in targets} & rows if targets else rows
    if len(sizes) != 1:
        raise ValueError(
            f"fraction= cannot tell how many samples there are: the inputs have the shapes {shapes} and the target {targets or 'has no rows'}. "
            "Give a target with one row per sample, or leave fraction at 1"
        )
    return sizes.pop()


def _tensors_in(value: Any) -> list[Tensor]:
    """The tensors with at least one dimension in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value] if value.dim() else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for item in items for tensor in _tensors_in(item)]


def _parameter_names(model: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        return []


def described(value: Any) -> str:
    """A value of the wrong kind, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return f"an empty {type(value).__name__}" if isinstance(value, (tuple, list, Mapping)) and not len(value) else type(value).__name__
