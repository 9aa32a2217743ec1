"""Gradient-step denoisers, orthogonal Jacobians, and the smaller recipes of other families, against their papers and code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes import adversarial, critics, denoising, generators, norms, smoothness
from inputgrad.terms.gradient_step import GradientStepDenoising
from inputgrad.terms.hessian_penalty import OrthogonalJacobian
from inputgrad.terms.random_triple import BetweenTwoPoints
from tests import zoo
from tests.catalogue.harness import MODELS, SCALARS, SIZE, Entry, cases, check
from tests.catalogue.test_norms import jacobians


class Network(nn.Module):
    """N of `Potential`: a smooth network from a sample to one of its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(zoo.FEATURES, 7), nn.SiLU(), nn.Linear(7, zoo.FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


MODELS.update(potential=(lambda: denoising.Potential(Network()), zoo.features))


def denoised(model: Any, x: Tensor, sigma: Any) -> Tensor:
    """Hurault et al.: D(x̃) = x̃ − ∇g(x̃) with g = ½ ‖x̃ − N(x̃)‖², by the chain rule: ∇g = (1 − Jᵀ)(x̃ − N(x̃)); minus the clean sample."""
    noisy = x + sigma * torch.randn(x.shape, dtype=x.dtype)
    gap = noisy - model.network(noisy)
    gradient = gap - (gap[:, None] @ jacobians(model.network, noisy))[:, 0]
    return noisy - gradient - x


def orojar(model: nn.Module, z: Tensor, k: int, epsilon: float) -> Tensor:
    """Wei et al.'s code: the unbiased variance over k draws of ‖(G(z + εv) − G(z))/ε‖², ``[N]``."""
    v = torch.randint(0, 2, (k, *z.shape), dtype=z.dtype) * 2 - 1
    lengths = torch.stack([((model(z + epsilon * v[i]) - model(z)) / epsilon).flatten(1).square().sum(1) for i in range(k)])
    return ((lengths - lengths.mean(0)) ** 2).sum(0) / (k - 1)


def duq(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """van Amersfoort et al.'s code: the two-sided penalty on the gradient of the sum of outputs."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return 0.5 * ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def amp(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Peng et al. 2021: w/2 · E ‖∇D‖² at the demonstrations, w = 10."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return 10 / 2 * g.square().sum(-1).mean()


def n_fgsm(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """de Jorge et al.'s training step: η ~ U(−2ε, 2ε), δ = η + ε sign ∇ℓ(x + η), not clipped; in place of the loss at x."""
    eta = 2 * 0.1 * (2 * torch.rand(x.shape, dtype=x.dtype) - 1)
    start = (x + eta).requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(model(start), y), start)
    return F.cross_entropy(model(x + eta + 0.1 * g.sign()), y) - F.cross_entropy(model(x), y)


def elle(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Abad Rocamora et al.'s code."""
    a, b = (x + 0.1 * (2 * torch.rand(x.shape, dtype=x.dtype) - 1) for _ in range(2))
    alpha = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype)
    at = [F.cross_entropy(model(point), y, reduction="none") for point in (a, b, (1 - alpha) * a + alpha * b)]
    alpha = alpha.flatten()
    return 5000 * F.mse_loss(at[2], (1 - alpha) * at[0] + alpha * at[1])


LABELLED: dict[str, Any] = {"base": "cross_entropy"}
SMOOTH = ("smooth", "relu", "group_norm")
ENTRIES = (
    Entry(
        "gradient_step_denoiser",
        lambda: denoising.gradient_step_denoiser(sigma=0.3),
        lambda m, x, y: denoised(m, x, 0.3).square().mean(),
        models=("potential",),
    ),
    Entry(
        "GradientStepDenoising",
        lambda: GradientStepDenoising("sigma", "sum"),
        lambda m, x, y: denoised(m, x, y["sigma"][:, None]).square().sum(1).mean(),
        target=lambda x: {"sigma": torch.linspace(0.1, 0.5, len(x), dtype=torch.float64)},
        models=("potential",),
    ),
    Entry("orthogonal_jacobian", lambda: generators.orthogonal_jacobian(), lambda m, z, y: 0.1 * orojar(m, z, 2, 0.1).mean(), models=("generator", "smooth")),
    Entry("OrthogonalJacobian", lambda: OrthogonalJacobian(3, 0.3, "max"), lambda m, z, y: orojar(m, z, 3, 0.3).max(), models=("generator",)),
    Entry("duq", lambda: norms.duq(), duq, models=("smooth", "relu", "max_pool"), **LABELLED),
    Entry("adversarial_motion_prior", lambda: critics.adversarial_motion_prior(), amp, models=SCALARS),
    Entry("n_fgsm", lambda: adversarial.n_fgsm(epsilon=0.1), n_fgsm, models=SMOOTH, **LABELLED),
    Entry("elle", lambda: smoothness.elle(epsilon=0.1), elle, models=SMOOTH, **LABELLED),
    Entry("BetweenTwoPoints", lambda: 5000.0 * BetweenTwoPoints(0.1), elle, models=("smooth",), **LABELLED),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def test_the_orthogonal_jacobian_is_twice_the_squared_products_of_its_columns() -> None:
    """A linear map with columns a, b, c: 2 · 2 · ((a·b)² + (a·c)² + (b·c)²); with perpendicular columns 0."""
    torch.manual_seed(0)
    z = torch.randn(4000, 3, dtype=torch.float64)
    model = nn.Linear(3, 4, bias=False).double()
    gram = model.weight.T @ model.weight
    wanted = 2 * (gram.square().sum() - gram.diagonal().square().sum())
    assert ig.InputGradientLoss(None, OrthogonalJacobian())(model, z).item() == pytest.approx(wanted.item(), rel=0.1)
    model.weight.data = torch.eye(4, 3, dtype=torch.float64)
    assert ig.InputGradientLoss(None, OrthogonalJacobian())(model, z) < 1e-20


def test_micro_batches_of_the_mean() -> None:
    assert OrthogonalJacobian().per == "sample"
    assert OrthogonalJacobian(reduction="max").per == "batch"


def test_the_penalty_of_a_motion_prior_with_respect_to_normalised_features() -> None:
    """By the module that normalises them: the gradient is that of the rest of the discriminator."""
    torch.manual_seed(0)
    normalizer = nn.BatchNorm1d(5, affine=False).double().eval()
    normalizer.running_var.fill_(4.0)
    normalizer.running_mean.fill_(1.0)
    rest = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    model = nn.Sequential(normalizer, rest)
    x = zoo.features(SIZE)
    found = ig.InputGradientLoss(None, critics.adversarial_motion_prior(wrt="module:0"))(model, x)
    torch.testing.assert_close(found, amp(rest, normalizer(x), None), rtol=1e-12, atol=0)
    assert abs(found.item() - amp(model, x, None).item()) > 1e-3


def test_n_fgsm_stays_in_the_bounds_and_leaves_the_ball() -> None:
    seen: list[Tensor] = []

    @ig.term
    def look(batch: ig.Batch) -> Tensor:
        seen.append(adversarial.n_fgsm(epsilon=0.1, bounds=(0, 1)).term.perturbation(batch) - batch.inputs)
        return batch.gradient().flatten(1).square().sum(1)

    x = torch.rand(200, 5)
    torch.manual_seed(0)
    (nn.CrossEntropyLoss() + look)(nn.Linear(5, 3), x, torch.arange(200) % 3)
    assert seen[0].abs().max() > 0.1
    assert seen[0].abs().max() <= 0.3 + 1e-6
    assert ((x + seen[0] >= 0) & (x + seen[0] <= 1)).all()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: OrthogonalJacobian(1), ValueError, "OrthogonalJacobian: directions must be a whole number"),
        (lambda: OrthogonalJacobian(reduction="max_of_outputs"), ValueError, "OrthogonalJacobian: reduction='max_of_outputs'"),
        (lambda: BetweenTwoPoints(-1), ValueError, "epsilon must be at least 0"),
        (lambda: GradientStepDenoising(-0.1), ValueError, "sigma must be the noise's standard deviation"),
        (lambda: GradientStepDenoising(0.1, "max"), ValueError, 'reduction must be "sum" or "mean"'),
    ],
)
def test_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
