"""The catalogue's pages, one for each family of recipes, made of the recipes' docstrings when the pages are built."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from extensions import calls, definitions, formulas, further_calls, markdown
from extensions.families import FAMILIES, homes, recipes
from extensions.parameter_lists import parameters
from inputgrad import catalogue


def cost(name: str) -> str:
    """Matrix products and convolutions of the call's second step, relative to those of a forward and backward pass of the model."""
    torch.manual_seed(0)
    space: dict[str, Any] = {"__name__": "call"}
    exec(calls.call(name), space)
    model, inputs, target, criterion = (space[key] for key in ("model", "inputs", "target", "criterion"))
    with FlopCounterMode(display=False) as plain_step:
        model(inputs).sum().backward()
    with FlopCounterMode(display=False) as step:
        criterion(model, inputs, target).backward()
    return f"{step.get_total_flops() / plain_step.get_total_flops():.1f}"


def section(entry: catalogue.Entry, homes_: dict[str, str]) -> Iterator[str]:
    family = homes_[entry.name]
    signature = f"ig.recipes.{entry.name}({_by_name(entry)})"
    named = [name for name in dict.fromkeys(re.findall(r"`(\w+)`", entry.text)) if name in homes_ and name != entry.name]
    others = [name for name, home in homes_.items() if home == family and name != entry.name and name not in named]
    yield f"## `{entry.name}`"
    yield markdown.plain(entry.summary, homes_, family)
    yield "```{math}\n:nowrap:\n\n\\begin{gather*}\n" + " \\\\\n".join(formulas.lines(entry.formula)) + "\n\\end{gather*}\n```"
    yield f"```python\n{_wrapped(signature)}\n```"
    yield "**Parameters**"
    yield "\n".join(parameters(entry, homes_, family))
    _, symbols, remarks = definitions.of(entry)
    if symbols:
        yield "**Symbols**"
        yield "\n".join(f"- {_signs(names)}: {markdown.plain(text, homes_, family)}" for names, text in symbols.items())
    if remarks:
        yield "**Remarks**"
        yield markdown.plain(remarks, homes_, family)
    for title, code in [("A complete call", calls.call(entry.name)), *further_calls.FURTHER.get(entry.name, ())]:
        yield f"**{title}**"
        yield f"```python\n{code.strip()}\n```"
    yield f"**When not:** {markdown.plain(entry.when_not, homes_, family)}"
    if entry.name == "lazy_r1":
        yield "**Cost:** that of [`r1`](#r1) at one step in `every`, nothing at the others."
    else:
        yield f"**Cost:** {cost(entry.name)} times the arithmetic of a plain step (forward and backward pass), counted on the complete call."
    yield f"**Source:** {markdown.plain(entry.source, homes_, family)} {markdown.paper(entry.source)}".rstrip()
    shown = [markdown.to(name, homes_, family) for name in [*named, *others[:4]]]
    if shown:
        yield f"**See also:** {', '.join(shown)}"


def _signs(names: str) -> str:
    """Symbols as the formula above shows them."""
    return ", ".join(f"{{math}}`{formulas.tex(name).strip()}`" for name in names.split(", "))


def _by_name(entry: catalogue.Entry) -> str:
    """The settings as they are called, with the sign from which on they are given by name."""
    settings = entry.settings.split(", ", 1)
    kinds = [parameter.kind for parameter in inspect.signature(entry.made_of).parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY not in kinds:
        return entry.settings
    return f"*, {entry.settings}" if kinds[0] is inspect.Parameter.KEYWORD_ONLY else ", *, ".join(settings)


def _wrapped(signature: str) -> str:
    if len(signature) <= 90:
        return signature
    head, _, rest = signature.partition("(")
    return f"{head}(\n    " + ",\n    ".join(re.split(r", (?=\*,|\w+(?:=|, |$))", rest[:-1])) + ",\n)"


def page(family: str, entries: list[catalogue.Entry], homes_: dict[str, str]) -> str:
    title, sentence = FAMILIES[family]
    rows = [f"| [`{entry.name}`](#{entry.name}) | {markdown.plain(entry.summary)} |" for entry in entries]
    table = "\n".join(["| method | what it does |", "| --- | --- |", *rows])
    parts = [f"# {title}", sentence, table]
    for entry in entries:
        parts += section(entry, homes_)
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write the pages; a page that is the same stays as it is, so that it is not built again."""
    folder.mkdir(exist_ok=True)
    found, homes_ = recipes(), homes()
    state = torch.get_rng_state()
    for family, entries in found.items():
        text, path = page(family, entries, homes_), folder / f"{family}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    torch.set_rng_state(state)
