"""Settings as a reader wants them: the loss on one line, a score in words, and settings as JSON can hold them.

Knows the form of settings; knows no record and no page.
"""

import math
from collections.abc import Mapping
from typing import Any

from inputgrad.study.config import Config
from inputgrad.study.data import Data
from inputgrad.study.settings import OneOf, Settings

_SCORES = {
    "loss": "the sample's own loss",
    "output": "the sum of the outputs",
    "label": "the output of the true class",
    "log_prob": "the sum of the log-probabilities",
}


def loss_line(config: Config) -> str:
    """The loss as the short form writes it, with the settings that were given."""
    if config.criterion is not None:
        return _call(config.criterion.callable, config.criterion.settings)
    assert config.loss is not None  # a config has one of the two
    line = "" if config.loss.base is None else brief(config.loss.base)
    for term in config.loss.terms:
        chosen: Any = term
        weight = chosen.settings.weight
        sign = ("−" if weight < 0 else "+") if line else ("−" if weight < 0 else "")
        line = f"{line} {sign} {abs(weight):g}·{brief(chosen)}".strip()
    return line


def brief(value: Any) -> str:
    """A thing as ``name(setting=value)``, with the settings that were given."""
    if isinstance(value, OneOf):
        return brief_settings(value.chosen, value.settings)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(brief, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def brief_settings(name: str, settings: Settings) -> str:
    given = {key: getattr(settings, key) for key in type(settings).model_fields if key in settings.model_fields_set and key != "weight"}
    if list(given) == ["callable"]:
        return str(given["callable"])
    return _call(name, given)


def score_in_words(of: Any, data: Data) -> str:
    """Which scalar a head takes, for the heading of a picture."""
    if of.chosen == "one_output":
        index = of.settings.index
        return f"the output of class {data.classes[index]}" if index < len(data.classes) else f"output {index}"
    return _SCORES.get(of.chosen, brief(of))


def plain(value: Any) -> Any:
    """Settings as JSON holds them: tuples become lists, numbers that are not finite become words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def settings_of(config: Config) -> dict[str, Any]:
    """The whole config with its defaults, as plain data."""
    settings: dict[str, Any] = plain(config.model_dump(exclude_none=True))
    return settings


def _call(name: str, settings: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={brief(value)}' for key, value in settings.items())})" if settings else name
