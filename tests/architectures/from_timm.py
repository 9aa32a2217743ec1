"""timm: its own test models, and of each other family the first of its small ones."""

import re
from collections.abc import Iterator

import timm
import torch

from tests.architectures.base import Architecture, Made

SMALL = re.compile(r"test_|_(atto|femto|pico|nano|tiny|xxs|xs|x_small|xx_small|050|025|035|t0|b0|m0|s0|18|lite0)\b|micro|128s|tinynet|lcnet")
PARAMETERS = 1_500_000
PIXELS = 64


def make(name: str) -> Made:
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in timm.create_model(name, num_classes=5).parameters())
    if size > PARAMETERS:
        raise ValueError("too large")
    try:
        model = timm.create_model(name, num_classes=5, img_size=PIXELS)
    except TypeError:  # a network without position embeddings takes any size
        model = timm.create_model(name, num_classes=5)
    return model.double(), {"x": torch.randn(2, 3, PIXELS, PIXELS, dtype=torch.float64)}


def architectures() -> Iterator[Architecture]:
    for module in timm.list_modules():
        names = [name for name in timm.list_models(module=module) if SMALL.search(name)]
        own = [name for name in names if name.startswith("test_")]
        for name in own or names[:1]:
            yield Architecture("timm", name, lambda chosen=name: make(chosen), "x")
