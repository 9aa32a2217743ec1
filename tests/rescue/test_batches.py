"""Batches and models at the edge: no path from input to output in this batch, embeddings that renormalise in place, time before samples."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue.served import TOLERANCE, distance


@ig.term(per="batch")
def squared_forces(batch: ig.Batch) -> Tensor:
    return batch.gradient().square().sum()


class Structure(nn.Module):
    """Energies of structures from pairs of near atoms; without one there is nothing to compute from the positions."""

    def __init__(self, *, offset: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 8), nn.Linear(8, 1)
        self.offset = nn.Parameter(torch.zeros(1)) if offset else None

    def forward(self, positions: Tensor, structure: Tensor) -> Tensor:
        squares = (positions[:, None] - positions[None]).square().sum(-1).detach()
        i, j = torch.nonzero((squares < 2) & (squares > 0) & (structure[:, None] == structure[None]), as_tuple=True)
        energies = torch.zeros(int(structure.max()) + 1, dtype=positions.dtype)
        if len(i):
            pairs = self.last(torch.tanh(self.first((positions[i] - positions[j]).square().sum(1, keepdim=True))))
            energies = energies.index_add(0, structure[i], pairs[:, 0])
        return energies if self.offset is None else energies + self.offset


ATOMS = torch.tensor([0, 0, 0, 1, 1, 1])
NEAR = torch.linspace(0, 1, 18, dtype=torch.float64).sin().view(6, 3)
ISOLATED = 10 * torch.arange(6, dtype=torch.float64)[:, None] * torch.ones(3, dtype=torch.float64)
ENGINES = ["auto", "double_backward", "reverse_over_forward", "finite_difference"]


@pytest.mark.parametrize("by_call", [True, False])
@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_isolated_atoms_have_zero_forces_once_the_model_is_known(engine: str, offset: bool, by_call: bool) -> None:
    model = Structure(offset=offset).double()
    criterion = ig.InputGradientLoss(None, [squared_forces], engine=engine)

    def step(positions: Tensor) -> float:
        model.zero_grad()
        if not by_call:
            return float(criterion.backward(model, (positions, ATOMS)).loss)
        loss = criterion(model, (positions, ATOMS))
        loss.backward()
        return float(loss.detach())

    with pytest.raises(ValueError, match=r"no path leads from it|carries no graph to the input"):
        step(ISOLATED)
    known = step(NEAR)
    expected = [p.grad for p in model.parameters()]
    assert known > 0
    assert step(ISOLATED) == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    assert step(NEAR) == known
    assert distance([p.grad for p in model.parameters()], expected) < 1e-12


class Tied(nn.Module):
    """The embedding brings the rows that it looks up to norm 1, in place; the last layer uses the same weight."""

    def __init__(self, max_norm: float | None) -> None:
        super().__init__()
        self.embedding, self.middle = nn.Embedding(20, 8, max_norm=max_norm), nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.middle(self.embedding(tokens)).tanh().mean(1), self.embedding.weight)


@pytest.mark.parametrize("by_call", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_embedding_that_renormalises_does_so_once_a_step(engine: str, by_call: bool) -> None:
    torch.manual_seed(0)
    model, tokens, labels = Tied(1.0).double(), torch.randint(20, (5, 4)), torch.randint(20, (5,))
    plain = Tied(None).double()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        rows = tokens.unique()
        plain.embedding.weight[rows] = plain.embedding.weight[rows].renorm(2, 0, 1.0)
    found = []
    for trained, chosen in ((model, engine), (plain, "double_backward")):
        criterion = ig.InputGradientLoss("cross_entropy", [ig.GradientNorm(wrt="module:embedding", power=2)], engine=chosen)
        if by_call:
            criterion(trained, tokens, labels).backward()
        else:
            criterion.backward(trained, tokens, labels)
        found.append([parameter.grad for parameter in trained.parameters()])
    assert distance(*found) < 10 * TOLERANCE.get(engine, 1e-10)
    assert model.embedding.max_norm == 1.0


class Overwriting(nn.Module):
    """Spoils what its own derivative needs: plain torch cannot train it either."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x).sigmoid()
        z.mul_(2)
        return z


@pytest.mark.parametrize("engine", ["auto", "reverse_over_forward", "finite_difference"])
def test_a_model_that_overwrites_what_it_needs_is_told_so(engine: str) -> None:
    with pytest.raises(ValueError, match="Overwriting writes in place on a tensor that its own derivative needs"):
        ig.InputGradientLoss(None, [ig.GradientNorm()], engine=engine)(Overwriting(), torch.randn(4, 3))


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRU(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(x)[0][-1])


@pytest.mark.parametrize(
    "term", [ig.GradientNorm(), ig.GradientNorm(of="loss"), ig.SpectralNorm(of=lambda output, _: output), ig.GradientMatch("slope")], ids=lambda t: t.name
)
def test_time_before_samples_is_told(term: ig.Term) -> None:
    target = {"value": torch.randn(4, 2), "slope": torch.randn(7, 4, 3)}
    with pytest.raises(ValueError, match=r"wrt=0 has the shape \[7, 4, 3\], and the output has 4 samples.*batch_first=True"):
        ig.InputGradientLoss(ig.OnTarget("value"), [term])(Sequence(), torch.randn(7, 4, 3), copy.copy(target))
