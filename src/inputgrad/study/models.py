"""Models that a config can name: a multilayer perceptron, a small convolutional network, or one of the user's own.

Knows the shape of an input and the number of outputs; knows no data set and no loss.
"""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from inputgrad.study.imports import load_callable
from inputgrad.study.problems import StudyError, raised
from inputgrad.study.settings import CallableReference, Settings, one_of

Activation = Literal["silu", "relu", "gelu", "tanh", "softplus"]
Width = Annotated[int, Field(ge=1, le=2**24)]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "softplus": nn.Softplus}


MOST = 2**28
"""Weights of a built-in model: one gibibyte, and Adam takes three more."""


class ModelSettings(Settings):
    """The settings of a model; `build` gives it for one data set."""

    def build(self, input_shape: tuple[int, ...], output_size: int) -> nn.Module:
        raise NotImplementedError


class Mlp(ModelSettings):
    """Linear layers of the given widths with an activation between them; any input, flattened."""

    hidden: list[Width] = Field(default=[64, 64], min_length=1, max_length=1000)
    activation: Activation = "silu"

    def build(self, input_shape: tuple[int, ...], output_size: int) -> nn.Module:
        widths = [math.prod(input_shape), *self.hidden]
        _check_size(sum(before * after for before, after in pairwise([*widths, output_size])))
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), _ACTIVATIONS[self.activation]()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], output_size))


class Cnn(ModelSettings):
    """Two 3×3 convolutions (the second with twice the channels, and a stride of 2), then two linear layers. Inputs ``[channels, height, width]``."""

    channels: Width = 32
    hidden: Width = 128
    activation: Activation = "silu"

    def build(self, input_shape: tuple[int, ...], output_size: int) -> nn.Module:
        if len(input_shape) != 3:
            raise StudyError(f"model cnn takes images [channels, height, width], and one input of these data has shape {list(input_shape)}: choose model mlp")
        activation = _ACTIVATIONS[self.activation]
        pixels = math.ceil(input_shape[1] / 2) * math.ceil(input_shape[2] / 2)
        _check_size(9 * self.channels * (input_shape[0] + 2 * self.channels) + self.hidden * (2 * self.channels * pixels + output_size))
        return nn.Sequential(
            nn.Conv2d(input_shape[0], self.channels, 3, padding=1), activation(),
            nn.Conv2d(self.channels, 2 * self.channels, 3, stride=2, padding=1), activation(), nn.Flatten(),
            nn.Linear(2 * self.channels * pixels, self.hidden), activation(), nn.Linear(self.hidden, output_size),
        )  # fmt: skip


def _check_size(weights: int) -> None:
    if weights > MOST:
        raise StudyError(f"model: {weights:,} weights, and one of these models has at most {MOST:,}: choose smaller widths")


class OwnModel(ModelSettings):
    """A model of the user's own: ``callable(input_shape=(1, 8, 8), output_size=10, **settings)`` gives an ``nn.Module``, its output ``[N, output_size]``."""

    callable: CallableReference
    settings: dict[str, Any] = Field(default_factory=dict)

    def build(self, input_shape: tuple[int, ...], output_size: int) -> nn.Module:
        try:
            model = load_callable(self.callable)(input_shape=input_shape, output_size=output_size, **self.settings)
        except Exception as error:
            called = f"model: {self.callable} is called with input_shape={input_shape}, output_size={output_size} and its settings"
            raise StudyError(f"{called}: {raised(error)}") from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model: {self.callable} returned {type(model).__name__}, expected an nn.Module")
        return model


ModelEntry = one_of("Model", {"mlp": Mlp, "cnn": Cnn, "own": OwnModel}, shorthand="own")
