"""What the entries say of the authors' own code, where it departs from the paper: transcribed, and held against the entry with the settings that it names."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import recipes
from tests import zoo
from tests.catalogue.harness import scalar

SIZE = 6


def value(term: object, model: nn.Module, x: Tensor, y: object = None, base: object = None) -> float:
    return ig.InputGradientLoss(base, term)(model, x, y).item()


def close(found: float, wanted: Tensor) -> None:
    assert found == pytest.approx(wanted.item(), rel=1e-10)


def test_certified_monotone_of_the_script_for_mnist_is_the_sum_over_the_number_of_features() -> None:
    """relu(−sign · ∂f/∂x + 0.1)², its mean over points and features."""
    torch.manual_seed(0)
    model, x = scalar().double(), zoo.features(SIZE)
    features = {0: 1, 1: -1, 2: 1}
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z)
    wrong = -g[:, :3] * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64) + 0.1
    close(value(ig.Monotone(features, margin=0.1, power=2), model, x), 3 * (wrong.clamp(min=0) ** 2).mean())
    assert recipes.certified_monotone(features=features, margin=0.1).term.margin == 0.1


def test_perceptually_aligned_of_the_authors_code_has_ten_times_its_coefficient() -> None:
    """10 · (1 − the mean cosine over all samples and ten classes), times 1.5: the weight 15 here. On the logits, as in the paper."""
    torch.manual_seed(0)
    model, x, directions = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 10)).double(), zoo.features(SIZE)[:, :5], torch.randn(10, 5).double()
    z = x.repeat_interleave(10, 0).requires_grad_()
    classes = torch.arange(10).repeat(SIZE)
    (g,) = torch.autograd.grad(model(z).gather(1, classes[:, None]).sum(), z)
    theirs = 1.5 * 10 * (1 - F.cosine_similarity(g, directions[classes] - z, dim=1).mean())
    close(value(recipes.perceptually_aligned(15.0, representatives=directions), model, x), theirs)


@pytest.mark.parametrize("step", [1e-5, 1e-3])
def test_the_code_of_smart_moves_each_token_by_one(step: float) -> None:
    """MT-DNN and smart-pytorch: (noise + η g) over its largest entry by token; the paper's step stays within ε."""
    torch.manual_seed(0)
    embedding, head = torch.randn(4, 3, 6), nn.Sequential(nn.Flatten(), nn.Linear(18, 3))
    noise = (1e-5 * torch.randn_like(embedding)).requires_grad_()
    divergence = F.kl_div(head(embedding + noise).log_softmax(1), head(embedding).softmax(1).detach(), reduction="sum")
    (g,) = torch.autograd.grad(divergence, noise)
    moved = noise + step * g
    moved = moved / (moved.abs().amax(-1, keepdim=True) + 1e-6)
    assert moved.abs().amax(-1).min() > 0.7
    ours = recipes.smart(wrt=0, epsilon=1e-5, step_size=step).term.perturbation
    seen = []

    @ig.term
    def look(batch: ig.Batch) -> Tensor:
        seen.append((ours(batch) - batch.inputs).abs().max())
        return batch.gradient().flatten(1).square().sum(1)

    value(look, head, embedding)
    assert 0 < seen[0] <= 1e-5 * (1 + 0.1)  # the rounding of embeddings of size 1


def test_right_for_the_right_reasons_in_tensorflow_takes_half_of_the_squares() -> None:
    """l2_loss(A · ∂ Σ log p / ∂x) is a half of the sum; the loss is a sum over the batch."""
    torch.manual_seed(0)
    model, x = zoo.mlp().double(), zoo.features(SIZE)
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]).double()
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).log_softmax(1).sum(), z)
    theirs = 1000 * 0.5 * (mask * g).square().sum()
    close(SIZE * value(recipes.right_for_the_right_reasons(500.0, mask=mask), model, x, torch.arange(SIZE) % 3), theirs)


def test_the_generator_of_r3gan_exchanges_real_and_fake() -> None:
    torch.manual_seed(0)
    critic, real, fake = scalar().double(), zoo.features(SIZE), zoo.features(SIZE)
    theirs = F.softplus(critic(real) - critic(fake)).mean()
    close(recipes.relativistic_pairing(critic(torch.cat([fake, real]))).mean().item(), theirs)


def test_torchgan_takes_one_norm_over_the_batch() -> None:
    """(‖(g_1 … g_N)‖₂ − 1)², where the paper has the mean of (‖g_n‖₂ − 1)²."""
    torch.manual_seed(0)
    critic, x = scalar().double(), zoo.features(5)
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(critic(z).sum(), z)
    theirs, ours = (g.norm(2) - 1) ** 2, value(recipes.wgan_gp(1.0), critic, x, x)
    close(ours, ((g.flatten(1).norm(dim=1) - 1) ** 2).mean())
    assert abs(theirs.item() - ours) > 0.1
