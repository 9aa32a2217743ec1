"""Made-up records for the report's tests: plausible figures from seeded `random`, no network behind them.

Knows only `inputgrad.report.record`. `digits_runs()` looks like the demo, `hostile_run()` carries text that must not get through.
"""

import math
import random
from dataclasses import replace

from inputgrad.report.record import AttackCurve, Epoch, Path, Pictures, RunRecord

HOSTILE = "<script>alert(1)</script>\"'&amp;&<b onmouseover=alert(2)>$x_{$ \\frac $$ {{ 7*7 }} {% raw %} é漢字🙂 --> ]]> https://evil.example/x.js"
EPSILONS = [0.0, 0.05, 0.1, 0.15]
WEAK, STRONG = "LinfPGD(steps=20)", "LinfPGD(steps=40, rel_stepsize=0.1)"
ENVIRONMENT = {"python": "3.11.2", "torch": "2.13.0", "foolbox": "3.3.4", "device": "cpu", "threads": "2"}
SIZE = 8


def digit(seed: int) -> list[list[float]]:
    """A blob of 8 × 8 pixels in 0..1 that looks a little like a written digit."""
    rng = random.Random(seed)
    bend, lean = rng.uniform(1.0, 3.0), rng.uniform(-0.4, 0.4)
    image = []
    for row in range(SIZE):
        stroke = 3.5 + bend * math.sin(row * 0.9 + seed) + lean * (row - 3.5)
        image.append([max(0.0, min(1.0, 1.3 - abs(column - stroke) * 0.7)) for column in range(SIZE)])
    return image


def _gradient(seed: int, size: float, smooth: float) -> list[list[float]]:
    rng, shape = random.Random(seed), digit(seed)
    return [[size * (smooth * (pixel - 0.4) + (1 - smooth) * rng.gauss(0, 0.6)) for pixel in row] for row in shape]


def _pictures(size: float, smooth: float) -> Pictures:
    samples = range(10)
    return Pictures(
        inputs=[digit(sample) for sample in samples],
        gradients=[_gradient(sample, size, smooth) for sample in samples],
        labels=[str(sample) for sample in samples],
        score="the loss of the sample",
    )


def _path(smooth: float) -> Path:
    images, scores = [], []
    for sample in range(3):
        start, direction = digit(sample), digit(sample + 5)
        steps = [
            [[min(1.0, max(0.0, a + t / 8 * smooth * (b - a))) for a, b in zip(left, right, strict=True)] for left, right in zip(start, direction, strict=True)]
            for t in range(9)
        ]
        images.append(steps)
        scores.append([-1.0 + smooth * t * 0.8 + 0.05 * sample for t in range(9)])
    return Path(images=images, scores=scores, score="the logit of class 3", step_size=0.25)


def _epochs(seed: int, count: int, final: float, parts: dict[str, float]) -> list[Epoch]:
    rng, epochs = random.Random(seed), []
    for number in range(1, count + 1):
        left = math.exp(-number / 4)
        values = {name: end * (1 + 12 * left) * rng.uniform(0.93, 1.07) for name, end in parts.items()}
        score = final - 0.75 * left + rng.uniform(-0.004, 0.004) * (number < count)
        epochs.append(Epoch(number, sum(values.values()), values, min(1.0, score + 0.01), score, rng.uniform(0.3, 0.4)))
    return epochs


def _norms(seed: int, mean: float, count: int = 540) -> list[float]:
    rng = random.Random(seed)
    return [mean * rng.lognormvariate(-0.6, 1.1) for _ in range(count)]


def _run(name: str, title: str, loss: str, seed: int, clean: float, weak: float, strong: float, norm: float, parts: dict[str, float]) -> RunRecord:
    return RunRecord(
        name=name,
        title=title,
        task="classification",
        data="digits (scikit-learn), 1257 train, 540 test",
        model="small CNN, SiLU, 19 466 parameters",
        loss=loss,
        settings={
            "loss": {"base": "cross_entropy", "terms": list(parts)[1:]},
            "epochs": 30,
            "batch_size": 64,
            "optimizer": {"name": "adam", "lr": 2e-3},
            "seed": 0,
        },
        epochs=_epochs(seed, 30, clean, parts),
        test_score_before=0.102,
        test_score=clean,
        gradient_norms_before=_norms(1, 0.21),
        gradient_norms=_norms(seed, norm),
        attacks=[
            AttackCurve(WEAK, EPSILONS, [clean + (weak - clean) * (epsilon / 0.15) ** 1.4 for epsilon in EPSILONS]),
            AttackCurve(STRONG, EPSILONS, [clean + (strong - clean) * (epsilon / 0.15) ** 0.9 for epsilon in EPSILONS]),
        ],
        pictures=_pictures(norm, 0.25 if seed < 4 else 0.7),
        path=_path(0.4 if seed < 4 else 1.0),
        seconds=11.4 + 3.1 * seed,
        environment=ENVIRONMENT,
    )


def digits_runs() -> list[RunRecord]:
    """Five runs like the demo's; the first two coincide in all that is measured."""
    base = "cross_entropy"
    plain = _run("plain", "No term", base, 2, 0.973, 0.503, 0.149, 0.884, {"base": 0.09})
    recipe = replace(
        plain,
        name="popular recipe",
        title="Norm of x.grad, no create_graph",
        loss=f"{base} + 1.0 * norm(x.grad)",
        epochs=[replace(epoch, loss=epoch.loss + 0.9, parts={**epoch.parts, "gradient_norm": 0.9 + epoch.parts["base"]}) for epoch in plain.epochs],
        seconds=23.9,
    )
    norm = _run("gradient norm", "Small input gradient", f"{base} + 1.0 * gradient_norm", 5, 0.984, 0.649, 0.242, 0.485, {"base": 0.1, "gradient_norm": 0.3})
    fgsm = _run("fgsm", "Adversarial at ε = 0.15", f"{base} + 1.0 * adversarial(fgsm(0.15))", 6, 0.988, 0.885, 0.685, 0.31, {"base": 0.05, "adversarial": 0.33})
    match = _run("direction", "Wanted direction", f"{base} + 0.05 * direction_match", 7, 0.970, 0.57, 0.18, 0.7, {"base": 0.1, "direction_match": 0.05})
    return [plain, recipe, norm, fgsm, replace(match, mean_cosine=0.934)]


def regression_runs() -> list[RunRecord]:
    """Two tabular regressions: no attacks, no pictures, no path, errors in the thousands."""
    runs = []
    for seed, (name, error, norm) in enumerate([("plain", 3021.4, 51.0), ("gradient norm", 2874.9, 33.0)]):
        epochs = [Epoch(n, error * (1 + 8 / n), {"base": error * (1 + 8 / n)}, error * (1 + 7 / n), error * (1 + 9 / n), 0.02) for n in range(1, 61)]
        runs.append(
            RunRecord(
                name=name,
                title="",
                task="regression",
                data="diabetes",
                model="MLP 10-64-64-1",
                loss="mse" if name == "plain" else "mse + 0.1 * gradient_norm",
                settings={"epochs": 60, "hidden": [64, 64], "weight": None if name == "plain" else 0.1},
                epochs=epochs,
                test_score_before=28000.0,
                test_score=error,
                gradient_norms_before=_norms(seed, 900.0, 133),
                gradient_norms=_norms(seed + 10, norm, 133),
                seconds=1.3,
            )
        )
    return runs


def bare_run() -> RunRecord:
    """As little as a record may hold: no epoch, no norm, nothing optional."""
    return RunRecord("bare", "", "classification", "none", "none", "cross_entropy", {}, [], 0.5, 0.5, [], [])


def hostile_run() -> RunRecord:
    """A run with `HOSTILE` in every text that a user may give, and a name far too long."""
    run = digits_runs()[2]
    assert run.pictures is not None
    assert run.path is not None
    return replace(
        run,
        name=HOSTILE + " n" * 10 + "a" * 200,
        title=HOSTILE,
        data=HOSTILE,
        model=HOSTILE,
        loss=HOSTILE,
        settings={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE, 1, None]}},
        epochs=[replace(epoch, parts={"base": epoch.parts["base"], HOSTILE: 0.3}) for epoch in run.epochs],
        attacks=[replace(run.attacks[0], name=HOSTILE), replace(run.attacks[1], name=HOSTILE + "2")],
        pictures=replace(run.pictures, labels=[HOSTILE] * len(run.pictures.labels), score=HOSTILE),
        path=replace(run.path, score=HOSTILE),
        environment={HOSTILE: HOSTILE},
    )
