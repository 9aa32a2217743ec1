"""The catalogue: every published loss in the library, read from its own docstring. Knows recipes, terms and perturbations.

These docstrings have a fixed form: a summary in one line; an indented formula; symbols and departures; "When not: …"; "Source: …"; an example.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.lazy import homes
from inputgrad.perturbations import attacks, fgsm
from inputgrad.perturbations.base import Perturbation
from inputgrad.terms.base import Term
from inputgrad.terms.function_term import FunctionTerm

Kind = Literal["recipe", "term", "perturbation"]


LOOKED_FOR = {
    "physics informed": "pinn, pinns, pde, differential equation, differential equations, collocation, heat, burgers, sciml",
    "collocation": "sampling, causal training, adaptive sampling, adaptive weights",
    "critics": "gan, gans, wgan, discriminator, gradient penalty, lipschitz",
    "physics": "force, forces, energy, energies, molecules, md, potentials, mlip, hamiltonian",
    "force fields": "mace, stress, virial, hessians",
    "dynamics": "lagrangian, ode, neural ode, node, deq, equilibrium",
    "differentials": "greeks, finance, pricing, options, delta, gamma, sobolev finance, derivatives pricing",
    "adversarial": "robustness, robust, adversarial training, attack, attacks, defence, defense",
    "smoothness": "smoothing, local linearity, catastrophic overfitting, text, nlp, fine-tuning, embedding, embeddings",
    "explanations": "saliency, explanation, interpretability, xai, attribution, attributions, attention maps, rrr",
    "attribution priors": "expected gradients, sparsity, sparse features, graph of features",
    "matching": "sobolev, distillation, score, score matching, jacobian matching, diffusion",
    "norms": "gradient norm, regularisation, regularization, jacobian, double backprop, contractive",
    "geometry": "sdf, signed distance, eikonal, implicit surface, igr, nerf",
    "surfaces": "point cloud, reconstruction, mesh",
    "constraints": "monotone, monotonicity, monotonic, convex, arbitrage, fairness, diversity, ensemble",
    "generators": "disentanglement, stylegan, latent",
    "denoising": "denoiser, plug and play, inverse imaging",
}
"""Family -> words that people look for it by."""


@dataclass(frozen=True)
class Entry:
    """One entry. name: as it is written in Python; family: the file it stands in, in words; formula, source, when_not: from its docstring."""

    name: str
    kind: Kind
    family: str
    summary: str
    formula: str
    source: str
    when_not: str
    settings: str
    text: str
    made_of: Any = dataclasses.field(repr=False, compare=False)

    @property
    def cited(self) -> str:
        """The source in short: authors and year."""
        authors_and_year = re.match(r"(.+? \d{4})", self.source)
        return authors_and_year[1] if authors_and_year else self.source


def entries() -> list[Entry]:
    """All entries: the recipes by family, then the terms and perturbations that they are made of."""
    return [*_recipes(), *_classes("term", _public("inputgrad.terms"), Term), *_classes("perturbation", vars(fgsm) | vars(attacks), Perturbation)]


def entry(name: str) -> Entry:
    """The entry of this name, in any case and spelling: ``TRADES``, ``gradient-norm``. Raises `ValueError` with the three nearest for an unknown name."""
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return known[name]
    found = [other for other in known.values() if _letters(other.name) == _letters(name)]
    if found:
        return found[0]  # recipes come first
    first, second, third = map(repr, _three(name, known))
    raise ValueError(f"unknown term {name!r}; did you mean {first}, {second} or {third}? Without a name, inputgrad terms lists all")


def family(name: str) -> str:
    """The family of this name, or the one in which people look for it under a word such as pinn, gan or forces. Raises `ValueError`."""
    families = list(dict.fromkeys(entry.family for entry in entries() if entry.kind == "recipe"))
    for known in families:
        if _letters(known) == _letters(name):
            return known
    for known, words in LOOKED_FOR.items():
        if _letters(name).removesuffix("s") in {_letters(word).removesuffix("s") for word in words.split(",")}:
            return known
    raise ValueError(f"{name!r} is not a family of the catalogue; {nearest(name, families)}, or a word such as pinn, gan, forces, greeks, robustness, saliency")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _three(name: str, known: Mapping[str, Entry]) -> list[str]:
    """The nearest names: those that hold it, then those that are spelt alike, then those whose summary speaks of it."""
    letters = {other: _letters(other) for other in known}
    holding = [other for other, own in letters.items() if _letters(name) and _letters(name) in own]
    alike = difflib.get_close_matches(_letters(name), letters.values(), n=3, cutoff=0.4)
    spelt = [other for own in alike for other in letters if letters[other] == own]
    spoken = [other for other, found in known.items() if re.search(rf"\b{re.escape(name.lower())}", found.text.lower())]
    return list(dict.fromkeys([*holding, *spoken[:2], *spelt, *spoken, *known]))[:3]


def _recipes() -> Iterator[Entry]:
    for name, value in sorted(_public("inputgrad.recipes").items(), key=lambda item: (item[1].__module__, item[0])):
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is not Tensor:  # a base loss is no entry
            yield _entry(name, "recipe", value)


def _public(package: str) -> dict[str, Any]:
    return {name: inspect.unwrap(value) if callable(value := getattr(import_module(package), name)) else value for name in homes(package)}


def _classes(kind: Kind, named: Mapping[str, Any], base: type) -> Iterator[Entry]:
    classes = {name: value for name, value in named.items() if inspect.isclass(value) and issubclass(value, base)}
    for name, value in sorted(classes.items()):
        if dataclasses.is_dataclass(value) and value is not FunctionTerm and not name.startswith("_"):
            yield _entry(name, kind, value)


def _entry(name: str, kind: Kind, made_of: Any) -> Entry:
    text = inspect.getdoc(made_of) or ""
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Entry(
        name=name,
        kind=kind,
        family=made_of.__module__.rsplit(".", 1)[-1].replace("_", " "),
        summary=_joined(paragraphs[0]) if paragraphs else "",
        formula=next((inspect.cleandoc(part) for part in paragraphs if all(line.startswith("    ") for line in part.splitlines())), ""),
        source=_said("Source", text),
        when_not=_said("When not", text),
        settings=_settings(made_of),
        text=text,
        made_of=made_of,
    )


def _said(word: str, text: str) -> str:
    """What follows ``word:`` at the beginning of a line, to the end of the paragraph or the next such word."""
    said = re.search(rf"^{word}s?:\s*(.*?)(?=\n\s*\n|\n(?:Sources?|When not):|\Z)", text, re.DOTALL | re.MULTILINE)
    return _joined(said[1]) if said else ""


def _settings(made_of: Any) -> str:
    """Names and defaults, as in a signature."""
    shown = []
    for name, parameter in inspect.signature(made_of).parameters.items():
        default = parameter.default
        value = getattr(default, "__name__", None) or repr(default)
        shown.append(name if default is parameter.empty else f"{name}={value}")
    return ", ".join(shown)


def _joined(paragraph: str) -> str:
    return " ".join(paragraph.split())
