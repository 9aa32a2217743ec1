"""Two examples of each command, shown at the end of its help; and the names that the shell completes. Imports no torch."""

from typing import Any

from inputgrad.lazy import homes

EXAMPLES = {
    "train": ("inputgrad train plain.yaml penalty.yaml --out runs", 'inputgrad train --data digits --loss "cross_entropy + 1.0*gradient_norm(of=loss)"'),
    "bench": ("inputgrad bench my_package.problems:critic", "inputgrad bench my_package.problems:critic --engines double_backward,compiled --json times.json"),
    "audit": ("inputgrad audit train.py --epochs 1", "inputgrad audit --fail-on warning --format sarif --output audit.sarif train.py"),
    "saliency": ("inputgrad saliency runs/penalty", "inputgrad saliency runs/penalty --samples 4 --out digits.png"),
    "terms": ("inputgrad terms trades", "inputgrad terms --family critics"),
    "env": ("inputgrad env", "inputgrad env --json"),
}


def add_examples(app: Any) -> None:
    """Show each command's examples after its options. app: the ``typer.Typer`` that holds the commands."""
    for command in app.registered_commands:
        command.epilog = "Examples:\n\n" + "\n\n".join(EXAMPLES[command.callback.__name__])


def names_beginning_with(incomplete: str) -> list[str]:
    """The catalogue's names that a shell may complete."""
    return sorted(name for package in ("inputgrad.recipes", "inputgrad.terms") for name in homes(package) if name.lower().startswith(incomplete.lower()))
