"""What newcomers wrote where it cannot work: each gets one error that names the line to write, and that line works."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import inputgrad as ig

X = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 2, 0])
POSITIONS, INDEX = X[:, :3].contiguous(), torch.tensor([0, 0, 1, 1, 2])
FORCES = torch.zeros(5, 3, dtype=torch.float64)


def network(*, outputs: int = 1, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), activation(), nn.Linear(8, outputs)).double()


class Energies(nn.Module):
    """One energy per structure; in a dict, where several outputs are asked for."""

    def __init__(self, *, several: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.per_atom, self.several = nn.Sequential(nn.Linear(3, 1), nn.Tanh()).double(), several

    def forward(self, positions, index):
        energy = positions.new_zeros(int(index.max()) + 1).index_add(0, index, self.per_atom(positions).squeeze(1))
        return {"energy": energy, "atoms": positions.sum(1)} if self.several else energy


ATOMS = {"positions": POSITIONS, "index": INDEX}
WANTED = {"energy": torch.zeros(3, dtype=torch.float64), "forces": FORCES, "index": INDEX}


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_base_loss_takes_weights_per_sample(reduction):
    model, y, w = network(outputs=2), X[:, :2] - 1, torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0])
    base = ig.OnTarget("y", nn.MSELoss(reduction=reduction)).sample_weight("w")
    own = (model(X) - y).square()
    weighted = w * (own.mean(1) if reduction == "mean" else own.sum(1))
    wanted = weighted.mean() if reduction == "mean" else weighted.sum()
    criterion = base + 0.0 * ig.GradientNorm()
    for _ in range(3):  # from the second step on simple steps take another way
        found = criterion(model, X, {"y": y, "w": w})
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradients(found, model), gradients(wanted, model))
    torch.testing.assert_close(
        ig.InputGradientLoss(base.sample_weight("w"))(model, X, {"y": y, "w": w}), (w * weighted).sum() / (5 if reduction == "mean" else 1)
    )


def test_the_own_loss_of_a_weighted_base_is_weighted():
    model, w = network(outputs=3), torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad((w * F.cross_entropy(model(x), LABELS, reduction="none")).sum(), x)
    base = ig.OnTarget("y", "cross_entropy").sample_weight("w")
    parts = (base + ig.GradientNorm(of="loss", power=2)).evaluate(model, X, {"y": LABELS, "w": w}).parts
    torch.testing.assert_close(parts["gradient_norm"], g.square().sum(1).mean())


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (torch.ones(5, 1), r"OnTarget: sample_weight='w' must be one weight per sample, a tensor \[5\]; got a tensor of shape \[5, 1\]"),
        (3.0, "must be one weight per sample.*got float"),
    ],
)
def test_weights_of_another_shape(weights, told):
    criterion = ig.InputGradientLoss(ig.OnTarget("y", "cross_entropy").sample_weight("w"))
    with pytest.raises(ValueError, match=told):
        criterion(network(outputs=3), X, {"y": LABELS, "w": weights})


def energies_and_forces(target=WANTED, *, several=False, **settings):
    return ig.recipes.energy_and_forces(wrt="positions", **settings)(Energies(several=several), ATOMS, target)


def elsewhere(batch):
    return batch.output_with({0: torch.rand(7, 4, dtype=torch.float64)}).squeeze(1)


WRONG = [
    (lambda: ig.OnTarget("y").sample_weight(torch.ones(5)), TypeError, r"takes the name.*got a tensor of shape \[5\].*write \.sample_weight\('w'\)"),
    (lambda: ig.OnTarget(torch.ones(5)), TypeError, r"OnTarget: key must be the name.*got a tensor of shape \[5\]"),
    (lambda: (nn.MSELoss() + ig.GradientNorm()).sample_weight("w"), TypeError, r"ig\.OnTarget\('y', base\)\.sample_weight\('w'\)"),
    (lambda: (nn.MSELoss() + ig.GradientNorm()).scheduled(every=4), TypeError, "are said of one term before it is added"),
    (
        lambda: energies_and_forces(index=INDEX),
        TypeError,
        r"index is the name.*got a tensor of shape \[5\]\. Write index='index' and give the tensor in the target",
    ),
    (lambda: energies_and_forces(index=lambda batch: INDEX, energy_per_atom=True), TypeError, "index is the name.*got function"),
    (lambda: ig.recipes.universal_loss(mask=FORCES), TypeError, r"universal_loss: mask is the name.*got a tensor of shape \[5, 3\]"),
    (lambda: energies_and_forces({**WANTED, "m": torch.ones(3)}, index="index", mask="m"), ValueError, r"write mask\[index\] for.* or mask\[None\] for"),
    (lambda: energies_and_forces(index="index", several=True), TypeError, r"write ig\.InputGradientLoss\(base, terms, output='energy'\)"),
    (
        lambda: ig.gradient(Energies(several=True), ATOMS, wrt="positions"),
        TypeError,
        r"for one function or term that has of=, of=ig\.heads\.Output\('energy'\)",
    ),
    (
        lambda: ig.PGD(0.1)(network(outputs=3), X, {"y": LABELS}, base="cross_entropy"),
        TypeError,
        r"write ig\.OnTarget\('y', nn\.CrossEntropyLoss\(\)\) in place",
    ),
    (lambda: ig.gradient(network(outputs=3), X, of="label", target={"a": X, "b": LABELS}), ValueError, r"of=ig\.heads\.LabelOutput\('b'\)"),
    (lambda: ig.InputGradientLoss(None, ig.term(elsewhere))(network(), X), ValueError, r"batch\.at\(ig\.Given\(points\)\)\.output"),
    (lambda: ig.GradientNorm() + ig.recipes.trades, TypeError, r"trades is a recipe that was not called: write ig\.recipes\.trades\(\.\.\.\)"),
    (lambda: ig.OnTarget("y") + ig.recipes.trades, TypeError, "trades is a recipe that was not called"),
    (lambda: ig.InputGradientLoss("mse") + ig.recipes.trades, TypeError, "trades is a recipe that was not called"),
    (lambda: ig.InputGradientLoss("mse", ig.recipes.hamiltonian_network()), TypeError, "a loss with terms is one by itself: call it, or add it to another"),
    (lambda: ig.InputGradientLoss("mse", ig.recipes.trades), TypeError, r"a recipe is called: ig\.recipes\.trades\(\.\.\.\)"),
    (lambda: ig.InputGradientLoss(ig.gradient), TypeError, "base is the function gradient of this library, which is no loss"),
]


@pytest.mark.parametrize(("write", "kind", "told"), WRONG, ids=[told for *_, told in WRONG])
def test_the_error_says_what_to_write(write, kind, told):
    with pytest.raises(kind, match=told):
        write()


def test_the_lines_that_the_errors_name_work():
    classifier, energies = network(outputs=3), Energies(several=True)
    whole = energies_and_forces(index="index")
    torch.testing.assert_close(energies_and_forces(index="index", several=True, output="energy"), whole)
    torch.testing.assert_close(energies_and_forces({**WANTED, "m": torch.ones(3)[INDEX]}, index="index", mask="m"), whole)
    torch.testing.assert_close(energies_and_forces({**WANTED, "m": torch.ones(3)[None]}, index="index", mask="m"), whole)
    alone = ig.recipes.force_matching(wrt="positions", index="index")
    assert ig.InputGradientLoss(None, alone, output="energy")(energies, ATOMS, WANTED).isfinite()
    assert ig.gradient(energies, ATOMS, wrt="positions", of=ig.heads.Output("energy")).shape == (5, 3)
    assert ig.PGD(0.1)(classifier, X, {"y": LABELS}, base=ig.OnTarget("y", nn.CrossEntropyLoss())).shape == X.shape
    named = ig.gradient(classifier, X, of=ig.heads.LabelOutput("b"), target={"a": X, "b": LABELS})
    torch.testing.assert_close(named, ig.gradient(classifier, X, of="label", target=LABELS))
    points = ig.Given(torch.rand(7, 4, dtype=torch.float64))
    there = ig.term(lambda batch: ig.field(batch, names="abcd", at=points).value - batch.at(points).output.squeeze(1))
    torch.testing.assert_close(ig.InputGradientLoss(None, there)(network(), X).detach(), X.new_zeros(()))


def test_pull_finds_the_labels_of_the_base_loss():
    model, target = network(outputs=3), {"y": LABELS, "surface": X + 0.1}
    pull = [ig.Pull("surface", of=of) for of in ("label", ig.heads.LabelOutput("y"))]
    found, wanted = ((ig.OnTarget("y", "cross_entropy") + term)(model, X, target) for term in pull)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("activation", "epsilon", "warned"), [(nn.ReLU, 1e-9, True), (nn.Tanh, 1e-9, True), (nn.Tanh, 0.1, False), (nn.Tanh, 1e-4, False)])
def test_a_hessian_penalty_of_rounding_says_so(activation, epsilon, warned):
    criterion, model = ig.InputGradientLoss(None, ig.HessianPenalty(epsilon=epsilon)), network(activation=activation)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        criterion(model, X), criterion(model, X)
    assert ["zero or rounding" in str(item.message) for item in caught] == [True] * warned


def test_an_explanation_says_what_its_plain_step_is():
    model, y = network(), X[:, :1]
    alone, beside = (ig.InputGradientLoss(base, ig.GradientNorm()).explain(model, X, y) for base in (None, "mse"))
    told, told_beside = (" ".join(str(found).split()) for found in (alone, beside))
    assert "in plain steps (mean of the output, since there is no base loss" in told
    assert "base loss alone" not in told
    assert "in plain steps (base loss alone, which took" in told_beside


def test_a_recipe_that_is_a_loss_of_output_and_target_is_a_base():
    criterion = ig.InputGradientLoss(ig.recipes.relativistic_pairing, ig.GradientNorm())
    assert criterion(network(), torch.cat([X, X + 1])).isfinite()
