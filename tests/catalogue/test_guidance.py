"""Explanations by Grad-CAM, and guidance by regions, against their papers and code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.attributions import GradCAM, InputTimesGradient
from inputgrad.attributions.attribute_model import attribute
from inputgrad.recipes import explanations
from inputgrad.terms.guidance import EnergyPointing
from tests import zoo
from tests.catalogue.harness import MODELS, SIZE, Entry, cases, check


def cnn() -> nn.Module:
    """The convolutional layer that is explained is module 2, with a nonlinearity behind it."""
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.LazyLinear(zoo.OUTPUTS))


def made() -> nn.Module:
    model = cnn()
    model(torch.zeros(1, 2, 6, 6))
    return model


def pictures(n: int) -> Tensor:
    return torch.randn(n, 2, 6, 6, dtype=torch.float64)


MODELS.update(cam=(made, pictures))
MASK = (torch.arange(9).reshape(1, 3, 3) % 2).double()
BOX = torch.zeros(1, 6, 6, dtype=torch.float64).index_fill(1, torch.tensor([1, 2, 3]), 1.0)


def labelled(x: Tensor) -> dict[str, Tensor]:
    wanted = MASK.expand(len(x), 1, 3, 3).clone()
    wanted[1, 0, 0] = torch.nan
    return {"label": torch.arange(len(x)) % zoo.OUTPUTS, "mask": MASK.expand(len(x), 1, 3, 3), "wanted": wanted}


def grad_cam(model: Any, x: Tensor, labels: Tensor) -> Tensor:
    """Selvaraju et al. 2017, without the ReLU: Σ_k mean_ij(∂y_c/∂A_kij) A_k."""
    maps = model[:3](x)
    scores = model[3:](maps)[torch.arange(len(x)), labels]
    (g,) = torch.autograd.grad(scores.sum(), maps, create_graph=True)
    return sum(g[:, k].mean((1, 2))[:, None, None] * maps[:, k] for k in range(maps.shape[1]))


def scaled(cam: Tensor) -> Tensor:
    """The typology's code: minus the least, then divided by the largest + 1e-6."""
    rows = [row - row.min() for row in cam]
    return torch.stack([row / (row.max() + 1e-6) for row in rows])


def rrr_grad_cam(model: Any, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return 2.0 * ((MASK * scaled(grad_cam(model, x, y["label"]))) ** 2).sum((1, 2)).mean()


def hint(model: Any, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    gap = scaled(grad_cam(model, x, y["label"])) - y["wanted"][:, 0]
    return (gap.nan_to_num() ** 2).sum((1, 2)).mean()


def ranked(sensitivities: Tensor, importance: Tensor) -> Tensor:
    """Selvaraju et al. 2019, pair by pair, as in the code of Shrestha et al. 2020 but for ties and the division by R."""
    total = sensitivities.new_zeros(())
    for row, wanted in zip(sensitivities, importance, strict=True):
        for i in range(len(row)):
            for j in range(len(row)):
                if wanted[i] > wanted[j] and row[i] < row[j]:
                    total = total + (row[j] - row[i]).abs()
    return total / len(sensitivities)


def importances(x: Tensor) -> dict[str, Tensor]:
    found = torch.arange(x[:, :, 0].numel() if x.dim() > 2 else x.numel()).reshape(len(x), -1) * 5 % 7
    found = found.to(x.dtype)
    found[0, 0] = torch.nan
    return {"label": torch.arange(len(x)) % zoo.OUTPUTS, "importance": found}


def hint_ranking(model: Any, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(true_class(model(x), y).sum(), x, create_graph=True)
    return 0.5 * ranked(g.flatten(2).sum(2) if g.dim() > 2 else g, y["importance"])


def energy(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Rao et al.'s code, sample by sample, of input × gradient with its channels added up."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x)[torch.arange(len(x)), y].sum(), x, create_graph=True)
    positive = (x.detach() * g).sum(1).clamp(min=0)
    return 0.01 * torch.stack([1 - row[BOX[0] == 1].sum() / row.sum() for row in positive]).mean()


def ig_of_the_loss(model: nn.Module, x: Tensor, there: Tensor, y: Tensor, m: int) -> Tensor:
    """Chen et al.'s code: (x′ − x)/m Σ_{k=1}^m ∇ℓ(x + k/m (x′ − x))."""
    total = torch.zeros_like(x)
    for k in range(1, m + 1):
        z = x + k / m * (there - x)
        z = z if z.requires_grad else z.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model(z), y, reduction="sum"), z, create_graph=True)
        total = total + g
    return total * (there - x) / m


def ig_norm(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """IG-NORM: sign ascent on the norm, here by autograd through the whole path, then its mean at the point that was found."""
    there = x + 0.2 * (2 * torch.rand(x.shape, dtype=x.dtype) - 1)
    for _ in range(2):
        there = there.detach().requires_grad_()
        (g,) = torch.autograd.grad(ig_of_the_loss(model, x, there, y, 2).abs().sum(), there)
        there = torch.minimum(torch.maximum(there + 0.1 * g.sign(), x - 0.2), x + 0.2)
    return 0.7 * ig_of_the_loss(model, x, there.detach(), y, 3).abs().flatten(1).sum(1).mean()


ENTRIES = (
    Entry(
        "ig_norm",
        lambda: explanations.ig_norm(0.7, epsilon=0.2, steps=3, attack_steps=2, step_size=0.1, points=2),
        ig_norm,
        base="cross_entropy",
        models=("smooth", "group_norm"),
    ),
    Entry("rrr_grad_cam", lambda: explanations.rrr_grad_cam(2.0, mask="mask", layer="2", of=true_class), rrr_grad_cam, target=labelled, models=("cam",)),
    Entry("hint", lambda: explanations.hint(importance="wanted", layer="2", of=true_class), hint, target=labelled, models=("cam",)),
    Entry(
        "hint_ranking",
        lambda: explanations.hint_ranking(0.5, importance="importance", of=true_class),
        hint_ranking,
        target=importances,
        models=("smooth", "attention"),
    ),
    Entry(
        "model_guidance",
        lambda: explanations.model_guidance(attribution=InputTimesGradient(of="label"), region=BOX),
        energy,
        base="cross_entropy",
        models=("cam",),
    ),
)


def true_class(output: Tensor, target: dict[str, Tensor]) -> Tensor:
    return output.gather(1, target["label"][:, None]).squeeze(1)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def test_grad_cam_of_a_trained_model() -> None:
    torch.manual_seed(0)
    model, x, y = made().double(), pictures(SIZE), torch.arange(SIZE) % 3
    cam = grad_cam(model, x, y)
    torch.testing.assert_close(attribute(GradCAM("2"), model, x, y)[:, 0], cam.relu(), rtol=1e-10, atol=0)
    torch.testing.assert_close(attribute(GradCAM("2", rectify=False, scaled=True), model, x, y)[:, 0], scaled(cam), rtol=1e-10, atol=1e-15)


def test_pointing_is_1_without_the_region_and_0_within_it() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).double(), torch.ones(1, 1, 2, 2, dtype=torch.float64)
    model[1].weight.data = torch.tensor([[1.0, 3.0, -5.0, 0.0]], dtype=torch.float64)
    for region, wanted in (([[1, 1], [0, 0]], 0.0), ([[1, 0], [1, 1]], 0.75), ([[0, 0], [1, 1]], 1.0)):
        term = EnergyPointing(InputTimesGradient(), torch.tensor([region]))
        assert ig.InputGradientLoss(None, term)(model, x).item() == pytest.approx(wanted)
    dead = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).double()
    dead[1].weight.data.zero_()
    loss = ig.InputGradientLoss(None, EnergyPointing(InputTimesGradient(), torch.ones(1, 2, 2)))(dead, x)
    assert loss == 1
    loss.backward()
    assert dead[1].weight.grad.isfinite().all()


def test_a_layer_without_maps_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="the layer '0' must give feature maps"):
        (nn.CrossEntropyLoss() + explanations.rrr_grad_cam(mask=torch.ones(1, 2, 2), layer="0"))(model, torch.rand(4, 3), torch.arange(4) % 2)
