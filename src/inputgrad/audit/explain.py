"""The pages of the rules: what a rule sees, why it matters, a bad and a good script."""

import inspect
from importlib import resources

from inputgrad.audit.findings import RULES, known_code


def page(code: str) -> str:
    """The page of one rule, as Markdown. Raises `ValueError` with the nearest code for an unknown one."""
    code = known_code(code.upper())
    found = resources.files("inputgrad.audit").joinpath("pages", f"{code}.md")
    if found.is_file():
        return found.read_text(encoding="utf-8")
    rule = RULES[code]
    return f"# {code}: {rule.name}\n\n{inspect.getdoc(rule.check) or ''}\n"
