"""The catalogue's pages, one for each family of recipes, made of the recipes' docstrings when the pages are built."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from extensions import calls, definitions, formulas
from inputgrad import attributions, catalogue
from inputgrad.heads import Of
from inputgrad.operators.coordinates import Names
from inputgrad.places.base import Place
from inputgrad.recipes.critics import whole_target
from inputgrad.recipes.physics_informed import Quantity
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key, Wrt

FAMILIES = {
    "norms": ("Norm penalties", "Short input gradients: smooth functions, and some robustness."),
    "critics": ("Critics of GANs", "Gradient penalties for the critic (the discriminator) of a generative adversarial network."),
    "matching": ("Labels of derivatives", "Gradients that should equal given ones: slopes, a teacher's gradients, scores."),
    "differentials": ("Differential machine learning", "Values and their derivatives, such as prices and deltas, on one scale."),
    "physics": ("Energies and forces", "Forces as the negative gradient of an energy, and Hamilton's equations."),
    "force_fields": ("Force fields", "Robust losses for force fields, and what a student learns from a teacher's energy."),
    "dynamics": ("Dynamics", "Lagrangian networks, neural differential equations, equilibrium layers."),
    "physics_informed": ("Differential equations", "Physics-informed networks: equations, and their boundary and initial conditions."),
    "collocation": (
        "Points and weights of physics-informed networks",
        "Which points count, and when. Inverse problems need no entry of their own: a coefficient that is an `nn.Parameter` is learned.",
    ),
    "constraints": ("Constraints and ensembles", "Monotone functions, prices without arbitrage, members of an ensemble that differ."),
    "geometry": ("Signed distances", "Networks whose zero set is a surface, from points with normals."),
    "surfaces": ("Surfaces without normals", "The same from points alone."),
    "generators": ("Generators", "Penalties on the generator of a generative adversarial network."),
    "denoising": ("Denoising", "Denoisers that are the gradient of a potential."),
    "explanations": ("Explanations", "Saliency that should lie, or not lie, on given features."),
    "adversarial": ("Adversarial training", "The loss at attacked inputs."),
    "robustness_transfer": ("Transfer of robustness", "A student whose input gradients become those of a robust teacher."),
    "smoothness": ("Smooth losses, and text", "Flat and linear losses, and moved token embeddings."),
}
"""Title and first sentence of each family's page, in the order of the catalogue."""

TYPES: list[tuple[Any, str]] = [
    (Weight, "number, or a callable of the step number"),
    (Of, "head: a name, an object of `ig.heads`, or a callable"),
    (Wrt, "position or name of an input, or a tuple of such"),
    (Key, "position or name of an input"),
    (TensorRef, "tensor, key of the target, or callable of the batch"),
    (Quantity, "number, tensor, or callable of the field"),
    (Names, 'one name per coordinate, such as `"xt"`'),
    (Place, "place, such as `ig.Given(points)`"),
    (float, "number"),
    (int, "whole number"),
    (bool, "`True` or `False`"),
    (str, "text"),
    (Tensor, "tensor"),
    (type(None), "`None`"),
]
PART, PARTS = "key of the target", {"energy", "forces", "stress", "normals"}
"""Labels that stand in the target under a name."""
PARTS_OF_KEYS = {"mask": PART, "index": PART, "on_surface": PART, "output": "position or name of an output"}
USUAL = {
    "weight": "the factor of the term in the loss",
    "wrt": "the input that is differentiated",
    "at": "where the gradient is taken; at the samples by default",
    "of": "what is differentiated",
    "names": "of the coordinates, one letter per column",
    "bounds": "low and high, to which attacked inputs are clipped",
    "epsilon": "the size of the perturbation",
    "steps": "of the attack",
    "step_size": "of the attack",
    "half": "whether the factor ½ is there",
    "fake": "the fake samples",
    "energy": "the energy labels",
    "forces": "the force labels",
    "energy_weight": "the weight of the energy's error",
    "forces_weight": "the weight of the forces' error",
    "stress_weight": "the weight of the stress error",
    "mask": "what counts: where it is not 0",
    "index": "the number of each row's sample",
    "per": "what the mean is over: each sample, or the whole batch",
    "norm of an attack": "the norm of the perturbation",
    "norm": "how a distance is measured, as in `GradientMatch`",
    "reduction": "over the features of a sample",
    "teacher": "the model to learn from",
    "gamma": "the weight of the penalty",
    "center": "the wanted norm",
    "encoder": "the name of the inner module",
    "layer": "the name of the convolutional layer",
    "layers": "names of inner modules whose outputs count too",
    "tangents": "the tangent vectors",
    "source": "the right-hand side f",
    "time": "the name of the time coordinate",
    "margin": "by how much the sign must hold",
    "maturity": "the number of that entry of the input",
    "strike": "the number of that entry of the input",
    "normals": "the unit normals",
    "eikonal_weight": "the weight of the eikonal term",
    "normals_weight": "the weight of the normals",
    "surface": "the weight of |f| on the surface",
    "off_surface": "the weight of the points off the surface",
    "sharpness": "how fast exp(−sharpness · |f|) falls",
    "nearest": "the nearest surface points",
    "directions": "how many random directions",
    "samples": "random draws per sample",
    "references": "the samples that baselines are drawn from; the batch by default",
    "size": "of the noise",
    "draw": "the distribution of the noise",
    "lambda_": "λ of the formula",
    "mu": "μ of the formula",
    "xi": "ξ of the formula",
    "unit": "whether gradients have length 1",
}
"""What a parameter of this name means where the docstring says no more."""


def recipes() -> dict[str, list[catalogue.Entry]]:
    """The recipes of each family, by the name of its module, in the order of their source."""
    found: dict[str, list[catalogue.Entry]] = {family: [] for family in FAMILIES}
    for entry in catalogue.entries():
        if entry.kind == "recipe":
            found[entry.family.replace(" ", "_")].append(entry)
    return {family: sorted(entries, key=lambda entry: entry.made_of.__code__.co_firstlineno) for family, entries in found.items()}


def homes() -> dict[str, str]:
    """The family of each recipe."""
    return {entry.name: family for family, entries in recipes().items() for entry in entries}


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
    shown = getattr(annotation, "__name__", str(annotation)) if not typing.get_args(annotation) else str(annotation)
    return f"`{re.sub(r'[a-z_]+[.]', '', shown)}`"


def parameters(entry: catalogue.Entry) -> Iterator[str]:
    """A line of the list for each parameter: its type, its default, and what the docstring says of it."""
    said_of = definitions.of(entry)[0]
    for name, parameter in inspect.signature(entry.made_of).parameters.items():
        default = "" if parameter.default is parameter.empty else f"; default {_default(parameter.default)}"
        letter, text = said_of.get(name, ("", ""))
        text = text.strip(" .")
        kind = _kind(name, parameter.annotation)
        usual = USUAL.get(f"{name} of an attack" if '"linf"' in kind else name, "") if not text or name == "weight" else ""
        said = ", ".join(filter(None, (usual, letter)))
        joint = " " if re.match(r"(?:is|and|depends) ", text) else ", "
        said += f"{joint if said else ''}{text}" if text else ""
        yield f"- **`{name}`** ({kind}{default})" + (f": {plain(said)}." if said else "")


def _kind(name: str, annotation: Any) -> str:
    words = in_words(annotation)
    if name in PARTS:
        return PART
    return words.replace("position or name of an input", PARTS_OF_KEYS.get(name, "position or name of an input"))


def _default(value: Any) -> str:
    return "the whole target" if value is whole_target else f"`{getattr(value, '__name__', None) or repr(value)}`"


def plain(text: str, linked: dict[str, str] | None = None, family: str = "") -> str:
    """A docstring's text as Markdown: names of recipes become links, and no sign of it means something else."""

    def shown(part: str) -> str:
        if not part.startswith("`"):
            return re.sub(r"([*<\[\]])", r"\\\1", part)
        name = part.strip("`")
        if linked and name in linked:
            return f"[`{name}`]({'' if linked[name] == family else linked[name] + '.md'}#{name})"
        return f"`{name}`"

    return "".join(map(shown, re.split(r"(``[^`]+``|`[^`]+`)", text)))


def link(source: str) -> str:
    """Where the paper is: arXiv where the source names a number, else a search for its title."""
    arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", source)
    title = re.search(r'"([^"]+)"', source)
    if arxiv:
        return f"[arXiv](https://arxiv.org/abs/{arxiv[1]})"
    return f"[find the paper](https://scholar.google.com/scholar?q={quote(title[1])})" if title else ""


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
    yield plain(entry.summary, homes_, family)
    yield "```{math}\n:nowrap:\n\n\\begin{gather*}\n" + " \\\\\n".join(formulas.lines(entry.formula)) + "\n\\end{gather*}\n```"
    yield f"```python\n{_wrapped(signature)}\n```"
    yield "**Parameters**"
    yield "\n".join(parameters(entry))
    _, symbols, remarks = definitions.of(entry)
    if symbols:
        yield "**Symbols**"
        yield "\n".join(f"- {name}: {plain(text, homes_, family)}" for name, text in symbols.items())
    if remarks:
        yield "**Remarks, and where paper and code differ**"
        yield plain(remarks, homes_, family)
    yield "**A complete call**"
    yield f"```python\n{calls.call(entry.name).rstrip()}\n```"
    yield f"**When not:** {plain(entry.when_not, homes_, family)}"
    if entry.name == "lazy_r1":
        yield "**Cost:** that of [`r1`](#r1) at one step in `every`, nothing at the others."
    else:
        yield f"**Cost:** {cost(entry.name)} times the arithmetic of a plain step (forward and backward pass), counted on the call above."
    yield f"**Source:** {plain(entry.source, homes_, family)} {link(entry.source)}".rstrip()
    shown = [f"[`{name}`]({'' if homes_[name] == family else homes_[name] + '.md'}#{name})" for name in [*named, *others[:4]]]
    if shown:
        yield f"**See also:** {', '.join(shown)}"


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
    rows = [f"| [`{entry.name}`](#{entry.name}) | {plain(entry.summary)} |" for entry in entries]
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


def overview() -> str:
    """For the catalogue's first page: every method by family, and the pages in the side bar."""
    lines, found = [], recipes()
    for family, (title, sentence) in FAMILIES.items():
        lines += [f"### [{title}](catalogue/{family}.md)", sentence]
        lines.append(", ".join(f"[`{entry.name}`](catalogue/{family}.md#{entry.name})" for entry in found[family]))
    pages = "\n".join(f"catalogue/{family}" for family in FAMILIES)
    return "\n\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```"


def every_name(described: str) -> str:
    """For the reference: every term, attribution and recipe that it does not describe itself, with one sentence and a link to the entry."""
    homes_, rows = homes(), []
    for entry in catalogue.entries():
        if entry.kind == "recipe":
            rows.append((f"[`recipes.{entry.name}`](catalogue/{homes_[entry.name]}.md#{entry.name})", entry.summary))
        elif entry.kind == "term" and f":: inputgrad.{entry.name}\n" not in described:
            rows.append((f"{{py:obj}}`inputgrad.{entry.name}`", entry.summary))
    for name in attributions.__all__:
        rows.append((f"{{py:obj}}`inputgrad.attributions.{name}`", (inspect.getdoc(getattr(attributions, name)) or "").split("\n\n")[0]))
    cells = [f"| {link} | {' '.join(summary.split()).replace('|', chr(92) + '|')} |" for link, summary in rows]
    return "\n".join(["| name | |", "| --- | --- |", *cells])


def linked(text: str) -> str:
    """A page's text, in which every recipe and every term in code quotes leads to its entry."""
    homes_, terms = homes(), {entry.name for entry in catalogue.entries() if entry.kind == "term"}

    def shown(found: re.Match[str]) -> str:
        name = found[1]
        if name in homes_:
            return f"[`{name}`](catalogue/{homes_[name]}.md#{name})"
        return f"{{py:obj}}`{name} <inputgrad.{name}>`" if name in terms else found[0]

    return re.sub(r"(?<![\[}])`(\w+)`", shown, text)
