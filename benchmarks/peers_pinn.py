"""Poisson's equation in DeepXDE and PINA: −Δu = source inside, u = 0 on the boundary, on given points and the parameters of a given model."""

import os
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.peers import Way, gradients_of


def deepxde(model: nn.Sequential, inside: Tensor, edge: Tensor | None = None, source: float = 0.0) -> Way:
    """One call of DeepXDE's ``train_step``: outputs, losses, ``backward`` and its optimiser, here gradient descent with the rate 0."""
    os.environ["DDE_BACKEND"] = "pytorch"
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        import deepxde as dde

    size, linears = inside.shape[1], [layer for layer in model if isinstance(layer, nn.Linear)]

    def equation(x: Tensor, u: Tensor) -> Tensor:
        return -sum(dde.grad.hessian(u, x, i=i, j=i) for i in range(size)) - source

    geometry = dde.geometry.Hypercube([0.0] * size, [1.0] * size)
    conditions = [] if edge is None else [dde.icbc.PointSetBC(edge.numpy(), torch.zeros(len(edge), 1).numpy())]
    data = dde.data.PDE(geometry, equation, conditions, anchors=inside.numpy())
    network = dde.nn.FNN([size, *(layer.out_features for layer in linears)], "tanh", "Glorot normal")
    for own, layer in zip(network.linears, linears, strict=True):
        own.load_state_dict(layer.state_dict())
    trained = dde.Model(data, network)
    with redirect_stdout(StringIO()):
        trained.compile("sgd", lr=0.0)
    batch = data.train_x, data.train_y, data.train_aux_vars

    def step() -> list[Tensor]:
        trained.train_step(*batch)
        return gradients_of(network)

    return Way(step, lambda: trained.outputs_losses_train(*batch)[1].sum().item())


def pina(model: nn.Sequential, inside: Tensor, edge: Tensor | None = None, source: float = 0.0) -> Way:
    """The loss of PINA's ``PINN`` solver (``batch_evaluation_step``) and ``backward``, without the loop of Lightning around it and without what it logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pina import Condition, LabelTensor
        from pina.domain import CartesianDomain
        from pina.equation import Equation
        from pina.operator import laplacian
        from pina.problem import SpatialProblem
        from pina.solver import PINN

    names = [f"x{number:03d}" for number in range(inside.shape[1])]  # PINA puts the coordinates in the order of their names

    def equation(x: Any, u: Any) -> Any:
        return -laplacian(u, x, components=["u"], d=names) - source

    points = {"inside": (inside, equation)} | ({} if edge is None else {"edge": (edge, lambda x, u: u)})
    given = {name: LabelTensor(tensor, names) for name, (tensor, _) in points.items()}

    class Poisson(SpatialProblem):
        output_variables: ClassVar = ["u"]
        spatial_domain = CartesianDomain({name: [0, 1] for name in names})
        domains: ClassVar = {}
        conditions: ClassVar = {name: Condition(input=given[name], equation=Equation(formula)) for name, (_, formula) in points.items()}

    class Unlogged(PINN):
        """Without a trainer there is nothing to log to."""

        def log(self, *_: Any, **__: Any) -> None: ...

        trainer = type("NoTrainer", (), {"logging_kwargs": {}, "current_epoch": 0})()

    solver = Unlogged(Poisson(), model)
    batch = [(name, {"input": tensor}) for name, tensor in given.items()]

    def loss() -> Tensor:
        return solver.batch_evaluation_step(batch, 0)

    def step() -> list[Tensor]:
        model.zero_grad()
        loss().backward()
        return gradients_of(model)

    return Way(step, lambda: loss().item())
