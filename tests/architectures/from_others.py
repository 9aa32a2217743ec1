"""torch_geometric, e3nn, MACE and torchdiffeq: graphs, equivariant networks, force fields and neural differential equations."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
import torch_geometric.nn as graph
import torchdiffeq
from e3nn import nn as e3nn_nn
from e3nn import o3
from mace import modules as mace
from torch import Tensor, nn

from tests.architectures.base import Architecture, Made

DTYPE = torch.float64
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0, 2], [1, 0, 2, 1, 3, 2, 4, 3, 0, 4, 2, 0]])


class OnGraph(nn.Module):
    """A layer of a graph network between two linear ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(3, 4), layer, nn.Linear(4, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        output = self.layer(self.first(x).tanh(), edge_index)
        return self.last(output)


GRAPH_LAYERS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda chosen=name: getattr(graph, chosen)(4, 4) for name in ("GCNConv", "SAGEConv", "GATConv", "GATv2Conv", "TransformerConv", "GraphConv")},
    **{name: lambda chosen=name: getattr(graph, chosen)(4, 4) for name in ("LEConv", "ClusterGCNConv", "FeaStConv", "MFConv", "SuperGATConv", "GeneralConv")},
    **{name: lambda chosen=name: getattr(graph, chosen)(4, 4, 2) for name in ("TAGConv", "SGConv", "ChebConv")},
    "LGConv": graph.LGConv,
    "ResGatedGraphConv": lambda: graph.ResGatedGraphConv(4, 4),
    "GENConv": lambda: graph.GENConv(4, 4),
    "ARMAConv": lambda: graph.ARMAConv(4, 4),
    "GINConv": lambda: graph.GINConv(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))),
    "EdgeConv": lambda: graph.EdgeConv(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))),
    "GatedGraphConv": lambda: graph.GatedGraphConv(4, 2),
    "PNAConv": lambda: graph.PNAConv(4, 4, ["mean", "max", "std"], ["identity", "amplification"], torch.tensor([0, 1, 3, 1])),
    "GCN": lambda: graph.GCN(4, 8, 2, 4, dropout=0.2, norm="batch_norm"),
    "GraphSAGE": lambda: graph.GraphSAGE(4, 8, 2, 4, norm="layer_norm"),
    "GAT": lambda: graph.GAT(4, 8, 2, 4, dropout=0.2),
    "GIN": lambda: graph.GIN(4, 8, 2, 4, norm="graph_norm"),
    "EdgeCNN": lambda: graph.EdgeCNN(4, 8, 2, 4),
}


class Tensors(nn.Module):
    """An equivariant network of e3nn on vectors: spherical harmonics, a tensor product, a gate or a normalisation."""

    def __init__(self, last: str) -> None:
        super().__init__()
        hidden = o3.Irreps("4x0e + 2x1o")
        gate = e3nn_nn.Gate("4x0e", [torch.tanh], "2x0e", [torch.sigmoid], "2x1o")
        self.product = o3.FullyConnectedTensorProduct("1x0e + 1x1o", "1x0e + 1x1o + 1x2e", gate.irreps_in)
        self.last = {"gate": gate, "norm": e3nn_nn.NormActivation(gate.irreps_in, torch.sigmoid), "batch": e3nn_nn.BatchNorm(gate.irreps_in)}[last]
        self.out = o3.Linear(hidden if last == "gate" else gate.irreps_in, "2x0e")

    def forward(self, x: Tensor) -> Tensor:
        features = torch.cat([x.square().sum(1, keepdim=True), x], 1)
        return self.out(self.last(self.product(features, o3.spherical_harmonics([0, 1, 2], x, normalize=True))))


class Flow(nn.Module):
    """A neural differential equation."""

    def __init__(self, solve: Callable[..., Any], method: str) -> None:
        super().__init__()
        self.field = Field()
        self.solve, self.method = solve, method

    def forward(self, x: Tensor) -> Tensor:
        times = torch.tensor([0.0, 1.0], dtype=x.dtype)
        options = {"options": {"step_size": 0.25}} if self.method in ("euler", "midpoint", "rk4") else {"rtol": 1e-9, "atol": 1e-9}
        return self.solve(self.field, x, times, method=self.method, **options)[-1]


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.layers(x) * (1 + t)


class Energies(nn.Module):
    """A MACE whose input is the positions, and whose output is each atom's energy."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"atomic_inter_scale": 1.0, "atomic_inter_shift": 0.0} if kind == "ScaleShiftMACE" else {}
        block = mace.interaction_classes["RealAgnosticResidualInteractionBlock"]
        self.model = getattr(mace, kind)(
            r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block, interaction_cls_first=block, num_interactions=2,
            num_elements=2, hidden_irreps=o3.Irreps("4x0e + 4x1o"), MLP_irreps=o3.Irreps("4x0e"), atomic_energies=numpy.array([-1.0, -2.0]),
            avg_num_neighbors=3.0, atomic_numbers=[1, 8], correlation=2, gate=nn.functional.silu, **options,
        )  # fmt: skip

    def forward(self, positions: Tensor) -> Tensor:
        atoms = len(positions)
        senders, receivers = (~torch.eye(atoms, dtype=torch.bool)).nonzero().T
        zeros = positions.new_zeros(len(senders), 3)
        data = {
            "positions": positions, "edge_index": torch.stack([senders, receivers]), "shifts": zeros, "unit_shifts": zeros,
            "node_attrs": nn.functional.one_hot(torch.arange(atoms) % 2, 2).to(positions), "batch": torch.zeros(atoms, dtype=torch.long),
            "ptr": torch.tensor([0, atoms]), "cell": torch.zeros(3, 3).to(positions), "head": torch.zeros(1, dtype=torch.long),
        }  # fmt: skip
        returned: Tensor = self.model(data, compute_force=False)["node_energy"]
        return returned


def with_input(module: nn.Module, name: str, *shape: int, **others: Any) -> Made:
    return module.double(), {name: torch.randn(*shape, dtype=DTYPE), **others}


def architectures() -> Iterator[Architecture]:
    for name, layer in GRAPH_LAYERS.items():
        yield Architecture("torch_geometric", name, lambda made=layer: with_input(OnGraph(made()), "x", 5, 3, edge_index=EDGES), "x")
    for last in ("gate", "norm", "batch"):
        yield Architecture("e3nn", f"tensor product, {last}", lambda chosen=last: with_input(Tensors(chosen), "x", 5, 3), "x")
    for kind in ("MACE", "ScaleShiftMACE"):
        yield Architecture("mace-torch", kind, lambda chosen=kind: with_input(Energies(chosen), "positions", 4, 3), "positions")
    for solver in (torchdiffeq.odeint, torchdiffeq.odeint_adjoint):
        for method in ("euler", "rk4", "dopri5"):
            name = f"{solver.__name__}, {method}"
            yield Architecture("torchdiffeq", name, lambda chosen=solver, by=method: with_input(Flow(chosen, by), "x", 4, 3), "x")
