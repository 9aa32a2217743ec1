"""Words for trained models: operators without a graph, attributions of a model, pictures; and errors that show the line to write."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.attributions import IntegratedGradients
from inputgrad.integrations.embeddings import called_embedding


def network(outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def test_operators_under_no_grad_have_no_graph() -> None:
    model, field, x = network(), network(3), torch.randn(5, 3, dtype=torch.float64)
    calls = {
        "gradient": lambda: ig.gradient(model, x),
        "output_and_gradient": lambda: ig.output_and_gradient(model, x),
        "jacobian": lambda: ig.jacobian(model, x),
        "divergence": lambda: ig.divergence(field, x),
        "laplacian": lambda: ig.laplacian(model, x),
        "hessian_vector": lambda: ig.hessian_vector(model, x, torch.ones(3, dtype=torch.float64)),
    }
    for name, call in calls.items():
        with_graph = call()
        for off in (torch.no_grad(), torch.inference_mode()):
            with off:
                without = call()
            for one, other in zip(*[part if isinstance(part, tuple) else (part,) for part in (with_graph, without)], strict=True):
                assert one.requires_grad, name
                assert not other.requires_grad, name
                torch.testing.assert_close(one.detach(), other)


def test_a_term_keeps_its_graph_in_validation() -> None:
    model, x, y = network(), torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)

    @ig.term
    def curved(batch: ig.Batch) -> Tensor:
        return ig.laplacian(batch).square().sum(1)

    criterion = nn.MSELoss() + curved
    with torch.no_grad():
        value = criterion(model, x, y)
    torch.testing.assert_close(value, criterion(model, x, y).detach())


def test_attributions_of_a_trained_model() -> None:
    model, x, y = network(), torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1])
    found = IntegratedGradients(8)(model, x, y, of="label")
    total = torch.zeros_like(x)
    for k in range(1, 9):
        there = (k / 8 * x).requires_grad_()
        total = total + torch.autograd.grad(model(there).gather(1, y[:, None]).sum(), there)[0] / 8
    torch.testing.assert_close(found, x * total)
    assert not found.requires_grad
    torch.testing.assert_close(ig.attributions.InputGradient()(model, x), ig.gradient(model, x).detach())


def test_pictures() -> None:
    pytest.importorskip("matplotlib")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    images, labels = torch.rand(3, 3, 4, 4), torch.tensor([0, 1, 2])
    figure = ig.pictures.saliency(model, images, labels, of="label")
    shown = figure.axes[3].images[0].get_array()
    torch.testing.assert_close(torch.as_tensor(shown.data), model[1].weight[0].view(3, 4, 4).sum(0).detach())
    assert len(ig.pictures.path(ig.follow_gradient(model, images, steps=2, step_size=0.1)).axes) == 9
    flat = nn.Linear(2, 1)
    lines = ig.pictures.path(ig.follow_gradient(flat, torch.rand(3, 2), steps=4, step_size=0.1), names=("a", "b")).axes[0].lines
    assert [len(line.get_xdata()) for line in lines] == [5, 5]
    field = ig.pictures.field(flat, [(0, 1), (0, 2)], "xt", points=5)
    assert (field.axes[0].get_xlabel(), field.axes[0].get_ylabel()) == ("x", "t")
    expected = flat(torch.tensor([[1.0, 0.0]])).item()  # the last column, the first row
    assert float(field.axes[0].images[0].get_array()[0, -1]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="one or two coordinates"):
        ig.pictures.field(flat, [(0, 1)] * 3)
    with pytest.raises(ValueError, match=r"images must be \[N, C, H, W\]"):
        ig.pictures.saliency(flat, torch.rand(3, 2))


def test_names_are_where_they_are_looked_for() -> None:
    assert {"vat", "wgan_gp", "trades"} <= set(dir(ig.recipes))
    assert {"load", "pictures", "recipes", "heads"} <= set(dir(ig))


def test_virtual_adversarial_training_at_other_samples() -> None:
    model, x, y = network(), torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    others = torch.randn(7, 3, dtype=torch.float64)
    here, there = (nn.CrossEntropyLoss() + 2 * ig.recipes.vat(epsilon=0.5, at=at) for at in (None, ig.Given(others)))
    for _ in range(3):
        torch.manual_seed(0)
        expected = ig.InputGradientLoss(None, 2 * ig.recipes.vat(epsilon=0.5))(model, others, None)
        torch.manual_seed(0)
        loss = there(model, x, y)
        wanted = nn.functional.cross_entropy(model(x), y) + expected
        torch.testing.assert_close(loss.detach(), wanted.detach())
        gradients = [torch.autograd.grad(total, list(model.parameters())) for total in (loss, wanted)]
        torch.testing.assert_close(*gradients)
    assert not torch.allclose(here(model, x, y), loss)


class Tied(nn.Module):
    """As Bart: the weight of ``shared`` is the encoder's, and ``shared`` is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.decoder, self.encoder = nn.Embedding(5, 3), nn.Embedding(5, 3), nn.Embedding(5, 3)
        self.encoder.weight = self.decoder.weight = self.shared.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.encoder(input_ids) + self.decoder(input_ids)


def test_the_embedding_that_is_called() -> None:
    model = Tied()
    assert called_embedding(model, model.shared, {"input_ids": torch.tensor([[1, 2]])}) == "encoder"
    single = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    assert called_embedding(single, single[0], None) == "0"
    assert model.training


def line(call: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    return str(raised.value)


def test_errors_show_the_line_to_write() -> None:
    model, x, y = network(), torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    norm = ig.GradientNorm()
    assert "Write criterion(model, x, y), not criterion(model(x), y)" in line(lambda: (nn.MSELoss() + norm)(model(x), y))
    assert "write ig.OnTarget('y', nn.MSELoss()) in place of the base loss" in line(lambda: (nn.MSELoss() + norm)(model, x, {"y": y}))
    for term in (ig.recipes.r1(), 0.1 * norm, norm + norm):
        assert "ig.InputGradientLoss(None, term)" in line(lambda term=term: term(model, x, y))
    assert "terms stand second" in line(lambda: ig.InputGradientLoss(0.1 * norm))
    assert "of=ig.heads.OneOutput(2)" in line(lambda: (nn.MSELoss() + ig.GradientNorm(of=2))(model, x, y))
    assert "NaN for no label" in line(lambda: (nn.MSELoss() + ig.GradientMatch(y[:, :1]))(model, x, y))
    assert "by a batch index" in line(lambda: (nn.CrossEntropyLoss() + norm)(model, x, torch.zeros(9, dtype=torch.long)))
    assert "term.sample_weight('w')" in line(lambda: torch.ones(5) * norm)

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleDict({"word": nn.Embedding(5, 2)})

        def forward(self, tokens: Tensor) -> Tensor:
            return self.embeddings["word"](tokens).sum(1)

    tokens = torch.zeros(4, 3, dtype=torch.long)
    assert "did you mean 'embeddings.word'" in line(lambda: (nn.MSELoss() + ig.GradientNorm(wrt="module:word"))(Words(), tokens, torch.zeros(4, 2)))
    from inputgrad import catalogue

    assert "did you mean 'wgan_gp'" in line(lambda: catalogue.entry("wgan"))


def test_rows_that_belong_to_a_sample_are_told_to_pass_index() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 1)

        def forward(self, x: Tensor, batch: Tensor) -> Tensor:
            return torch.zeros(2, 1).index_add(0, batch, self.net(x).tanh())

    inputs = (torch.randn(6, 3), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert "pass index=" in line(lambda: (nn.MSELoss() + ig.GradientNorm())(Pooled(), inputs, torch.zeros(2, 1)))
