"""The command ``inputgrad``, also as ``python -m inputgrad``, and so ``torchrun -m inputgrad``.

Without the package that the command line is written with, ``--help``, ``--version`` and ``env`` work all the same.
"""

import sys
from importlib.util import find_spec

from inputgrad.report import EXTRA

_HELP = f"""Usage: inputgrad [-h | --help] [--version] [env [--json]]

Losses that depend on the network's input gradient.

env   Print the versions and devices of this environment, for bug reports.

The commands train, audit, bench and terms need more packages: {EXTRA}
"""


def main() -> None:
    """The entry point of ``inputgrad``."""
    if find_spec("typer") is None:
        sys.exit(_without_typer(sys.argv[1:]))
    from inputgrad import cli

    cli.main()


def _without_typer(arguments: list[str]) -> int:
    match arguments:
        case [] | ["-h" | "--help", *_]:
            print(_HELP, end="")
        case ["--version"]:
            from inputgrad import __version__

            print(f"inputgrad {__version__}")
        case ["env"] | ["env", "--json"]:
            import json

            from inputgrad.bench.system import as_text, environment

            print(json.dumps(environment(), indent=2) if arguments[1:] else as_text(environment()).rstrip())
        case _:
            print(f"inputgrad: the command line needs typer: {EXTRA}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    main()
