"""Every mistake is one clear error: no traceback, no warning, nothing written. A tenth of them here, all with ``make study``."""

import pytest
import torch

import inputgrad as ig
from tests.study import mistakes_in_configs, mistakes_in_files
from tests.study.mistakes import Mistake, tried

MISTAKES = [
    *mistakes_in_configs.OUT,
    *mistakes_in_configs.LINE,
    *mistakes_in_configs.SETTINGS,
    *mistakes_in_configs.YAMLS,
    *mistakes_in_configs.VALUES,
    *mistakes_in_files.CODE,
    *mistakes_in_files.FILES,
    *mistakes_in_files.RUNS,
]


@pytest.mark.parametrize(
    "mistake", [pytest.param(mistake, marks=pytest.mark.study if number % 10 else (), id=f"{number}") for number, mistake in enumerate(MISTAKES)]
)
def test_a_mistake_is_one_clear_error(mistake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    assert tried(mistake, tmp_path) == []
    torch.set_num_threads(threads)


def test_the_check_itself_finds_what_is_wrong(tmp_path, monkeypatch):
    """A mistake that is none is trained, and a message that is not said is missed."""
    monkeypatch.chdir(tmp_path)
    (good,) = (mistake for mistake in mistakes_in_configs.VALUES if mistake.name == "epochs: 0")
    found = tried(Mistake(good.kind, good.name, (*good.arguments, "--set", "epochs=1"), ("never said",), good.make), tmp_path)
    assert [line.split(";")[0].split(" [")[0] for line in found] == ["exit status 0", "does not say 'never said'", "wrote"]


def test_checking_imports_and_calls_nothing(tmp_path, monkeypatch, config_of):
    """Not even with code allowed: a wrong config is told before the code that it names runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loud.py").write_text("raise SystemExit('imported')\n")
    terms = {"gradient_norm": {"of": "loud:head"}, "direction_match": {"direction": "loud:direction"}, "own": {"callable": "loud:term"}}
    config = config_of(model="loud:model", loss={"base": "loud:base", "terms": terms}, measures={"of": "loud:head"})
    assert config.model.settings.callable == "loud:model"
    assert config_of(loss=None, criterion="loud:criterion").criterion.callable == "loud:criterion"


def test_a_run_of_others_is_read_without_its_code(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert trained({"model": "tests.study.own_parts:linear"})[0] == 0
    assert isinstance(ig.load("out/run-0"), torch.nn.Module)
    with pytest.raises(ValueError, match=r"settings\.json: model\.own\.callable: 'tests\.study\.own_parts:linear' names code, which --no-code refuses"):
        ig.load("out/run-0", code=False)
