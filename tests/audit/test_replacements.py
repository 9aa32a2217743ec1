"""What a finding says to write is right: the script with the lines changed gives the finding no more, and the run is no worse."""

import ast
import linecache
import textwrap
from pathlib import Path

import pytest

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.source_edits import Source
from inputgrad.report import audit_text
from tests.audit import harness


def has_lines(finding: Finding) -> bool:
    """Whether it says what to write as lines of a diff."""
    return audit_text.is_diff(finding.write)


def applied(text: str, diff: str, near: int) -> str:
    """The script with the change made: each group of lines is found in it, as near to the finding as may be, and replaced."""
    lines = text.splitlines()
    for group in diff.split("\n  ...\n"):
        marks = [(line[:2], line[2:].strip()) for line in group.splitlines()]
        old, new = [line for mark, line in marks if mark != "+ "], [line for line in group.splitlines() if line[:2] != "- "]
        places = [at for at in range(len(lines)) if [line.strip() for line in lines[at : at + len(old)]] == old]
        assert places, f"no place for {old}"
        at = min(places, key=lambda place: abs(place + 1 - near))
        first = lines[at]
        indent = len(first) - len(first.lstrip()) - min(len(line[2:]) - len(line[2:].lstrip()) for line in group.splitlines() if line[:2] != "+ ")
        lines[at : at + len(old)] = [" " * indent + line[2:] for line in new]
    return "\n".join(lines) + "\n"


POPULAR = """
import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
points, wanted = torch.randn(8, 3), torch.randn(8, 1)
for step in range(5):
    points.requires_grad_(True)
    err = (net(points) - wanted).square().sum()
    err.backward(retain_graph=True)
    slope = points.grad.clone()
    points.grad.zero_()
    total = err + 0.1 * slope.norm(dim=1).mean()
    opt.zero_grad()
    total.backward()
    opt.step()
"""


def found(folder: Path, text: str) -> dict[str, Finding]:
    path = folder / "train.py"
    path.write_text(text)
    linecache.checkcache()
    return {item.code: item for item in harness.run(path).findings}


def test_the_popular_recipe_is_mended_in_the_scripts_own_names(tmp_path):
    told = found(tmp_path, POPULAR)
    assert told["IG101"].write == (
        "- err.backward(retain_graph=True)\n- slope = points.grad.clone()\n- points.grad.zero_()\n"
        "+ slope = torch.autograd.grad(err, points, create_graph=True)[0]"
    )
    assert found(tmp_path, applied(POPULAR, told["IG101"].write, told["IG101"].site.line)) == {}


def test_half_a_mend_is_told_for_what_it_is(tmp_path):
    told = found(tmp_path, POPULAR.replace("err.backward(retain_graph=True)", "torch.autograd.grad(err, points, create_graph=True)"))
    assert "torch.autograd.grad at train.py:11 has given the gradient" in told["IG104"].message.replace(str(tmp_path), "")
    assert "points.grad" in told["IG104"].write


def test_a_gradient_that_accumulates_is_asked_for_with_its_graph(tmp_path):
    told = found(tmp_path, POPULAR.replace("    points.grad.zero_()\n", ""))
    assert "torch.autograd.grad(err, points, create_graph=True)[0]" in told["IG202"].write


def test_the_larger_effect_comes_first(tmp_path):
    two = POPULAR.replace("points.grad.zero_()\n", "points.grad.zero_()\n    tiny = torch.autograd.grad(err, points, retain_graph=True)[0]\n")
    told = found(tmp_path, two.replace("mean()\n", "mean() + 1e-6 * tiny.square().sum()\n", 1))
    assert "IG101" in told
    path = tmp_path / "train.py"
    effects = [item.effect for item in harness.run(path).findings if item.code == "IG101"]
    assert len(effects) == 2
    assert effects[0] > 1e3 * effects[1] > 0


SCRIPT = """
def step(model, x, y):
    x.requires_grad_(True); err = model(x).sum()
    if err > 0:
        err.backward()
    return [
        g.norm()
        for g in torch.autograd.grad(
            err,
            x,  # größer
            retain_graph=True,
        )
    ]
"""


@pytest.fixture
def source(tmp_path) -> Source:
    path = tmp_path / "step.py"
    path.write_text(SCRIPT)
    read = Source.of(Site(str(path), 1))
    assert read is not None
    return read


def test_a_statement_is_the_innermost_and_of_a_compound_one_its_head(source):
    assert source.text(source.statement(5)) == "err.backward()"
    assert source.text(source.statement(9)).startswith("return")
    assert [source.text(node) for node in source.calls(source.statement(2), "step", "backward")] == []
    assert not source.alone(source.statement(3))
    assert source.alone(source.statement(5))


def test_changes_keep_the_users_own_lines(source):
    call = source.calls(source.statement(9), "grad")[0]
    assert source.diff([source.with_keyword(call, "create_graph", "True", "retain_graph")]) == "- retain_graph=True,\n+ create_graph=True,"
    assert source.diff([source.without_argument(call, call.args[0])]) == "- err,"
    assert source.diff([source.without(source.statement(5))]) == "- err.backward()\n+ pass"
    assert source.diff([source.before(source.statement(5), "x.grad = None")]) == "  if err > 0:\n+     x.grad = None\n      err.backward()"
    assert source.diff([source.replace(source.statement(5), "err.backward((")]) == "", "what is no Python any more is not shown"


def test_a_file_that_is_no_python_gives_nothing(tmp_path):
    path = tmp_path / "no.py"
    path.write_text("x = (")
    assert Source.of(Site(str(path), 1)) is None
    assert Source.of(Site("<string>", 1)) is None


@pytest.mark.parametrize("path", harness.scripts()[::20], ids=lambda path: path.stem)
def test_the_text_of_a_node_is_the_source_that_python_tells(path: Path) -> None:
    """Also behind letters of several bytes, of which the tree counts the bytes."""
    text = f'größe = "ü", (1 +\n    2)\n{path.read_text(encoding="utf-8")}'
    source = Source(text.splitlines(keepends=True))
    told = [(node, ast.get_source_segment(text, node)) for node in ast.walk(source.tree)]
    placed = [(node, segment) for node, segment in told if segment is not None]
    assert len(placed) > 50
    for node, segment in placed:
        assert source.text(node) == textwrap.dedent(segment)
