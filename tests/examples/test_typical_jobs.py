"""Typical jobs as users write them, in a few lines of documented names each, against plain torch in float64: value and parameter gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig

Job = tuple[nn.Module, Tensor, Tensor]
"""The module whose parameters learn, the library's loss, and plain torch's."""
JOBS: dict[str, Callable[[], Job]] = {}


def job(make: Callable[[], Job]) -> Callable[[], Job]:
    JOBS[make.__name__] = make
    return make


def net(*widths: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(widths[0], 16), nn.Tanh(), nn.Linear(16, widths[1]))


def grad(score: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(score.sum(), z, create_graph=True)[0]


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net(5, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.body(torch.cat([x, condition], 1)).squeeze(1)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.logits, self.value = net(3, 8), nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.body(x)
        return {"logits": self.logits(hidden), "value": self.value(hidden).squeeze(1)}


class Atoms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net(3, 1)

    def forward(self, positions: Tensor, cell: Tensor, batch: Tensor) -> Tensor:
        return torch.linalg.det(cell).sqrt().index_add(0, batch, self.body(positions).squeeze(1))


@job
def gan_with_r1() -> Job:
    critic, real, fake = net(3, 1), torch.rand(8, 3), torch.rand(8, 3)
    criterion = ig.InputGradientLoss(lambda out, fakes: F.softplus(-out).mean() + F.softplus(critic(fakes)).mean(), ig.recipes.r1(10.0))
    z = leaf(real)
    g = grad(critic(z), z)
    return critic, criterion(critic, real, fake), F.softplus(-critic(z)).mean() + F.softplus(critic(fake)).mean() + 5 * g.square().sum(1).mean()


@job
def conditional_wgan_gp() -> Job:
    critic, real, fake, labels = Conditional(), torch.rand(8, 3), torch.rand(8, 3), torch.rand(8, 2)
    criterion = ig.InputGradientLoss(lambda out, fakes: critic(fakes, labels).mean() - out.mean(), ig.recipes.wgan_gp(10.0))
    torch.manual_seed(3)
    loss = criterion(critic, (real, labels), fake)
    torch.manual_seed(3)
    share = torch.rand(8, 1)
    z = leaf(share * real + (1 - share) * fake)
    g = grad(critic(z, labels), z)
    return critic, loss, critic(fake, labels).mean() - critic(real, labels).mean() + 10 * (g.norm(dim=1) - 1).square().mean()


@job
def system_of_equations() -> Job:
    model, points, walls = net(2, 2), torch.rand(20, 2), torch.rand(6, 2)

    def schroedinger(field: ig.Field) -> tuple[Tensor, Tensor]:
        u, v = field
        return u.d("t") + v.d("xx"), v.d("t") - u.d("xx")

    walled = ig.term(lambda batch: batch.output.square().sum(1))
    criterion = ig.InputGradientLoss(None, ig.Residual(schroedinger, names="xt"))
    loss = criterion(model, points) + 10 * ig.InputGradientLoss(None, walled)(model, walls)
    z = leaf(points)
    first = [grad(column, z) for column in model(z).unbind(1)]
    second = [grad(part[:, 0], z)[:, 0] for part in first]
    plain = ((first[0][:, 1] + second[1]).square().mean() + (first[1][:, 1] - second[0]).square().mean()) / 2
    return model, loss, plain + 10 * model(walls).square().sum(1).mean()


@job
def inverse_problem() -> Job:
    model, points, measured = net(2, 1), torch.rand(20, 2), torch.rand(20, 1)
    model.alpha = nn.Parameter(torch.tensor(0.3))
    criterion = nn.MSELoss() + ig.recipes.heat(2.0, diffusivity=model.alpha, names="xt")
    z = leaf(points)
    first = grad(nn.Sequential.forward(model[:3], z), z)
    residual = first[:, 1] - model.alpha * grad(first[:, 0], z)[:, 0]
    return model, criterion(model[:3], points, measured), F.mse_loss(model[:3](points), measured) + 2 * residual.square().mean()


@job
def forces_and_stress_of_flat_atoms() -> Job:
    model, r, h, index = Atoms(), torch.rand(6, 3), torch.eye(3).repeat(2, 1, 1) * 2, torch.tensor([0, 0, 0, 0, 1, 1])
    labels = {"energy": torch.rand(2), "forces": torch.rand(6, 3), "stress": torch.rand(2, 3, 3), "batch": index}
    criterion = ig.recipes.energy_and_forces(wrt="positions", index="batch")
    criterion = criterion + 3.0 * ig.StressMatch("stress", wrt=("positions", "cell"), index="batch")
    z, lattice = leaf(r), leaf(h)
    energy = model(z, lattice, index)
    g, of_cell = torch.autograd.grad(energy.sum(), (z, lattice), create_graph=True)
    forces = torch.zeros(2).index_add(0, index, (-g - labels["forces"]).square().sum(1)) / torch.tensor([12.0, 6.0])
    strained = g[:, :, None] * r[:, None, :]
    strain = torch.zeros(2, 3, 3).index_add(0, index, strained) + of_cell.mT @ h
    stress = (strain + strain.mT) / 16
    plain = (energy - labels["energy"]).square().mean() + forces.mean() + 3 * (stress - labels["stress"]).square().mean()
    return model, criterion(model, {"positions": r, "cell": h, "batch": index}, labels), plain


@job
def greeks_with_gamma() -> Job:
    model, x, y, delta, gamma = net(2, 1), torch.rand(9, 2), torch.rand(9, 1), torch.rand(9, 2), torch.rand(9, 2, 2)
    data = ig.recipes.Differentials.of(x, y, delta)
    criterion = data.criterion() + 0.1 * ig.HessianMatch("gamma", reduction="mean")
    target = {**data.target(y, delta), "gamma": data.second(gamma)}
    z = leaf(data.inputs(x))
    g = grad(model(z), z)
    hessian = torch.stack([grad(column, z) for column in g.unbind(1)], 1)
    plain = F.mse_loss(model(z), target["y"]) / 3 + 2 / 3 * (data.scale * (g - target["dydx"])).square().mean(1).mean()
    return model, criterion(model, data.inputs(x), target), plain + 0.1 * (hessian - target["gamma"]).square().mean((1, 2)).mean()


@job
def several_tasks() -> Job:
    model, x, y, v = TwoHeads(), torch.rand(6, 3), torch.arange(6) % 4, torch.rand(6)
    base = lambda out, target: F.cross_entropy(out["logits"], target["y"]) + F.mse_loss(out["value"], target["v"])  # noqa: E731  # as people write
    criterion = ig.InputGradientLoss(base, 0.1 * ig.GradientNorm(power=2, of=ig.heads.Output("value")))
    z = leaf(x)
    out = model(z)
    plain = F.cross_entropy(out["logits"], y) + F.mse_loss(out["value"], v) + 0.1 * grad(out["value"], z).square().sum(1).mean()
    return model, criterion(model, x, {"y": y, "v": v}), plain


@job
def two_batches() -> Job:
    model, x, y, unlabelled = net(3, 1), torch.rand(5, 3), torch.rand(5, 1), torch.rand(9, 3)
    criterion = nn.MSELoss() + 0.1 * ig.GradientNorm(power=2, at=ig.Given(unlabelled))
    z = leaf(unlabelled)
    return model, criterion(model, x, y), F.mse_loss(model(x), y) + 0.1 * grad(model(z), z).square().sum(1).mean()


@job
def weights_per_sample() -> Job:
    model, x, y, w = net(3, 1), torch.rand(5, 3), torch.rand(5, 1), torch.rand(5)
    criterion = ig.OnTarget("y") + 0.1 * ig.GradientNorm().sample_weight("w")
    z = leaf(x)
    return model, criterion(model, x, {"y": y, "w": w}), F.mse_loss(model(x), y) + 0.1 * (w * grad(model(z), z).norm(dim=1)).mean()


@job
def right_reasons_with_masks() -> Job:
    model, x, y, mask = net(4, 3), torch.rand(5, 4), torch.arange(5) % 3, (torch.rand(5, 4) > 0.5).double()
    criterion = ig.OnTarget("y", "cross_entropy") + ig.recipes.right_for_the_right_reasons(10.0, mask="mask")
    z = leaf(x)
    g = grad(model(z).log_softmax(1), z)
    return model, criterion(model, x, {"y": y, "mask": mask}), F.cross_entropy(model(x), y) + 10 * (mask * g).square().sum(1).mean()


@job
def discriminator_of_motion_priors() -> Job:
    model, expert, agent = net(6, 1), torch.rand(8, 6), torch.rand(8, 6)
    base = lambda out, agent: (out - 1).square().mean() + (model(agent) + 1).square().mean()  # noqa: E731  # as people write
    criterion = ig.InputGradientLoss(base, ig.recipes.adversarial_motion_prior(10.0))
    z = leaf(expert)
    plain = (model(z) - 1).square().mean() + (model(agent) + 1).square().mean() + 5 * grad(model(z), z).square().sum(1).mean()
    return model, criterion(model, expert, agent), plain


@job
def accumulation() -> Job:
    model, x, y = net(3, 1), torch.rand(6, 3), torch.rand(6, 1)
    criterion = nn.MSELoss() + 0.1 * ig.GradientNorm(power=2).scheduled(every=2)
    with criterion.one_step():
        loss = sum(criterion(model, *part) / 3 for part in zip(x.split(2), y.split(2), strict=True))
    z = leaf(x)
    return model, loss, F.mse_loss(model(x), y) + 0.2 * grad(model(z), z).square().sum(1).mean()


@pytest.mark.parametrize("name", JOBS)
def test_a_typical_job(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model, loss, plain = JOBS[name]()
        torch.testing.assert_close(loss, plain)
        given: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
        found, wanted = (torch.autograd.grad(value, list(model.parameters()), **given) for value in (loss, plain))
        torch.testing.assert_close(found, wanted)
    finally:
        torch.set_default_dtype(before)


def test_the_closures_of_one_step_of_lbfgs_see_one_loss() -> None:
    torch.manual_seed(0)
    model, x, y = net(3, 1), torch.rand(5, 3), torch.rand(5, 1)
    criterion, seen = nn.MSELoss() + 0.1 * ig.GradientNorm().scheduled(every=2), list[list[bool]]()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        step = criterion.backward(model, x, y)
        seen[-1].append("gradient_norm" in step.parts)
        return step.loss

    for _ in range(4):
        seen.append([])
        optimizer.step(closure)
    assert [set(step) for step in seen] == [{True}, {False}, {True}, {False}]
    assert min(map(len, seen)) > 1
