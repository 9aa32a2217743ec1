"""Reads the page of a rule, or the rules of a family, and shows it: what each sees, why it matters, a bad and a good script. Knows no run."""

import inspect
import sys
from importlib import resources

from inputgrad.audit.rule_runner import all_rules, known_code
from inputgrad.report.plain_text import in_encoding


def listing(family: str = "") -> str:
    """One line for each rule whose code begins so: code, severity, name."""
    return "".join(f"{code}  {rule.severity:<7}  {rule.name}\n" for code, rule in sorted(all_rules().items()) if code.startswith(family.upper()))


def page(code: str) -> str:
    """The page of one rule, or those of a family (IG1) one after the other, as Markdown. Raises `ValueError` with the nearest code for an unknown one."""
    family = sorted(known for known in all_rules() if known[:-2] == code.upper())
    if family:
        return "\n".join(page(known) for known in family)
    code = known_code(code.upper())
    file = resources.files("inputgrad.audit").joinpath("pages", f"{code}.md")
    if file.is_file():
        return file.read_text(encoding="utf-8")
    rule = all_rules()[code]
    return f"# {code}: {rule.name}\n\n{inspect.getdoc(rule.check) or ''}\n"


def show(code: str | None) -> int:
    """Print the page of a rule or of a family, or without a code the list of all rules. The exit status: 2 for an unknown code."""
    from rich.console import Console
    from rich.markdown import Markdown

    try:
        text = listing() if code is None else page(code)
    except ValueError as error:
        print(in_encoding(f"inputgrad audit: {error}", sys.stderr.encoding), file=sys.stderr)
        return 2
    text, console = in_encoding(text, sys.stdout.encoding), Console()
    if code is not None and console.is_terminal:
        console.print(Markdown(text))
    else:
        print(text, end="")
    return 0
