"""The audit's rules as pages, one for each family, made of what `inputgrad audit --explain` prints when the pages are built."""

import re
from pathlib import Path

from mdit_py_plugins.anchors.index import slugify

from inputgrad.audit import explain
from inputgrad.audit.rule_runner import all_rules

FAMILIES = {
    "IG0": ("Scripts that use this library", "Criteria with the wrong settings, or whose loss trains nothing."),
    "IG1": ("The graph of the input gradient", "Input gradients in the loss that never reach the weights."),
    "IG2": ("Gradients in `.grad`", "Gradients in `.grad` that should not be there, or are lost."),
    "IG3": ("Scale, norms and outputs", "Gradients divided by the batch size, norms over the wrong dimensions, gradients of the wrong output."),
    "IG4": ("Modes and coupled samples", "Layers that depend on the other samples, on random numbers, or on the mode."),
    "IG5": ("Numerics", "NaN at zero, loss scaling in the penalty, underflow."),
    "IG6": ("Operations without a second derivative", "What torch cannot differentiate twice, and what to use instead."),
    "IG7": ("Adversarial training", "How an input is moved along its gradient."),
    "IG8": ("Distributed training and evaluation", "Gradients that are not averaged, and input gradients under `inference_mode`."),
    "IG9": ("From step to step", "What a script does with gradients and terms in the course of training."),
}
"""Title and first sentence of each family's page."""


def codes(family: str) -> list[str]:
    return sorted(code for code in all_rules() if code.startswith(family))


def section(code: str) -> str:
    """A rule's page one level lower; the headings of its parts become bold words."""
    parts = re.split(r"(^```.*?^```$)", explain.page(code), flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"^## (.+)\n", r"**\1**\n\n", re.sub(r"^# ", "## ", part, flags=re.MULTILINE), flags=re.MULTILINE) for part in parts[::2]]
    lower = [re.sub(r"^\*\*(IG\d+: .+)\*\*\n", r"## \1\n", part, flags=re.MULTILINE) for part in parts]
    return "".join(lower).strip()


def page(family: str) -> str:
    title, sentence = FAMILIES[family]
    return "\n\n".join([f"# {family}: {title}", sentence, *map(section, codes(family))]) + "\n"


def write(folder: Path) -> None:
    """Write the pages; a page that is the same stays as it is, so that it is not built again."""
    folder.mkdir(exist_ok=True)
    for family in FAMILIES:
        text, path = page(family), folder / f"{family.lower()}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def overview() -> str:
    """For the index of the rules: a table for each family, and its page in the side bar."""
    lines = []
    for family, (title, sentence) in FAMILIES.items():
        file = f"audit_rules/{family.lower()}.md"
        rules = {code: all_rules()[code] for code in codes(family)}
        rows = [f"| [{code}]({file}#{slugify(f'{code}: {rule.name}')}) | {rule.severity} | {rule.name} |" for code, rule in rules.items()]
        lines += [f"## [{family}: {title}]({file})", sentence, "\n".join(["| rule | severity | finds |", "| --- | --- | --- |", *rows])]
    pages = "\n".join(f"audit_rules/{family.lower()}" for family in FAMILIES)
    return "\n\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```"
