"""What a config says, and what is said about a wrong one: every problem at once, with its line and the nearest right name."""

import math

import pytest

import inputgrad as ig
from inputgrad.study import checking
from inputgrad.study.problems import ConfigError
from inputgrad.study.source import Source, assignment, overridden
from inputgrad.study.yaml_text import parsed

WRONG = """\
data: digts
modle: cnn
loss:
  base: cross_entrop
  terms:
    gradient_norm: {weight: x, pp: 3}
    adversarial:
      perturbation:
        fgsm:
          epsilon: 0.1
          move: ascent
    direction_match:
      direction: class_men
      of: lable
epochs: ten
engine: double_backwards
"""
TOLD = [
    ("a.yaml:1: data.digts", "did you mean 'digits'?"),
    ("a.yaml:2: modle", "did you mean 'model'?"),
    ("a.yaml:4: loss.base.cross_entrop", "did you mean 'cross_entropy'?"),
    ("a.yaml:6: loss.terms.gradient_norm.weight: got 'x'", "valid number"),
    ("a.yaml:6: loss.terms.gradient_norm.pp", "did you mean 'p'?"),
    ("a.yaml:11: loss.terms.adversarial.perturbation.fgsm.move: got 'ascent'", "did you mean 'ascend'?"),
    ("a.yaml:13: loss.terms.direction_match.direction.class_men", "did you mean 'class_mean'?"),
    ("a.yaml:14: loss.terms.direction_match.of.lable", "did you mean 'label'?"),
    ("a.yaml:15: epochs: got 'ten'", "valid integer"),
    ("a.yaml:16: engine", "did you mean 'double_backward'?"),
]


def test_every_problem_is_told_at_once_with_its_line(problems_of, tmp_path):
    problems = problems_of(WRONG, tmp_path)
    assert len(problems) == len(TOLD)
    for start, hint in TOLD:
        assert any(problem.startswith(start) and hint in problem for problem in problems), start


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: digits\n", "either `loss` (a base loss and terms) or `criterion` (a loss of your own); got neither"),
        ("data: digits\nloss: mse\nepochs: 1\nepochs: 2\n", 'a.yaml:4: no valid YAML: found duplicate key "epochs"'),
        ("data: [digits\n", "no valid YAML"),
        ("- digits\n", "a config is a mapping of keys to values"),
        ("loss: mse\n", "data is missing; known here: name, title, data"),
        ("data: {digits: , diabetes: }\nloss: mse\n", "expected exactly one name, got ['digits', 'diabetes']"),
        ("data: digits\nloss: {terms: {gradient_norm: {every: 0}}}\n", "every of gradient_norm must be a whole number of steps"),
        ("data: digits\nloss: {terms: {gradient_norm: {p: 0.5}}}\n", "GradientNorm: p must be at least 1"),
        ("data: digits\nloss: {terms: {adversarial: {perturbation: {fgsm: {epsilon: -1}}}}}\n", "FGSM: epsilon must be at least 0"),
        ("data: digits\ncriterion: inputgrad.study.popular:recip\n", "has no 'recip'; did you mean 'recipe'?"),
        ("data: digits\ncriterion: no_such_module:x\n", "there is no module 'no_such_module'; it must be installed or lie in the current directory"),
        ("data: digits\nloss: mse\ndevice: gpu\n", "a.yaml:3: device: 'gpu' is not a device of this machine"),
        ("data: digits\nloss: mse\nname: ../elsewhere\n", "a run's name is its directory's name"),
        ("data: {digits: {held_out: 1.5}}\nloss: mse\n", "data.digits.held_out: got 1.5, expected: input should be less than 1"),
        ("data: digits\nloss: {}\n", "there is neither a base loss nor a term"),
    ],
)
def test_one_problem(text, told, problems_of, tmp_path):
    assert any(told in problem for problem in problems_of(text, tmp_path))


def test_a_missing_file_and_two_runs_of_one_name(tmp_path):
    with pytest.raises(ConfigError, match=r"b\.yaml: there is no such file"):
        checking.configs([tmp_path / "b.yaml"], [])
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.yaml").write_text("data: digits\nloss: cross_entropy\n")
    with pytest.raises(ConfigError, match="2 configs have the name 'same'"):
        checking.configs([tmp_path / "x" / "same.yaml", tmp_path / "y" / "same.yaml"], [])


def test_names_that_are_one_directory_somewhere(tmp_path):
    for name in ("Run", "run"):
        (tmp_path / f"{name}.yaml").write_text("data: digits\nloss: cross_entropy\n")
    with pytest.raises(ConfigError, match="2 configs have the name 'Run' and 'run'"):
        checking.configs([tmp_path / "Run.yaml", tmp_path / "run.yaml"], [])


def test_set_replaces_by_dotted_key_and_is_named_in_its_problem(problems_of, tmp_path):
    source = Source("test", {"loss": {"terms": [{"gradient_norm": {"weight": 1}}]}})
    changed = overridden(source, [assignment("loss.terms.0.gradient_norm.weight=1e-3"), assignment("optimizer.adam.lr=0.5")])
    assert changed.values == {"loss": {"terms": [{"gradient_norm": {"weight": 1e-3}}]}, "optimizer": {"adam": {"lr": 0.5}}}
    assert source.values == {"loss": {"terms": [{"gradient_norm": {"weight": 1}}]}}
    problems = problems_of("data: digits\nloss: cross_entropy\n", tmp_path, assignment("optimizer.adm.lr=0.5"))
    assert problems == ["--set optimizer.adm.lr: optimizer.adm: unknown name 'adm'; did you mean 'adam'? Known: 'adam', 'adamw', 'sgd'"]


@pytest.mark.parametrize("text", ["epochs", "=3", "a..b=3"])
def test_a_wrong_assignment(text):
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        assignment(text)


def test_a_key_that_leads_into_a_value():
    with pytest.raises(ConfigError, match="the key leads into str 'digits', which has no 'held_out'"):
        overridden(Source("test", {"data": "digits"}), [assignment("data.held_out=0.2")])


def test_terms_become_the_library_s_own_objects(config_of):
    terms = {
        "gradient_norm": {"weight": -0.5, "p": math.inf, "of": "loss", "every": 4},
        "adversarial": {"perturbation": {"fgsm": {"epsilon": 0.1, "bounds": [0, 1]}}},
        "own": {"callable": "tests.study.own_parts:squared", "weight": 2},
    }
    norm, adversarial, own = (term.make() for term in config_of(loss={"base": "mse", "terms": terms}).loss.terms)
    assert (norm.weight, norm.every, norm.term) == (-0.5, 4, ig.GradientNorm(p=math.inf, of="loss"))
    assert adversarial.term == ig.Adversarial(ig.FGSM(0.1, bounds=(0, 1)))
    assert (own.weight, own.term.name) == (2, "squared")


def test_every_term_of_the_library_can_be_named():
    from inputgrad.study.registry import TERMS

    assert {"gradient_norm", "direction_match", "adversarial"} <= set(TERMS)
    from inputgrad import recipes

    for name, settings in TERMS.items():
        assert name in recipes.__all__ or "weight" in settings.model_fields, name
        assert "every" in settings.model_fields, name


def test_the_demo_s_configs_are_right():
    from pathlib import Path

    demo = Path(__file__).parents[2] / "examples" / "demo"
    assert len(checking.configs(sorted(demo.glob("*.yaml")), [])) == 5
    assert len(checking.configs(sorted(demo.glob("*.example")), [])) == 1


@pytest.mark.parametrize("line", ["epochs: !!int one", "title: 2026-02-31", "title: !!float x", "more: {deep: [1, !!timestamp never]}"])
def test_a_value_that_its_tag_or_form_forbids_is_told_with_its_line(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^a\.yaml:2: no valid YAML: "):
        parsed(f"data: digits\n{line}\n", "a.yaml")
