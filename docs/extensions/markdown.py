"""Text of docstrings as Markdown, with links."""

import re
from functools import cache
from urllib.parse import quote

from inputgrad import catalogue


def plain(text: str, linked: dict[str, str] | None = None, family: str = "") -> str:
    """A docstring's text as Markdown: names of recipes and terms become links, and no sign of it means something else."""

    def shown(part: str) -> str:
        if not part.startswith("`"):
            return re.sub(r"([*<\[\]|])", r"\\\1", part)
        name = part.strip("`")
        return to(name, linked, family) if linked else f"`{name}`"

    return "".join(map(shown, re.split(r"(``[^`]+``|`[^`]+`)", text)))


def to(name: str, homes: dict[str, str], family: str = "") -> str:
    """A name in code quotes, which leads to the recipe's or the term's entry if it is one."""
    if name in homes:
        return f"[`{name}`]({'' if homes[name] == family else homes[name] + '.md'}#{name})"
    return f"{{py:obj}}`{name} <inputgrad.{name}>`" if name in terms() else f"`{name}`"


@cache
def terms() -> frozenset[str]:
    """The names of the library's terms."""
    return frozenset(entry.name for entry in catalogue.entries() if entry.kind == "term")


def paper(source: str) -> str:
    """Where the paper is: arXiv where the source names a number, else a search for its title."""
    arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", source)
    title = re.search(r'"([^"]+)"', source)
    if arxiv:
        return f"[arXiv](https://arxiv.org/abs/{arxiv[1]})"
    return f"[find the paper](https://scholar.google.com/scholar?q={quote(title[1])})" if title else ""
