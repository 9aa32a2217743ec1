"""The command: one report of several runs, interruptions, finished and changed runs, and the command line itself."""

import functools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import inputgrad as ig
from inputgrad.cli import app
from inputgrad.report.record import RunRecord
from inputgrad.study.training import Training
from tests.scale.spawn import signalled

ROOT = Path(__file__).parents[2]


def record(folder: Path) -> RunRecord:
    return RunRecord.from_json(json.loads((folder / "record.json").read_text()))


def model_of(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def interrupt_after(monkeypatch, epochs: int) -> None:
    whole = Training.run_epoch

    def run_epoch(self, *arguments):
        if len(self.epochs) == epochs:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(Training, "run_epoch", run_epoch)


def test_several_configs_give_one_report(trained, tmp_path):
    status, told = trained({}, {"loss": "cross_entropy + 0.1*gradient_norm(of=loss)", "title": "With a norm <b>"})
    out = tmp_path / "out"
    assert status == 0
    assert f"Report: {out / 'report.html'}" in told
    assert "run-0" in told
    page = (out / "report.html").read_text()
    assert "With a norm &lt;b&gt;" in page
    assert "<b>" not in page
    lines = [json.loads(line) for line in (out / "run-1" / "metrics.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2]
    assert set(lines[0]["parts"]) == {"base", "gradient_norm"}
    assert record(out / "run-1").loss == "cross_entropy + 0.1·gradient_norm(of=loss)"


def test_an_interrupted_run_goes_on_to_the_identical_result(trained, tmp_path, monkeypatch):
    values = {"epochs": 3, "model": "tests.study.own_parts:with_dropout", "loss": "cross_entropy + 0.1*gradient_norm"}
    assert trained(values, out=tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        status, told = trained(values)
    assert status == 130
    assert "Interrupted. Finished runs and the last whole epoch of this one are kept" in told
    assert not (tmp_path / "out" / "report.html").exists()
    status, told = trained(values)
    assert status == 0
    assert "goes on after epoch 2" in told
    whole, resumed = (model_of(tmp_path / folder / "run-0") for folder in ("whole", "out"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    first, second = (record(tmp_path / folder / "run-0") for folder in ("whole", "out"))
    assert (first.gradient_norms, first.gradient_norms_before, first.test_score) == (second.gradient_norms, second.gradient_norms_before, second.test_score)
    assert len((tmp_path / "out" / "run-0" / "metrics.jsonl").read_text().splitlines()) == 3


def test_an_interruption_before_anything_was_written(trained, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("inputgrad.study.command.try_out", interrupted)
    status, told = trained({})
    assert (status, (tmp_path / "out").exists()) == (130, False)
    assert "Interrupted. Nothing had been written yet." in told


@pytest.mark.study  # ten seconds; tests/scale/test_train.py has the signal of a batch system
def test_an_interruption_by_a_signal_has_the_exit_status_130(tmp_path):
    command = [sys.executable, "-m", "inputgrad.cli", *SHORT, "--epochs", "100000", "--loss", "cross_entropy", "--out", "here"]
    default = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it, and its children would
    status, told = signalled(command, tmp_path / "here" / "run" / "checkpoint.pt", signal.SIGINT, cwd=tmp_path, preexec_fn=default)
    assert status == 130
    assert "are kept in here: run the same command again to resume." in told


def test_finished_runs_are_left_as_they_are(trained, tmp_path, monkeypatch):
    assert trained({})[0] == 0
    monkeypatch.setattr(Training, "run_epoch", None)
    status, told = trained({"title": "Another title"})
    assert status == 0
    assert "finished before, kept in" in told
    assert "Another title" in (tmp_path / "out" / "report.html").read_text()


def test_changed_settings_never_replace_finished_work_unasked(trained, tmp_path):
    assert trained({})[0] == 0
    kept = (tmp_path / "out" / "run-0" / "record.json").read_bytes()
    status, told = trained({"seed": 7})
    assert status == 1
    assert "holds a run with other settings:\n    seed: 0 -> 7" in told
    assert "--overwrite" in told
    assert (tmp_path / "out" / "run-0" / "record.json").read_bytes() == kept
    assert trained({"seed": 7}, overwrite=True)[0] == 0
    assert record(tmp_path / "out" / "run-0").settings["seed"] == 7


def test_a_changed_data_file_is_a_changed_setting(trained, tmp_path):
    table = tmp_path / "t.csv"
    rows = [f"{i},{i % 7},{i % 2}" for i in range(40)]
    table.write_text("\n".join(["a,b,kind", *rows]))
    values = {"data": {"csv": {"path": str(table), "target": "kind", "task": "classification"}}}
    assert trained(values)[0] == 0
    table.write_text("\n".join(["a,b,kind", *rows, "1,1,1"]))
    status, told = trained(values)
    assert status == 1
    assert "data_content" in told


@pytest.mark.parametrize(
    "values", [{"epochs": 0}, {"data": {"csv": {"path": "no.csv", "target": "y", "task": "regression"}}}, {"loss": "mse + gradient_norm(of=label)"}]
)
def test_nothing_is_written_where_something_is_wrong(trained, tmp_path, values):
    assert trained({}, values)[0] == 1
    assert not (tmp_path / "out").exists()


def test_a_broken_record_is_named(trained, tmp_path):
    trained({})
    (tmp_path / "out" / "run-0" / "record.json").write_text("{}")
    status, told = trained({})
    assert status == 1
    assert "no record of this command" in told


SHORT = ["train", "--data", "digits", "--model", "mlp", "--epochs", "1", "--set", "measures.epsilons=[]", "--set", "batch_size=512", "--set", "threads=1"]


def test_the_short_form(tmp_path):
    result = CliRunner().invoke(app, [*SHORT, "--loss", "cross_entropy + 1.0*gradient_norm(of=loss)", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert record(tmp_path / "run").loss == "cross_entropy + 1·gradient_norm(of=loss)"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train"], "give a CONFIG.yaml, or the short form"),
        ([*SHORT, "--loss", "cross_entropy + gradient_nrom"], "--loss: loss.terms.gradient_nrom: unknown name 'gradient_nrom'; did you mean 'gradient_norm'?"),
        ([*SHORT, "--loss", "mse", "--set", "epochs"], "expected KEY=VALUE"),
    ],
)
def test_wrong_command_lines(arguments, told, tmp_path):
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code in (1, 2)
    assert told in result.output.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_a_real_process(tmp_path):
    command = [sys.executable, "-m", "inputgrad.cli", *SHORT, "--loss", "cross_entropy", "--out", "here"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Report: here/report.html" in done.stdout
    page, kept = (tmp_path / "here" / "report.html").read_text(), (tmp_path / "here" / "run" / "record.json").read_text()
    assert str(tmp_path) not in page + kept
    assert str(ROOT) not in page + kept


@pytest.mark.parametrize("command", ["train", "bench", "audit", "saliency", "terms", "env"])
def test_the_help_of_a_command_has_two_examples(command):
    from inputgrad.command_help import EXAMPLES

    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"})
    _, _, examples = shown.output.partition("Examples:")
    assert len(re.findall(rf"^\s*inputgrad {command}\b", examples, re.MULTILINE)) == 2
    options = {option for parameter in typer.main.get_command(app).commands[command].params for option in parameter.opts}
    used = {word for line in EXAMPLES[command] for word in line.split() if word.startswith("--")}
    assert used - options <= {"--epochs"}, "an option that there is not"  # of the audited script


def test_the_shell_completes_names(monkeypatch):
    """What the completion that ``--install-completion`` installs asks for."""
    from inputgrad.command_help import names_beginning_with

    assert {"wgan_gp", "wgan_lp"} <= set(names_beginning_with("wgan"))
    assert "GradientNorm" in names_beginning_with("gradientn")
    monkeypatch.setenv("COMP_WORDS", "inputgrad terms wgan")
    monkeypatch.setenv("COMP_CWORD", "2")
    shown = CliRunner().invoke(app, [], prog_name="inputgrad", env={"_INPUTGRAD_COMPLETE": "complete_bash"})
    assert "wgan_gp" in shown.output


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_needs_no_torch(arguments):
    code = f"""import sys
sys.argv = ['inputgrad', *{arguments}]
from inputgrad.cli import main
try: main()
finally: assert not {{'torch', 'numpy', 'sklearn'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


LOADED_LATE = [pytest.param(name, marks=pytest.mark.study) for name in ("foolbox", "sklearn", "ruamel")]
"""Packages that are missed after torch was loaded, which takes seconds."""


@pytest.mark.parametrize("missing", ["typer", "pydantic", *LOADED_LATE])
def test_a_missing_package_is_one_line(missing, tmp_path):
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['inputgrad', *{SHORT!r}]\nfrom inputgrad.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'inputgrad[train]', or pip install '.[train]' in a checkout" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_public_name_is_there():
    import inputgrad

    assert all(getattr(inputgrad, name) is not None for name in inputgrad.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        inputgrad.nothing  # noqa: B018  # looked up for its error


def test_a_run_is_read_back(tmp_path: Path) -> None:
    train = ["train", "--data", "digits", "--loss", "cross_entropy + 0.1*gradient_norm(of=loss)", "--epochs", "1"]
    train += ["--set", "name=short", "--set", "measures.epsilons=[]", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, train)
    assert done.exit_code == 0, done.output
    kept = torch.load(tmp_path / "short" / "checkpoint.pt", weights_only=True)["model"]
    for run in (tmp_path / "short", tmp_path / "short" / "checkpoint.pt"):
        model = ig.load(run)
        assert not model.training
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    drawn = CliRunner().invoke(app, ["saliency", str(tmp_path / "short")])
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "short" / "saliency.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no run of inputgrad train"):
        ig.load(tmp_path / "nothing")
