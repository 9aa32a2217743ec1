"""Reads the page of a rule: what it sees, why it matters, a bad and a good script. Knows no run and no report."""

import inspect
from importlib import resources

from inputgrad.audit.rule_runner import all_rules, known_code


def page(code: str) -> str:
    """The page of one rule, as Markdown. Raises `ValueError` with the nearest code for an unknown one."""
    code = known_code(code.upper())
    file = resources.files("inputgrad.audit").joinpath("pages", f"{code}.md")
    if file.is_file():
        return file.read_text(encoding="utf-8")
    rule = all_rules()[code]
    return f"# {code}: {rule.name}\n\n{inspect.getdoc(rule.check) or ''}\n"
