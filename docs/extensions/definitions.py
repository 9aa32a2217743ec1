"""What a recipe's docstring says of each parameter and each symbol, and the rest: remarks."""

import inspect
import re
from functools import cache

from inputgrad import catalogue

GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "λ": "lambda_", "μ": "mu", "ξ": "xi", "σ": "sigma", "τ": "tau"}
"""Letters that are parameters under their names."""

_NAME = r"[^\s:;.,()`\"=-]{1,22}"
_DEFINES = re.compile(rf"(?P<names>{_NAME}(?:, {_NAME}){{0,5}}): |(?P<symbol>[^\s:;.,()`]{{1,4}}) = ``(?P<parameter>\w+)``[:,]? ?")
_REMARK = re.compile(
    r"(?:The|Their|Its|In|Costs?|Both|Much|Published|On|There|Nothing|Every|Since|For one|Call|Second|A whole|A sample|Each|So|Where|Here|It|Two-sided"
    r"|δ reaches|ε multiplies)\b"
)


@cache
def of(entry: catalogue.Entry) -> tuple[dict[str, tuple[str, str]], dict[str, str], str]:
    """What is said of parameters (the letter of the formula, and a text), of symbols, and the remarks."""
    known = inspect.signature(entry.made_of).parameters
    parameters: dict[str, tuple[str, str]] = {}
    symbols: dict[str, str] = {}
    remarks = []
    for part in _parts(_text(entry)):
        found = _DEFINES.match(part)
        if not found:
            remarks.append(part if part.endswith(".") else f"{part}.")
            continue
        names = [found["parameter"]] if found["parameter"] else found["names"].split(", ")
        text, rest = _cut(part[found.end() :])
        if found["parameter"] and found["parameter"] in known:
            parameters[names[0]] = (f"{found['symbol']} of the formula", text)
        elif len(names) == 1 and (called := GREEK.get(names[0], "")) in known:
            parameters[called] = (f"{names[0]} of the formula", text)
        elif all(name in known for name in names):
            parameters |= dict.fromkeys(names, ("", text))
        elif len(names) == 1 and len(names[0]) > 3 and names[0].isalpha():
            remarks.append(part)  # a sentence with a colon
            continue
        elif (of_parameter := re.match(r"([^`.]{0,20}?)(?:, )?``(\w+)``[,:]? ?", text)) and of_parameter[2] in known and of_parameter[2] not in parameters:
            text = ", ".join(filter(None, (of_parameter[1].removesuffix(" the").removeprefix("the "), text[of_parameter.end() :])))
            parameters[of_parameter[2]] = (f"{names[0]} of the formula", text)
        else:
            symbols[", ".join(names)] = text if text.endswith(".") else f"{text}."
        remarks += [rest] if rest else []
    return parameters, symbols, " ".join(remarks)


def _text(entry: catalogue.Entry) -> str:
    """The paragraphs between the formula and "When not"."""
    paragraphs = re.split(r"\n\s*\n", entry.text)[1:]
    kept = [part for part in paragraphs if not part.startswith("    ") and not part.lstrip().startswith((">>>", "Source"))]
    texts = [re.split(r"^(?:When not|Sources?):", part, flags=re.MULTILINE)[0] for part in kept]
    return " ".join(" ".join(text.split()) for text in texts if text.strip())


def _parts(text: str) -> list[str]:
    """The text, cut before each definition."""
    starts = [0, *(place.end() for place in re.finditer(r"[.;] ", text) if _DEFINES.match(text, place.end()))]
    return [text[start:end].strip().rstrip(";") for start, end in zip(starts, [*starts[1:], len(text)], strict=True) if text[start:end].strip()]


def _cut(text: str) -> tuple[str, str]:
    """A definition, and the remarks that follow it."""
    for place in re.finditer(r"\. ", text):
        if _REMARK.match(text, place.end()):
            return text[: place.start() + 1], text[place.end() :]
    return text, ""
