"""The command: whose argument is whose, the script's own ways kept, exit status, reports, the fixture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inputgrad.audit.arguments import split
from inputgrad.audit.rule_runner import all_rules
from tests.audit.audit_runs import LINE, SCRIPT, Here, apart, in_a_fork, write

VALUED, FLAGS = {"--steps", "--output"}, {"--no-report", "--help"}


@pytest.fixture
def here(monkeypatch, capfd, tmp_path):
    write(tmp_path)
    return Here(monkeypatch, capfd, tmp_path)


@pytest.mark.parametrize(
    ("given", "ours", "script", "theirs"),
    [
        ("train.py --steps 3", "--steps 3", "train.py", ""),
        ("--steps 3 train.py -- --lr 3", "--steps 3", "train.py", "--lr 3"),
        ("train.py --lr 1 --steps=3 data --help", "--steps=3", "train.py", "--lr 1 data --help"),
        ("train.py -- --steps 3 -- x", "", "train.py", "--steps 3 -- x"),
        ("--no-report train.py --no-report=1", "--no-report", "train.py", "--no-report=1"),
        ("-- train.py --steps 3", "", "train.py", "--steps 3"),
        ("--lr train.py", "--lr", "train.py", ""),
        ("--help", "--help", None, ""),
        ("train.py -m x", "", "train.py", "-m x"),
        ("--steps", "--steps", None, ""),
    ],
)
def test_whose_argument_is_whose(given, ours, script, theirs):
    parts = split(given.split(), VALUED, FLAGS)
    assert (parts.ours, parts.script, parts.theirs, parts.module) == (ours.split(), script, theirs.split(), False)


def test_a_module_takes_the_rest():
    parts = split(["--steps", "2", "-m", "a.b", "--lr", "1", "--output", "x"], VALUED, FLAGS)
    assert (parts.module, parts.script, parts.theirs, parts.late) == (True, "a.b", ["--lr", "1"], ["--output"])


def test_the_popular_recipe_as_a_user_runs_it(tmp_path):
    write(tmp_path)
    done = apart(tmp_path, "train.py", "--steps", "2", "--lr", "7")
    assert done.status == 1
    assert done.out == "step 0 --lr 7\n"  # the second step ends it
    assert f"train.py:{LINE}  IG101  error" in done.err
    assert done.err.splitlines()[-1].endswith("in 2 steps; report: audit.html")
    assert "inputgrad audit" in (tmp_path / "audit.html").read_text()
    assert "\x1b" not in done.err


def test_what_the_script_has_registered_comes_before_the_report(tmp_path):
    write(tmp_path, "import atexit\natexit.register(print, 'at exit')\ntry:\n    exec(open('inner.py').read())\nfinally:\n    print('finally')\n")
    write(tmp_path, name="inner.py")
    done = in_a_fork(tmp_path, "--format", "json", "--fail-on", "never", "--steps", "1", "train.py")
    assert done.status == 0
    *printed, last = done.out.splitlines()
    assert printed == ["finally", "at exit"]
    assert json.loads(last)["steps"] == 1


def test_a_script_that_fails_is_told_as_python_tells_it(tmp_path):
    path = write(
        tmp_path,
        SCRIPT.replace('print("over")', "").replace("    print(", "    if step == 1:\n        nn.functional.relu(model(torch.ones(2, 7)))\n    print("),
    )
    plain = subprocess.run([sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    done = apart(tmp_path, "--no-report", path.name)
    assert (done.status, done.out) == (1, plain.stdout)
    assert done.err.startswith(plain.stderr)
    assert "in 2 steps, then the script raised RuntimeError: mat1 and mat2" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("import sys; sys.exit(7)", 7, "0 steps (the script ended by itself, with status 7)"),
        ("import sys; sys.exit('bye')", 1, "bye\n"),
        ("import sys; sys.exit()", 0, "no optimiser step was seen"),
        ("x = 1", 0, "no optimiser step was seen"),
        ("raise KeyboardInterrupt", 130, "then the script raised KeyboardInterrupt"),
        ("x = (", 1, "SyntaxError: '(' was never closed"),
        (
            "import os, sys; assert sys.argv == ['train.py', 'a'] and __name__ == '__main__' and os.path.isabs(__file__) and sys.path[0] == os.getcwd()",
            0,
            "0 steps",
        ),
        ("import pickle\nclass A: pass\npickle.loads(pickle.dumps(A()))", 0, "0 steps"),
        ("import os; os.chdir('/')", 0, "0 steps"),
    ],
)
def test_the_scripts_own_status(here, tmp_path, text, status, says):
    write(tmp_path, text)
    done = here(own=["a"], report="")
    assert done.status == status, done.err
    assert says in done.err


def test_a_module_and_a_package(here, tmp_path):
    write(tmp_path, "import sys; print(__name__, __package__, sys.argv[1:])", "pack/__main__.py")
    write(tmp_path, "import sys; print(__name__, __package__, sys.argv[1:])", "pack/inner.py")
    for name in ("pack", "pack.inner"):
        assert here(script=name, module=True, own=["--lr", "1"], report="").out == "__main__ pack ['--lr', '1']\n"
    assert "no such module" in here(script="pack.none", module=True).err


def test_the_status_says_whether_something_was_found(here):
    assert here(steps=1, report="").status == 1
    assert here(steps=1, report="", fail_on="never").status == 0
    assert here(steps=1, report="", ignore=("IG1,IG2,IG3",)).status == 0
    assert "nothing found in 1 step" in here(steps=1, report="", select=("IG103",)).err
    assert here(steps=1, report="", select=("IG1",)).status == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"script": "none.py"}, "none.py: file not found"),
        ({"script": "."}, "is a folder"),
        ({"select": ("IG1", "XX")}, "'XX' is the beginning of no rule's code"),
        ({"output": "none/out.json"}, "is not a folder"),
        ({"baseline": __import__("pathlib").Path("none.json")}, "there is not a baseline"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(here, options, says):
    done = here(**options)
    assert (done.status, done.out) == (2, "")
    assert says in done.err


def test_comments_and_baseline(here, tmp_path):
    known = tmp_path / "known.json"
    done = here(steps=1, report="", write_baseline=known)
    assert done.status == 0
    assert "in the baseline" in done.err
    write(tmp_path, "import torch\n" + SCRIPT)
    assert here(steps=1, report="", baseline=known).status == 0
    write(tmp_path, SCRIPT.replace("(retain_graph=True)", "(retain_graph=True)  # inputgrad: ignore[IG101, IG999] to show it"))
    done = here(steps=1, report="", format="json", output=str(tmp_path / "out.json"), select=("IG101",))
    data = json.loads((tmp_path / "out.json").read_text())
    assert done.status == 0
    assert [(item["code"], item["by"], item["reason"]) for item in data["suppressed"]] == [("IG101", "comment", "to show it")]
    assert any("ignore[IG999] is not a rule" in note for note in data["notes"])


def test_an_option_that_both_know_is_told(here, tmp_path):
    write(tmp_path, SCRIPT + "\nOPTION = '--steps'\n")
    assert "--steps behind the script's name was read as the audit's" in here(steps=1, report="", late=("--steps",)).err


def test_a_page_of_the_users_own_is_left_alone(here, tmp_path):
    (tmp_path / "audit.html").write_text("mine")
    assert "report:" not in here(steps=1).err
    assert (tmp_path / "audit.html").read_text() == "mine"


def test_an_optimiser_with_a_closure(here, tmp_path):
    lines = SCRIPT.splitlines()
    start = next(number for number, line in enumerate(lines) if "inputs.requires_grad_" in line)
    end = next(number for number, line in enumerate(lines) if "optimizer.step()" in line)
    body = ["    def closure():", *("    " + line for line in lines[start:end]), "        return loss", "    optimizer.step(closure)"]
    write(tmp_path, "\n".join([*lines[:start], *body, *lines[end + 1 :]]).replace("SGD(model.parameters(), lr=0.1)", "LBFGS(model.parameters(), max_iter=2)"))
    done = here(report="", steps=2, select=("IG1",))
    assert done.status == 1, done.err
    assert "IG101" in done.err
    assert "in 2 steps" in done.err


def test_the_explanation(tmp_path):
    done = in_a_fork(tmp_path, "--explain", "ig101")
    assert (done.status, done.out.startswith("# IG101")) == (0, True)
    unknown = in_a_fork(tmp_path, "--explain", "IG1011")
    assert unknown.status == 2
    assert "did you mean 'IG101'?" in unknown.err


def test_a_family_and_the_list(tmp_path: Path) -> None:
    family, every = in_a_fork(tmp_path, "--explain", "ig3"), in_a_fork(tmp_path, "--list")
    assert (family.status, every.status) == (0, 0)
    assert [line[2:7] for line in family.out.splitlines() if line.startswith("# IG")] == [code for code in sorted(all_rules()) if code.startswith("IG3")]
    assert [line.split()[0] for line in every.out.splitlines()] == sorted(all_rules())


def test_an_ascii_terminal_gets_ascii(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    write(tmp_path, "# \u2016g\u2016 größer\n" + SCRIPT)
    done = apart(tmp_path, "--no-report", "--steps", "1", "train.py")
    assert done.status == 1, done.err
    assert done.err.isascii()
    assert "||dterm/dtheta|| = 0" in done.err
    page = apart(tmp_path, "--explain", "ig1")
    assert page.status == 0
    assert page.out.isascii()


def test_a_missing_package_is_told_before_the_script_runs(tmp_path):
    write(tmp_path)
    for missing in ("jinja2", "rich", "typer"):
        code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['inputgrad', 'audit', 'train.py']\nfrom inputgrad.__main__ import main\nmain()"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert missing in done.stderr
        assert "pip install 'inputgrad[train]', or pip install '.[train]' in a checkout" in done.stderr


def test_the_fixture(tmp_path):
    train = "\n".join("    " + line for line in SCRIPT.splitlines() if line).replace("range(5)", "range(2)")
    write(tmp_path, f"def train():\n{train}\n", "code.py".replace("code", "training"))
    write(
        tmp_path,
        """
        import pytest
        from training import train

        def test_bad(input_gradient_audit):
            with input_gradient_audit():
                train()

        def test_looked_at(input_gradient_audit):
            with input_gradient_audit(fail_on="never") as found:
                train()
            assert "IG101" in [told.code for told in found]

        def test_raises(input_gradient_audit):
            with pytest.raises(KeyError), input_gradient_audit():
                raise KeyError
        """,
        "test_training.py",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],  # the plugin is an entry point
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert "IG101  error" in done.stdout


def test_the_fixture_costs_a_test_run_no_torch():
    program = "import sys, inputgrad.audit.pytest_plugin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_script_that_swallows_its_end_is_ended_all_the_same(tmp_path):
    swallowing = SCRIPT.replace("for step in range(5):", "step = 0\nwhile True:\n  try:").replace("\n    ", "\n        ") + "\n"
    swallowing = swallowing.replace('print("over")', "  except:\n        pass")
    write(tmp_path, swallowing)
    done = in_a_fork(tmp_path, "train.py", "--no-report")
    assert done.status == 1, done.err
    assert "IG101" in done.err
    assert "in 3 steps" in done.err


def test_an_interrupted_script_ends_with_130_and_what_was_found(here, tmp_path):
    write(tmp_path, SCRIPT.replace('    print("step"', '    if step == 1:\n        raise KeyboardInterrupt\n    print("step"'))
    done = here(report="")
    assert done.status == 130
    assert "IG101" in done.err


def test_training_in_a_thread_is_left_alone(here, tmp_path):
    body = SCRIPT.split("for step", 1)
    inner = "\n".join(f"    {line}" for line in ("for step" + body[1]).splitlines())
    write(tmp_path, f"{body[0]}import threading\n\ndef train():\n{inner}\n\nthread = threading.Thread(target=train)\nthread.start()\nthread.join()\n")
    done = here(report="")
    assert done.status == 0, done.err
    assert "over" in done.out
    assert "no optimiser step was seen" in done.err
    assert "no input gradient" not in done.err
    assert "Traceback" not in done.err


def test_the_replacement_is_the_users_own_line(here, tmp_path):
    write(
        tmp_path,
        SCRIPT.replace("output.sum().backward(retain_graph=True)", "slope = torch.autograd.grad(output.sum(), inputs, retain_graph=True)[0]")
        .replace("g = inputs.grad.clone()", "g = slope")
        .replace("    inputs.grad.zero_()\n", ""),
    )
    done = here(report="", steps=1)
    shown = " ".join(done.err.split())
    assert "- slope = torch.autograd.grad(output.sum(), inputs, retain_graph=True)[0]" in shown
    assert "+ slope = torch.autograd.grad(output.sum(), inputs, create_graph=True)[0]" in shown
