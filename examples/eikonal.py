"""A signed-distance network of a real mesh (Gropp et al. 2020): what the eikonal term adds to points and normals.

The mesh is pyvista's nut, watertight and in one piece. The network sees 20,000 points on it with their normals, never a distance; the distances that
it gives are then compared with the true ones, which pyvista computes.

Run: python examples/eikonal.py [--picture PICTURE]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import inputgrad as ig


def nut() -> Any:
    """The mesh, centred and scaled into [−0.8, 0.8]³, its normals outwards."""
    try:
        import pyvista
        from pyvista import examples
    except ImportError as error:
        raise SystemExit("examples/eikonal.py reads a mesh that comes with pyvista: pip install pyvista") from error
    mesh = pyvista.read(examples.nutfile)
    low, high = mesh.points.min(0), mesh.points.max(0)
    mesh.points = (mesh.points - (low + high) / 2) * (1.6 / (high - low).max())
    return mesh.compute_normals(point_normals=False, auto_orient_normals=True, consistent_normals=True)


def on_surface(mesh: Any, count: int) -> tuple[Tensor, Tensor]:
    """Points uniform on the surface, with the normals of their triangles."""
    draws = np.random.default_rng(0)
    corners = mesh.points[mesh.regular_faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(first, second), axis=1)
    triangle = draws.choice(len(area), count, p=area / area.sum())
    weights = draws.random((count, 2))
    weights = np.where(weights.sum(1, keepdims=True) > 1, 1 - weights, weights)
    points = corners[triangle, 0] + weights[:, :1] * first[triangle] + weights[:, 1:] * second[triangle]
    return torch.tensor(points).float(), torch.tensor(np.asarray(mesh.cell_normals)[triangle]).float()


def true_distance(mesh: Any, points: Tensor) -> Tensor:
    """Of each point to the mesh, negative inside."""
    import pyvista

    found = pyvista.PolyData(points.numpy()).compute_implicit_distance(mesh)
    return torch.tensor(np.asarray(found["implicit_distance"])).float()


class DistanceNetwork(nn.Module):
    """Softplus layers that begin as the distance to a ball (geometric initialisation, Atzmon & Lipman 2020)."""

    def __init__(self, width: int = 96, depth: int = 4, radius: float = 0.6) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3 if layer == 0 else width, width) for layer in range(depth)])
        self.last = nn.Linear(width, 1)
        self.activation = nn.Softplus(beta=100)
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0, (2 / width) ** 0.5)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.last.weight, (torch.pi / width) ** 0.5, 1e-5)
        nn.init.constant_(self.last.bias, -radius)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.last(x)


def trained(criterion: ig.InputGradientLoss, points: Tensor, normals: Tensor, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = DistanceNetwork()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(steps):
        rows = torch.randint(len(points), (512,))
        optimizer.zero_grad()
        criterion.backward(model, points[rows], {"normals": normals[rows]})
        optimizer.step()
        schedule.step()
    return model


def zero_surface(model: nn.Module, resolution: int = 64) -> Any:
    """The surface f = 0 as a mesh, by contouring f on a grid."""
    import pyvista

    grid = pyvista.ImageData(dimensions=(resolution,) * 3, spacing=(2 / (resolution - 1),) * 3, origin=(-1, -1, -1))
    with torch.no_grad():
        grid["f"] = model(torch.tensor(np.asarray(grid.points)).float())[:, 0].numpy()
    return grid.contour([0.0], scalars="f").triangulate()


def measured(model: nn.Module, mesh: Any) -> dict[str, float]:
    points = 2 * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1)) - 1
    output, gradient = ig.output_and_gradient(model, points)
    distance, true = output.detach()[:, 0], true_distance(mesh, points)
    found = torch.tensor(np.asarray(zero_surface(model).points)).float()
    return {
        "error": float((distance - true).abs().mean()),
        "norm": float((gradient.detach().norm(dim=1) - 1).abs().mean()),
        "side": float(((distance < 0) == (true < 0)).float().mean()),
        "surface": float(true_distance(mesh, found).abs().mean()),
    }


def drawn(axes: Any, mesh: Any, title: str) -> None:
    corners = mesh.points[mesh.regular_faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = np.abs(normals @ np.array([0.3, -0.5, 0.8])) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    shades = 0.25 + 0.7 * light[:, None] * np.array([[0.75, 0.85, 1.0]])
    axes.add_collection3d(Poly3DCollection(corners, facecolors=shades.clip(0, 1), edgecolors="none", antialiaseds=False))
    axes.set(xlim=(-0.6, 0.6), ylim=(-0.6, 0.6), zlim=(-0.6, 0.6), title=title)
    axes.set_box_aspect((1, 1, 1))
    axes.set_axis_off()
    axes.view_init(elev=25, azim=-70)


def draw(path: Path, mesh: Any, models: dict[str, nn.Module]) -> None:
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1)
    for column, (name, shown) in enumerate({"the mesh": mesh, **{name: zero_surface(model) for name, model in models.items()}}.items()):
        drawn(above.add_subplot(1, 3, column + 1, projection="3d"), shown, name if shown is mesh else f"f = 0, {name}")
    side = torch.linspace(-1, 1, 120)
    plane = torch.stack((*torch.meshgrid(side, side, indexing="xy"), torch.zeros(120, 120)), -1).reshape(-1, 3)[:, [0, 2, 1]]
    fields = {"true distance": true_distance(mesh, plane)}
    with torch.no_grad():
        fields |= {name: model(plane)[:, 0] for name, model in models.items()}
    for axes, (name, field) in zip(below.subplots(1, 3), fields.items(), strict=True):
        filled = axes.contourf(side, side, field.reshape(120, 120), levels=np.arange(-0.4, 1.01, 0.1), cmap="RdBu", vmin=-0.7, vmax=0.7, extend="both")
        axes.contour(side, side, field.reshape(120, 120), levels=[0.0], colors="black", linewidths=1.2)
        axes.set(title=name, aspect="equal", xticks=[], yticks=[])
    below.colorbar(filled, ax=below.axes, shrink=0.9)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main(picture: Path | None = None, steps: int = 600) -> dict[str, dict[str, float]]:
    mesh = nut()
    points, normals = on_surface(mesh, 20_000)
    around = ig.Near(0.1, -1.0, 1.0, share=0.5)  # the paper's points, in the box of this mesh
    criteria = {"points and normals": ig.recipes.igr(weight=0.0, at=around), "with the eikonal term": ig.recipes.igr(weight=1.0, at=around)}
    models = {name: trained(criterion, points, normals, steps) for name, criterion in criteria.items()}
    figures = {name: measured(model, mesh) for name, model in models.items()}
    print("in a cube of side 2         error of the distance   | ‖∇f‖ − 1 |   right side   surface to mesh")
    for name, row in figures.items():
        print(f"{name:27} {row['error']:20.4f}   {row['norm']:11.3f}   {row['side']:10.4f}   {row['surface']:15.4f}")
    if picture:
        draw(picture, mesh, models)
    without, with_term = figures["points and normals"], figures["with the eikonal term"]
    assert with_term["error"] < 0.5 * without["error"]
    assert with_term["error"] < 0.02  # a hundredth of the cube's side
    assert with_term["norm"] < 0.5 * without["norm"]
    assert with_term["side"] > 0.99
    assert with_term["surface"] < 0.006
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path)
    main(parser.parse_args().picture)
