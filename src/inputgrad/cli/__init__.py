"""The command line: arguments and dispatch. A command's work, and everything slow to import, begins inside the command.

Knows each command's options; imports no torch before a command runs.
"""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from inputgrad.command_help import add_examples, names_beginning_with
from inputgrad.report import EXTRA

try:
    import typer
except ModuleNotFoundError as error:
    print(f"inputgrad: the command line needs {error.name}: {EXTRA}", file=sys.stderr)
    sys.exit(2)

from inputgrad.cli import training  # it needs typer too, which may be missing

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(name="inputgrad", no_args_is_help=True, pretty_exceptions_enable=False, context_settings=HELP)


def _print_version(wanted: bool) -> None:
    if wanted:
        from inputgrad import __version__

        typer.echo(f"inputgrad {__version__}")
        raise typer.Exit


@app.callback()
def _inputgrad(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Losses that depend on the network's input gradient."""


app.command()(training.train)


@app.command()
def bench(
    problem: Annotated[str, typer.Argument(metavar="PACKAGE.MODULE:CALLABLE", help="Returns (model, inputs, target) or (model, inputs, target, criterion).")],
    rounds: Annotated[int, typer.Option(help="How often each method is timed.")] = 15,
    engines: Annotated[list[str] | None, typer.Option(help="Engines to time, separated by commas (default: all).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the results and the environment to this file.")] = None,
) -> None:
    """Time every engine on your own model, relative to a plain training step, with the error of the term's gradient."""
    raise typer.Exit(_bench(problem, engines or [], rounds, json))


class _WithScript(typer.core.TyperCommand):
    """Audit options before or after the script's name; the rest is the script's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from inputgrad.audit.arguments import split

        options = [option for option in self.get_params(ctx) if option.param_type_name == "option"]
        flags = {name for option in options if option.is_flag or option.count for name in option.opts}  # type: ignore[attr-defined]  # options have both
        parts = split(args, {name for option in options for name in option.opts} - flags, flags)
        ctx.obj = parts
        return super().parse_args(ctx, [*parts.ours, *(["--", parts.script] if parts.script is not None else [])])


@app.command(cls=_WithScript, options_metavar="[OPTIONS]", short_help="Find mistakes with input gradients in a training script, with file and line.")
def audit(
    ctx: typer.Context,
    script: Annotated[
        str | None, typer.Argument(metavar="SCRIPT.py [ARGUMENTS]...", help="The script and its arguments, as for python. Or: -m MODULE [ARGUMENTS]...")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="End the script after that many optimiser steps.")] = 3,
    format: Annotated[str, typer.Option(metavar="text|json|sarif|html", help="Format of the report. Text goes to stderr, other formats to stdout.")] = "text",
    output: Annotated[str | None, typer.Option(metavar="PATH", help="File for the report; - is stdout, after the script's own output.")] = None,
    report: Annotated[str | None, typer.Option(metavar="PATH", help="File for the HTML page; with text the default is audit.html.")] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no HTML page.")] = False,
    fail_on: Annotated[str, typer.Option(metavar="error|warning|note|never", help="Minimum severity for exit code 1.")] = "error",
    select: Annotated[list[str] | None, typer.Option(metavar="CODES", help="Use only these rules, such as IG1,IG203.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="CODES", help="Skip these rules.")] = None,
    baseline: Annotated[Path | None, typer.Option(metavar="PATH", help="Ignore the findings in this file.")] = None,
    write_baseline: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write the current findings to this file, so that later runs report only new ones.")
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="CODE", help="Print a rule's page, or those of a family, such as IG1.")] = None,
    list_rules: Annotated[bool, typer.Option("--list", help="Print all rules, one per line.")] = False,
) -> None:
    """Run your training script unmodified, watch a few steps, and report mistakes with input gradients: the line, the effect, and what to write instead.

    Audit options may come before or after the script. Exit status: 1 for findings at or above --fail-on, 2 for a wrong command line, otherwise the
    script's own.
    """
    if explain is not None or list_rules:
        from inputgrad.audit.explain import show

        raise typer.Exit(show(explain))
    asked = {"steps": steps, "format": format, "output": output, "report": "" if no_report else report, "fail_on": fail_on, "baseline": baseline,
             "write_baseline": write_baseline, "select": tuple(select or ()), "ignore": tuple(ignore or ()), "late": tuple(ctx.obj.late)}  # fmt: skip
    raise typer.Exit(_audit(script, ctx.obj.theirs, ctx.obj.module, asked))


app.command()(training.saliency)


@app.command()
def terms(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print one complete entry.", autocompletion=names_beginning_with)] = None,
    family: Annotated[str | None, typer.Option(help="List one family only, such as critics, adversarial, physics.")] = None,
) -> None:
    """List all published losses on the input gradient, with formula, defaults and source."""
    raise typer.Exit(_terms(name, family))


@app.command()
def env(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions of Python, torch and optional packages, platform, devices and threads, for bug reports."""
    from inputgrad.bench.system import as_text, environment

    facts = environment()
    typer.echo(dumps(facts, indent=2) if json else as_text(facts).rstrip())


def _audit(script: str | None, arguments: list[str], module: bool, asked: dict[str, Any]) -> int:
    from inputgrad.errors import nearest

    wrong = "" if script is not None else "give a script: inputgrad audit train.py [its arguments]; or -m MODULE, or --explain CODE"
    for name, known in (("format", ("text", "json", "sarif", "html")), ("fail_on", ("error", "warning", "note", "never"))):
        if asked[name] not in known:
            wrong = f"--{name.replace('_', '-')} {asked[name]}: {nearest(asked[name], known)}"
    if wrong or script is None:
        typer.echo(f"inputgrad audit: {wrong}", err=True)
        return 2
    from inputgrad.audit import command

    return command.audit(script, arguments, command.Options(**asked), module=module)


def _terms(name: str | None, family: str | None) -> int:
    from rich.console import Console

    from inputgrad.study import catalogue

    try:
        catalogue.show(Console(), name, family)
    except ValueError as error:
        typer.echo(f"inputgrad terms: {error}", err=True)
        return 1
    return 0


def _bench(problem: str, engines: list[str], rounds: int, out: Path | None) -> int:
    from inputgrad.study.imports import load_callable

    try:
        made = load_callable(problem)
    except ValueError as error:
        typer.echo(f"inputgrad bench: {error}", err=True)
        return 1
    returned = made()  # what the user's own code raises keeps its traceback
    from inputgrad.bench import command

    try:
        asked = command.asked(returned, engines, rounds)
    except (TypeError, ValueError) as error:
        typer.echo(f"inputgrad bench: {problem}: {error}", err=True)
        return 1
    command.run(asked, out, typer.echo)
    return 0


add_examples(app)


def main() -> None:
    """The entry point of ``inputgrad``. A package of the extra that is not installed is told in one line."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "inputgrad":
            raise
        print(f"inputgrad: this command needs {error.name}: {EXTRA}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
