"""The command line: arguments and dispatch. A command's work, and everything slow to import, begins inside the command.

Knows each command's options; imports no torch before a command runs.
"""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from inputgrad.command_help import add_examples, names_beginning_with

EXTRA = "pip install 'inputgrad[train]'"

try:
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"inputgrad: the command line needs {error.name}: {EXTRA}")

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


@app.command()
def train(
    configs: Annotated[list[Path] | None, typer.Argument(metavar="[CONFIG.yaml]...", help="One run each. None: the short form, --data and --loss.")] = None,
    out: Annotated[Path, typer.Option(help="Where the runs and report.html go.")] = Path("runs"),
    data: Annotated[str | None, typer.Option(help="Data set by name: digits, breast_cancer, diabetes.")] = None,
    model: Annotated[str | None, typer.Option(help="mlp, cnn, or package.module:callable(input_shape=, output_size=).")] = None,
    loss: Annotated[str | None, typer.Option(help='Such as "cross_entropy + 1.0*gradient_norm(p=2, of=loss)".')] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the parameters and the order of the samples.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of a config, dotted: optimizer.adam.lr=0.01.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh where --out holds a run with other settings.")] = False,
) -> None:
    """Train networks whose loss depends on their input gradient, measure them, and compare them in one report.html.

    The same command goes on with a run that was interrupted, to the identical result, and leaves finished ones as they are.
    """
    shorts = {"data": data, "model": model, "loss": loss, "epochs": epochs, "seed": seed}
    raise typer.Exit(_train(configs or [], shorts, settings or [], out, overwrite))


@app.command()
def bench(
    problem: Annotated[str, typer.Argument(metavar="PACKAGE.MODULE:CALLABLE", help="Returns (model, inputs, target) or (model, inputs, target, criterion).")],
    rounds: Annotated[int, typer.Option(help="How often each way is timed, in turn.")] = 15,
    engines: Annotated[list[str] | None, typer.Option(help="Which ones, separated by commas (default: all).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures and the environment there.")] = None,
) -> None:
    """Time every engine on a model of your own against its plain training step, with the error of the term's gradient beside each time."""
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


@app.command(
    cls=_WithScript, options_metavar="[OPTIONS]", short_help="Run a training script and say what it does wrong with input gradients, with file and line."
)
def audit(
    ctx: typer.Context,
    script: Annotated[str | None, typer.Argument(metavar="SCRIPT.py [ARGUMENTS]...", help="As python would run it. Or: -m MODULE [ARGUMENTS]...")] = None,
    steps: Annotated[int, typer.Option(min=1, help="End the script after that many optimiser steps.")] = 3,
    format: Annotated[str, typer.Option(metavar="text|json|sarif|html", help="Of the report. Text goes to stderr, the others to stdout.")] = "text",
    output: Annotated[str | None, typer.Option(metavar="PATH", help="Write the report there; - is stdout, after what the script printed.")] = None,
    report: Annotated[str | None, typer.Option(metavar="PATH", help="The HTML page; by itself audit.html beside the text.")] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="No HTML page.")] = False,
    fail_on: Annotated[str, typer.Option(metavar="error|warning|note|never", help="Exit with 1 from which severity on.")] = "error",
    select: Annotated[list[str] | None, typer.Option(metavar="CODES", help="Only these rules, such as IG1,IG203.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="CODES", help="Not these rules.")] = None,
    baseline: Annotated[Path | None, typer.Option(metavar="PATH", help="Findings in this file do not count.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(metavar="PATH", help="Write today's findings there, so that only new ones count.")] = None,
    explain: Annotated[str | None, typer.Option(metavar="CODE", help="Print a rule's page, or those of a family, such as IG1.")] = None,
    list_rules: Annotated[bool, typer.Option("--list", help="Print all rules, a line each.")] = False,
) -> None:
    """Run a training script UNMODIFIED, watch a few of its steps, and say what it does wrong with input gradients: where, how large, what to write.

    Audit options may come before or after the script. Exit status: 1 for findings at or above --fail-on, 2 for a wrong command line, else the script's own.
    """
    if explain is not None:
        raise typer.Exit(_explain(explain))
    if list_rules:
        from inputgrad.audit.explain import listing

        typer.echo(listing(), nl=False)
        raise typer.Exit
    asked = {"steps": steps, "format": format, "output": output, "report": "" if no_report else report, "fail_on": fail_on, "baseline": baseline,
             "write_baseline": write_baseline, "select": tuple(select or ()), "ignore": tuple(ignore or ()), "late": tuple(ctx.obj.late)}  # fmt: skip
    raise typer.Exit(_audit(script, ctx.obj.theirs, ctx.obj.module, asked))


@app.command()
def saliency(
    run: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A run of inputgrad train: its directory, or the checkpoint.pt in it.")],
    out: Annotated[Path | None, typer.Option(help="The picture (default: saliency.png in the run's directory).")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many held-out images.")] = 8,
) -> None:
    """Draw held-out images of a trained run and the input gradient of each one's score."""
    from inputgrad.study.loading import saliency as drawn
    from inputgrad.study.problems import StudyError

    try:
        typer.echo(f"Picture: {drawn(run, out, samples)}")
    except (StudyError, ImportError) as error:
        typer.echo(f"inputgrad saliency: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def terms(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One entry, with all its text.", autocompletion=names_beginning_with)] = None,
    family: Annotated[str | None, typer.Option(help="Only those of one family, such as critics, adversarial, physics.")] = None,
) -> None:
    """The catalogue: every published loss on the input gradient that the library holds, with formula, defaults and source."""
    raise typer.Exit(_terms(name, family))


@app.command()
def env(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Print the versions of Python, torch and the optional packages, the platform, devices and threads: for bug reports."""
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


def _explain(code: str) -> int:
    from rich.console import Console
    from rich.markdown import Markdown

    from inputgrad.audit.explain import page

    try:
        text = page(code)
    except ValueError as error:
        typer.echo(f"inputgrad audit: {error}", err=True)
        return 2
    console = Console()
    console.print(Markdown(text)) if console.is_terminal else typer.echo(text, nl=False)
    return 0


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


def _train(configs: list[Path], shorts: dict[str, Any], settings: list[str], out: Path, overwrite: bool) -> int:
    from rich.console import Console

    from inputgrad.study import command, distributed
    from inputgrad.study.problems import ConfigError
    from inputgrad.study.source import Override, assignment

    if not configs and shorts["data"] is None and not any(setting.startswith("data") for setting in settings):
        typer.echo('inputgrad train: give a CONFIG.yaml, or the short form: --data digits --loss "cross_entropy + 1.0*gradient_norm"', err=True)
        return 2
    given = [Override((name,), value, f"--{name}") for name, value in shorts.items() if value is not None]
    try:
        overrides = [*given, *map(assignment, settings)]
    except ConfigError as error:
        typer.echo(str(error), err=True)
        return 1
    return distributed.end(command.train(configs, overrides, out, overwrite=overwrite, console=Console()))


add_examples(app)


def main() -> None:
    """The entry point of ``inputgrad``. A package of the extra that is not installed is told in one line."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "inputgrad":
            raise
        sys.exit(f"inputgrad: this command needs {error.name}: {EXTRA}")


if __name__ == "__main__":
    main()
