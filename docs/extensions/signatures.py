"""Signatures with types, each as its source spells it (`wrt: Wrt`, not the union behind it), and linked to where the reference explains it."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

import inputgrad

REFERENCE = Path(__file__).parents[1] / "reference.md"
NAMED = {path.rpartition(".")[2]: path for path in re.findall(r"autoclass:: (inputgrad\.\S+)", REFERENCE.read_text(encoding="utf-8"))}
"""Classes that the reference has under a longer name than ``inputgrad.Name``."""
MADE_BY_THE_LIBRARY = {"Batch", "Field", "Step", "Explanation", "Validation", "Verdict", "Finding"}
"""What users get and do not make: their pages show no settings."""


def spelled(obj: Any) -> dict[str, str]:
    """The annotation of each parameter, and of ``return``, as the source has it."""
    if inspect.isclass(obj):
        own = next(cls for cls in obj.__mro__ if "__init__" in vars(cls))
        if not is_dataclass(own):
            return _of_function(own.__init__)
        return {name: text for cls in reversed(obj.__mro__) for name, text in _of_fields(cls).items() if name in {field.name for field in fields(obj)}}
    return _of_function(inspect.unwrap(obj))


def _of_function(function: Callable[..., Any]) -> dict[str, str]:
    if not inspect.isfunction(function):
        return {}
    definition = _parsed(function)
    arguments = [*definition.args.posonlyargs, *definition.args.args, *definition.args.kwonlyargs, definition.args.vararg, definition.args.kwarg]
    found = {argument.arg: argument.annotation for argument in arguments if argument is not None and argument.annotation is not None}
    found |= {"return": definition.returns} if definition.returns is not None else {}
    return {name: _text(annotation, function) for name, annotation in found.items()}


def _of_fields(cls: type) -> dict[str, str]:
    if not is_dataclass(cls):
        return {}
    lines = [line for line in _parsed(cls).body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    return {line.target.id: _text(line.annotation, cls) for line in lines}


def _parsed(obj: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]


def _made(obj: Any, parameter: inspect.Parameter) -> Any:
    """The default: what its factory makes, where a dataclass has one; a function by its name."""
    found = [field.default_factory for field in (fields(obj) if is_dataclass(obj) else ()) if field.name == parameter.name]
    default = found[0]() if found and found[0] is not MISSING else parameter.default
    return _Name(default.__name__) if inspect.isfunction(default) else default


class _Name(str):
    """A text that shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Unquoted(ast.NodeTransformer):
    """Types in quotes without them; the values of a choice keep theirs."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node if isinstance(node.value, ast.Name) and node.value.id == "Literal" else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self.visit(ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else node


def _text(annotation: ast.expr, owner: Any) -> str:
    """As it is spelled, with the values in place of the name of a choice, and classes named by where the reference has them."""
    spelling = ast.unparse(_Unquoted().visit(annotation))
    names = vars(inspect.getmodule(owner))

    def shown(name: re.Match[str]) -> str:
        meant = names.get(name[0])
        if get_origin(meant) is Literal:
            return f"Literal[{', '.join(map(repr, get_args(meant)))}]"
        if inspect.isclass(getattr(inputgrad, name[0], None)):
            return f"~inputgrad.{name[0]}"
        path = NAMED.get(name[0], "")
        return f"~{path}" if path and getattr(meant, "__module__", "").startswith(path.rpartition(".")[0]) else name[0]

    return re.sub(r"(?<![\w.'\"])[A-Z]\w+", shown, spelling)


def with_types(_app: Sphinx, what: str, _name: str, obj: Any, _options: Any, signature: str | None, _returns: str | None) -> tuple[str, str] | None:
    """For autodoc: the signature with its types, on a line per parameter where it is long."""
    if not signature or what not in ("class", "function", "method"):
        return None
    written = spelled(obj)
    known = inspect.signature(obj)
    kept = [parameter for parameter in known.parameters.values() if not (what == "method" and parameter.name in ("self", "cls"))]
    if what == "class":  # what a metaclass takes is no setting
        kept = [parameter for parameter in kept if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in written]
    kept = [parameter.replace(default=_made(obj, parameter)) for parameter in kept]
    if what == "class" and obj.__name__ in MADE_BY_THE_LIBRARY:
        return "", ""
    typed = [parameter.replace(annotation=written[parameter.name]) if parameter.name in written else parameter for parameter in kept]
    returns = "" if what == "class" else written.get("return", "")
    return stringify_signature(known.replace(parameters=typed, return_annotation=inspect.Signature.empty), unqualified_typehints=True), returns
