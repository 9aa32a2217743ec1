"""The loss as one line: what it means, and what is said of a wrong one."""

import pytest

from inputgrad.study.expression import parse

BASES, TERMS = {"mse", "huber", "cross_entropy"}, {"gradient_norm", "adversarial"}


@pytest.mark.parametrize(
    ("line", "base", "terms"),
    [
        ("cross_entropy", {"cross_entropy": {}}, []),
        ("cross_entropy + 1.0*gradient_norm", {"cross_entropy": {}}, [{"gradient_norm": {"weight": 1.0}}]),
        ("mse - gradient_norm*0.5", {"mse": {}}, [{"gradient_norm": {"weight": -0.5}}]),
        ("-2*gradient_norm + mse", {"mse": {}}, [{"gradient_norm": {"weight": -2}}]),
        ("huber(delta=0.5) + gradient_norm(p=inf, of=loss)", {"huber": {"delta": 0.5}}, [{"gradient_norm": {"weight": 1, "p": float("inf"), "of": "loss"}}]),
        ("gradient_norm(of='loss')", None, [{"gradient_norm": {"weight": 1, "of": "loss"}}]),
        (
            "mse + 1e-3*adversarial(perturbation=fgsm(epsilon=.1, bounds=(0, 1)))",
            {"mse": {}},
            [{"adversarial": {"weight": 1e-3, "perturbation": {"fgsm": {"epsilon": 0.1, "bounds": [0, 1]}}}}],
        ),
        ("cross_entrop + gradient_norm", {"cross_entrop": {}}, [{"gradient_norm": {"weight": 1}}]),
    ],
)
def test_meaning(line, base, terms):
    assert parse(line, BASES, TERMS) == {"base": base, "terms": terms}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mse +", "is not a sum of a base loss and weighted terms"),
        ("", "is not a sum of a base loss and weighted terms"),
        ("2*mse", "there is one base loss, without a weight"),
        ("mse + huber", "there is one base loss, without a weight"),
        ("mse + gradient_norm(2)", r"settings are given by name, gradient_norm\(setting=value\)"),
        ("mse + gradient_norm*adversarial", r"expected number\*term"),
        ("mse + gradient_norm(p=2**3)", "a setting is a number, a word, a list"),
        ("__import__('os').system('true')", "expected a name"),
        ("mse if True else huber", "expected a name"),
    ],
)
def test_wrong_lines(line, told):
    with pytest.raises(ValueError, match=told):
        parse(line, BASES, TERMS)
