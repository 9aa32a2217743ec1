"""Lists of the catalogue's entries for other pages: its first page, the reference, and the page that helps to choose."""

import inspect
import re

from extensions import markdown
from extensions.families import FAMILIES, homes, recipes
from inputgrad import attributions, catalogue


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
    places = {name: f"catalogue/{family}" for name, family in homes().items()}
    return re.sub(r"(?<![\[}])`(\w+)`", lambda found: markdown.to(found[1], places), text)
