"""The catalogue on a terminal: a table by family, or one entry in full."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inputgrad import catalogue


def show(console: Console, name: str | None = None, family: str | None = None) -> None:
    """Print one entry, one family, or everything. Raises `ValueError` for an unknown name or family."""
    if name is not None:
        return _one(console, catalogue.entry(name))
    entries = catalogue.entries()
    families = list(dict.fromkeys(entry.family for entry in entries if entry.kind == "recipe"))
    for title in families if family is None else [catalogue.family(family)]:
        console.print(_table(title, [entry for entry in entries if entry.family == title and entry.kind == "recipe"]))
    if family is None:
        console.print(_table("what they are made of", [entry for entry in entries if entry.kind != "recipe"]))
    console.print(
        "inputgrad terms NAME shows one in full. In Python: criterion = nn.CrossEntropyLoss() + ig.recipes.NAME(...); in a config: terms: {NAME: {...}}",
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip


def _table(title: str, entries: list[catalogue.Entry]) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False, show_lines=True)
    for column in ("name", "formula", "source"):
        table.add_column(column, overflow="fold", ratio=3 if column == "formula" else 1)
    for entry in entries:
        table.add_row(escape(entry.name), escape(entry.formula or entry.summary), escape(entry.cited))
    return table


def _one(console: Console, entry: catalogue.Entry) -> None:
    console.print(f"{entry.name}({entry.settings})", markup=False, highlight=False, soft_wrap=True)
    console.print(entry.text, markup=False, highlight=False, soft_wrap=True)
