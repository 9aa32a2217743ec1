"""Commands of training: ``train`` and ``saliency``. What is slow to import is imported once a command runs."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _folder(given: str | Path) -> Path:
    if not str(given).strip():  # as of a variable that is not set, --out "$RUNS"
        raise typer.BadParameter("the name of the folder is empty; give one, such as --out runs, or --out . for the current directory")
    return Path(given)


def train(
    configs: Annotated[
        list[Path] | None, typer.Argument(metavar="[CONFIG.yaml]...", help="Config files, one per run. Without any, use --data and --loss.")
    ] = None,
    out: Annotated[Path, typer.Option(parser=_folder, metavar="DIRECTORY", help="Folder for the runs and report.html.")] = Path("runs"),
    data: Annotated[str | None, typer.Option(help="Data set by name: digits, breast_cancer, diabetes.")] = None,
    model: Annotated[str | None, typer.Option(help="mlp, cnn, or package.module:callable(input_shape=, output_size=).")] = None,
    loss: Annotated[str | None, typer.Option(help='The loss, such as "cross_entropy + 1.0*gradient_norm(p=2, of=loss)".')] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the parameters and the order of the samples.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any config key: optimizer.adam.lr=0.01.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again if --out contains a run with other settings.")] = False,
    no_code: Annotated[
        bool, typer.Option("--no-code", help="Reject configs that name code, such as their own model. Use it for configs you do not trust.")
    ] = False,
) -> None:
    """Train networks whose loss depends on their input gradient, measure them, and compare them in one report.html.

    Run the same command again to resume an interrupted run, with an identical result; finished runs are not repeated.
    """
    shorts = {"data": data, "model": model, "loss": loss, "epochs": epochs, "seed": seed}
    raise typer.Exit(_train(configs or [], shorts, settings or [], out, overwrite=overwrite, code=not no_code))


def saliency(
    run: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A run of inputgrad train: its directory, or the checkpoint.pt in it.")],
    out: Annotated[Path | None, typer.Option(help="File for the picture (default: saliency.png in the run's directory).")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of held-out images.")] = 8,
    no_code: Annotated[bool, typer.Option("--no-code", help="Reject a run whose settings name code.")] = False,
) -> None:
    """Draw held-out images and their input gradients, for a trained run."""
    from inputgrad.report.visible import visible
    from inputgrad.study.loading import saliency as drawn
    from inputgrad.study.problems import StudyError

    try:
        typer.echo(f"Picture: {drawn(run, out, samples, code=not no_code)}")
    except (StudyError, ImportError) as error:
        typer.echo(visible(f"inputgrad saliency: {error}"), err=True)
        raise typer.Exit(1) from error


def _train(configs: list[Path], shorts: dict[str, Any], settings: list[str], out: Path, *, overwrite: bool, code: bool) -> int:
    from rich.console import Console

    from inputgrad.report.visible import visible
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
        typer.echo(visible(str(error)), err=True)
        return 1
    return distributed.end(command.train(configs, overrides, out, overwrite=overwrite, console=Console(), code=code))
