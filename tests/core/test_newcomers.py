"""What newcomers missed: second derivatives by name, fields of a trained model, parts of terms that are not due, flat atoms, missing labels."""

import itertools
import math
import pickle
import warnings

import pytest
import torch
from torch import nn

import inputgrad as ig


def network(*widths: int) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [layer for before, after in itertools.pairwise(widths) for layer in (nn.Linear(before, after), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).double()


X = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("of", ["output", ig.heads.OneOutput(1), lambda output, target: output.square().sum(1)], ids=["output", "one", "own"])
def test_hessians_against_torch_func(of):
    model = network(3, 8, 2)
    head = {"output": lambda y: y.sum()}.get(of) if isinstance(of, str) else (lambda y: y[1]) if isinstance(of, ig.heads.Head) else lambda y: y.square().sum()
    wanted = torch.stack([torch.func.hessian(lambda x: head(model(x[None])[0]))(x) for x in X])
    torch.testing.assert_close(ig.hessian(model, X, of), wanted)
    torch.testing.assert_close(ig.hessian_diagonal(model, X, of), wanted.diagonal(dim1=1, dim2=2))
    loss = ig.hessian_diagonal(model, X, of).square().mean()
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    reference = torch.func.vmap(torch.func.hessian(lambda x: head(model(x[None])[0])))(X).diagonal(dim1=1, dim2=2).square().mean()
    torch.testing.assert_close(found, torch.autograd.grad(reference, parameters, allow_unused=True, materialize_grads=True))


def test_hessians_of_images_of_a_trained_model_and_in_a_term():
    model = nn.Sequential(nn.Flatten(), network(4, 6, 1))
    images = X.new_ones(2, 1, 2, 2)
    with torch.no_grad():
        assert ig.hessian(model, images).shape == (2, 1, 2, 2, 1, 2, 2)
        assert not ig.hessian_diagonal(model, images).requires_grad
    term = ig.term(lambda batch: ig.hessian_diagonal(batch).flatten(1).square().sum(1))
    value = ig.InputGradientLoss(None, term)(model, images)
    torch.testing.assert_close(value, ig.hessian_diagonal(model, images).flatten(1).square().sum(1).mean())


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"of": "loss"}, "needs a base loss"), ({"of": ig.heads.EachOutput()}, "needs one score per sample"), ({"wrt": (0,)}, "wrt names one input")],
)
def test_what_a_hessian_cannot_be_taken_of(settings, told):
    with pytest.raises((ValueError, TypeError), match=told):
        ig.hessian(network(3, 4, 2), X, **settings)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fields_of_a_trained_model_have_no_graph(mode):
    model = network(2, 8, 1)
    points = X[:, :2].clone()
    u = ig.field(model, points, names="xt")
    wanted = [u.value, u.d("t"), u.d("xx"), u.laplacian(), u.gradient(), u.hessian(), u.coordinate("x"), u.biharmonic()]
    with mode():
        u = ig.field(model, points, names="xt")
        found = [u.value, u.d("t"), u.d("xx"), u.laplacian(), u.gradient(), u.hessian(), u.coordinate("x"), u.biharmonic()]
        assert not any(part.requires_grad for part in found)
        for part, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(part, other.detach())
        with pytest.raises(ValueError, match="of takes a quantity with a graph, and this one was made under no_grad"):
            u.of(u.value * u.d("x"), "x")


def test_a_term_that_is_not_due_is_absent_and_nan_where_it_is_asked_for():
    criterion = nn.MSELoss() + ig.GradientNorm().scheduled(every=3) + ig.GradientNorm(p=1).named("other")
    model, y = network(3, 4, 1), X.new_ones(5, 1)
    steps = [criterion.evaluate(model, X, y) for _ in range(4)] + [criterion.backward(model, X, y)]
    assert ["gradient_norm" in step.parts for step in steps] == [True, False, False, True, False]
    assert [math.isnan(step.parts["gradient_norm"]) for step in steps] == [False, True, True, False, True]
    assert steps[1].parts.get("gradient_norm") is None
    assert sorted(steps[1].parts) == ["base", "other"]
    assert type(pickle.loads(pickle.dumps(steps[1].parts))) is dict
    with pytest.raises(KeyError, match="is not a part of this loss; did you mean 'gradient_norm'"):
        steps[1].parts["gradient_nrom"]
    alone = ig.InputGradientLoss(None, ig.GradientNorm().scheduled(every=2))
    assert [list(alone.evaluate(model, X).parts) for _ in range(2)] == [["gradient_norm"], []]


class Atoms(nn.Module):
    """Energies of structures whose atoms stand in a row."""

    def __init__(self, several: bool = False) -> None:
        super().__init__()
        self.body, self.several = network(3, 6, 1), several

    def forward(self, positions, batch):
        energy = positions.new_zeros(int(batch.max()) + 1).index_add(0, batch, self.body(positions).squeeze(1))
        return {"energy": energy, "atoms": positions.new_ones(len(energy))} if self.several else energy


INDEX = torch.tensor([0, 0, 1, 1, 1])
LABELS = {"energy": torch.ones(2, dtype=torch.float64), "forces": torch.zeros(5, 3, dtype=torch.float64), "batch": INDEX}


def test_energies_and_forces_of_a_model_that_returns_a_dict():
    inputs, flat = {"positions": X, "batch": INDEX}, ig.recipes.energy_and_forces(wrt="positions", index="batch")
    criterion = ig.recipes.energy_and_forces(wrt="positions", index="batch", output="energy")
    model = Atoms(several=True)
    wanted = flat(Atoms(), inputs, LABELS)
    torch.testing.assert_close(criterion(model, inputs, LABELS), wanted)
    z = X.clone().requires_grad_()
    energy = model(z, INDEX)["energy"]
    (g,) = torch.autograd.grad(energy.sum(), z)
    by_hand = (energy - 1).square().mean() + (g.square().sum(1).new_zeros(2).index_add(0, INDEX, g.square().sum(1)) / torch.tensor([6.0, 9.0])).mean()
    torch.testing.assert_close(wanted, by_hand)


@pytest.mark.parametrize(
    ("settings", "labels", "told"),
    [
        ({}, {}, r"^the term forces could not be evaluated: .* must return one number per sample, .*pass index= to the term"),
        ({"index": "atoms"}, {}, r"^GradientMatch: index='atoms' is not a part of the target; Known: 'batch', 'energy', 'forces'$"),
        ({"index": "batch"}, {"forces": torch.zeros(2, 3)}, r"^GradientMatch: wanted has shape \[2, 3\]; expected that of the input gradient, \[5, 3\]"),
        ({"index": "batch"}, {"batch": INDEX[:3]}, r"^index must hold the number of each row's sample, integers of shape \[5\]"),
        ({"index": "batch"}, {"batch": INDEX + 1}, r"^index names samples outside 0\.\.1"),
        ({"index": "batch"}, {"energy": torch.zeros(5)}, r"^energy_and_forces: the output has shape \[2\] and the energies \[5\]"),
    ],
)
def test_errors_of_flat_atoms_say_the_cause_first(settings, labels, told):
    criterion = ig.recipes.energy_and_forces(wrt="positions", **settings)
    with pytest.raises(ValueError, match=told):
        criterion(Atoms(), {"positions": X, "batch": INDEX}, LABELS | labels)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)])
def test_masks_of_flat_atoms_in_every_form(shape):
    mask = torch.tensor([1, 0, 1, 1, 0])
    given = mask if shape == (5,) else mask[:, None].expand(shape)
    term = ig.recipes.force_matching(wrt="positions", index="batch", mask="mask")
    z = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(Atoms()(z, INDEX).sum(), z)
    wanted = ((g + LABELS["forces"]).square().sum(1) * mask).new_zeros(2).index_add(0, INDEX, (g + LABELS["forces"]).square().sum(1) * mask)
    counts = torch.zeros(2, dtype=wanted.dtype).index_add(0, INDEX, 3.0 * mask.to(wanted))
    loss = ig.InputGradientLoss(None, term)(Atoms(), {"positions": X, "batch": INDEX}, LABELS | {"batch": INDEX, "mask": given})
    torch.testing.assert_close(loss, (wanted / counts).mean())


def test_masks_of_padded_atoms_in_every_form():
    positions, forces, mask = X[:4].reshape(2, 2, 3), X[1:].reshape(2, 2, 3), torch.tensor([[1, 0], [1, 1]])
    model = nn.Sequential(nn.Flatten(), network(6, 5, 1))
    losses = []
    for given in (mask, mask[..., None], mask[..., None].expand(-1, -1, 3)):
        target = {"energy": torch.ones(2, dtype=torch.float64), "forces": forces, "mask": given}
        losses.append(ig.recipes.energy_and_forces(mask="mask", energy_per_atom=True)(model, positions, target))
    assert losses[0] == losses[1] == losses[2]
    two_ways = ig.InputGradientLoss(None, ig.GradientMatch(None, mask=torch.ones(2, 2)))
    with pytest.raises(ValueError, match=r"can be read in two ways: write mask\[\.\.\., None\]"):
        two_ways(nn.Sequential(nn.Flatten(), network(4, 5, 1)), torch.rand(2, 2, 2, dtype=torch.float64))


def test_an_index_that_is_an_input_is_told_how_to_be_taken():
    criterion = ig.recipes.energy_and_forces(wrt="positions", index="batch")
    with pytest.raises(ValueError, match=r"index='batch' is not a part of the target; .* index=lambda batch: batch\.inputs\['batch'\]"):
        criterion(Atoms(), {"positions": X, "batch": INDEX}, {name: LABELS[name] for name in ("energy", "forces")})


MISSING = {
    "GradientMatch": (lambda: ig.GradientMatch("labels"), (3,), 1),
    "DirectionMatch": (lambda: ig.DirectionMatch("labels"), (3,), 1),
    "JacobianMatch": (lambda: ig.JacobianMatch("labels"), (2, 3), 2),
    "JacobianMatch along units": (lambda: ig.JacobianMatch("labels", unit=True), (2, 3), 2),
    "JacobianMatch of means": (lambda: ig.JacobianMatch("labels", reduction="mean"), (2, 3), 2),
    "DirectionalDerivative": (lambda: ig.DirectionalDerivative(torch.ones(3), wanted="labels"), (2,), 2),
    "HessianMatch": (lambda: ig.HessianMatch("labels"), (3, 3), 1),
    "Pull": (lambda: ig.Pull("labels"), (3,), 1),
    "AttributionMatch": (lambda: ig.AttributionMatch(ig.attributions.InputTimesGradient(), "labels"), (3,), 1),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_label_that_is_nan_contributes_nothing(name):
    term, shape, outputs = MISSING[name]
    model, labels = network(3, 6, outputs), torch.rand(5, *shape, dtype=torch.float64)
    some = labels.clone()
    some[[1, 3]] = math.nan
    known = torch.tensor([0, 2, 4])
    criterion = ig.InputGradientLoss(None, term())
    torch.testing.assert_close(criterion(model, X, {"labels": some}), criterion(model, X[known], {"labels": labels[known]}) * 3 / 5)
    one = labels.clone()
    one.view(5, -1)[1, 0] = math.nan
    loss = criterion(model, X, {"labels": one})
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_convexity_of_a_network_that_is_linear_in_pieces_is_warned_of_once():
    criterion = nn.MSELoss() + ig.Convex({0: 1})
    relu = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    with pytest.warns(UserWarning, match="Convex: the second derivative of Sequential in its input is zero wherever it exists, .*Monotone"):
        criterion(relu, X, X.new_ones(5, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(relu, X, X.new_ones(5, 1))
        criterion(network(3, 6, 1), X, X.new_ones(5, 1))


def test_missing_derivatives_in_differential_learning():
    y, dydx = X.sum(1), torch.ones_like(X) * torch.tensor([1.0, 2.0, 3.0])
    whole = ig.recipes.Differentials.of(X, y, dydx)
    known = dydx.clone()
    known[0, 1] = known[2, 0] = math.nan
    data = ig.recipes.Differentials.of(X, y, known)
    torch.testing.assert_close(data.scale, whole.scale)  # each column is constant
    model = network(3, 6, 1)
    loss = data.criterion()(model, data.inputs(X), data.target(y, known))
    assert loss.isfinite()
    z = data.inputs(X).requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z)
    wanted = data.target(y, known)
    gap = torch.where(known.isnan(), 0, data.scale * (g - wanted["dydx"])).square().sum(1) / (~known.isnan()).sum(1)
    torch.testing.assert_close(loss, 0.25 * (model(z).squeeze(1) - wanted["y"]).square().mean() + 0.75 * gap.mean())
    with pytest.raises(ValueError, match=r"dydx has no number at all in the inputs \[1\]"):
        ig.recipes.Differentials.of(X, y, torch.where(torch.tensor([False, True, False]), math.nan, dydx))
    values = torch.cat((torch.full((1,), math.nan, dtype=X.dtype), y[1:]))
    some = ig.recipes.Differentials.of(X, values, dydx)
    torch.testing.assert_close(some.y_mean, y[1:].mean())
    torch.testing.assert_close(some.y_std, y[1:].std(correction=0))
    scaled = some.target(values, dydx)
    z = some.inputs(X).requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z)
    by_hand = (model(z).squeeze(1) - scaled["y"])[1:].square().sum() / 5 / 4 + 0.75 * (some.scale * (g - scaled["dydx"])).square().mean()
    torch.testing.assert_close(some.criterion()(model, some.inputs(X), scaled), by_hand)
    with pytest.raises(ValueError, match="y has no number at all"):
        ig.recipes.Differentials.of(X, values * math.nan, dydx)
    with pytest.raises(ValueError, match=r"Of the diagonal alone: torch\.where"):
        data.second(dydx)
    one = ig.recipes.Differentials.of(X[:, :1], y, dydx[:, :1])
    with pytest.raises(ValueError, match=r"gamma\.reshape\(-1, 1, 1\)"):
        one.second(y)
