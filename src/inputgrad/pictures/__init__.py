"""Pictures of a trained model: its input gradient, a path along it, a field. Needs matplotlib, which is imported when a picture is made.

Every function returns a ``matplotlib.figure.Figure``: ``figure.savefig("saliency.png")``, or show it in a notebook.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.attributions.attribute_model import attribute
from inputgrad.attributions.methods import Attribution, InputGradient
from inputgrad.errors import suggesting
from inputgrad.heads import Of
from inputgrad.passes.outputs import default_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["field", "path", "saliency"]


@suggesting
def saliency(model: nn.Module, images: Tensor, target: Any = None, *, of: Of = "output", method: Attribution | None = None, base: Any = None) -> "Figure":
    """The images, and below each its input gradient: blue below 0, red above, on one scale for all.

    model: the module. of: the score that is differentiated, a head.
    images: ``[N, C, H, W]`` or ``[N, H, W]``; the gradient is added up over the channels. target: what the head needs, such as labels for ``of="label"``.
    method: an attribution of `inputgrad.attributions` in place of the input gradient. base: the base loss, for ``of="loss"`` only.
    """
    if images.dim() not in (3, 4):
        raise ValueError(f"images must be [N, C, H, W] or [N, H, W], got a tensor of shape {list(images.shape)}")
    found = attribute(method or InputGradient(of=of), model, images, target, base=base)
    maps = (found.sum(1) if found.dim() == 4 else found).cpu()
    figure, axes = _figure(2, len(images))
    limit = float(maps.abs().max()) or 1.0
    for column, (image, gradient) in enumerate(zip(images.detach().cpu(), maps, strict=True)):
        _image(axes[0][column], image)
        axes[1][column].imshow(gradient.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure


@suggesting
def path(points: Tensor, *, names: Sequence[str] | None = None) -> "Figure":
    """The points of `inputgrad.follow_gradient`: images in a row per sample, features as lines over the steps.

    points: ``[steps + 1, N, *input]``.
    names: of the features, for a legend.
    """
    points = points.detach().cpu()
    if points.dim() in (4, 5):
        figure, axes = _figure(points.shape[1], len(points))
        for row in range(points.shape[1]):
            for column in range(len(points)):
                _image(axes[row][column], points[column, row])
        return figure
    if points.dim() != 3:
        raise ValueError(f"points must be [steps + 1, N, features] or of images, got a tensor of shape {list(points.shape)}")
    figure, axes = _figure(1, points.shape[1], ticks=True)
    for column in range(points.shape[1]):
        for feature in range(points.shape[2]):
            axes[0][column].plot(points[:, column, feature].numpy(), label=names[feature] if names else None)
        axes[0][column].set_xlabel("step")
    if names:
        axes[0][-1].legend()
    return figure


@suggesting
def field(u: Callable[[Tensor], Any], box: Sequence[tuple[float, float]], names: Sequence[str] | None = None, *, points: int = 100) -> "Figure":
    """The first output of ``u`` over a box of one or two coordinates: a curve, or a map.

    u: a model, or any callable of points ``[N, D]``. box: (low, high) of each coordinate. names: of the coordinates. points: along each side.
    """
    if len(box) not in (1, 2):
        raise ValueError(f"box must hold (low, high) of one or two coordinates, got {len(box)}: hold the others fixed in u")
    kept = next(iter(u.parameters()), torch.zeros(())) if isinstance(u, nn.Module) else torch.zeros(())
    lines = [torch.linspace(low, high, points, dtype=kept.dtype, device=kept.device) for low, high in box]
    grid = torch.stack([part.flatten() for part in torch.meshgrid(*lines, indexing="ij")], 1)
    with torch.no_grad():
        values = default_output(u(grid)).reshape(len(grid), -1)[:, 0].cpu()
    figure, axes = _figure(1, 1, ticks=True)
    axis, labels = axes[0][0], list(names or ("x", "y"))
    axis.set_xlabel(labels[0])
    if len(box) == 1:
        axis.plot(lines[0].cpu().numpy(), values.numpy())
    else:
        (left, right), (bottom, top) = box
        shown = axis.imshow(values.reshape(points, points).T.numpy(), origin="lower", aspect="auto", extent=(left, right, bottom, top))
        axis.set_ylabel(labels[1])
        figure.colorbar(shown)
    return figure


def _figure(rows: int, columns: int, *, ticks: bool = False) -> tuple["Figure", Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("inputgrad.pictures needs the package 'matplotlib', which is not installed: pip install matplotlib") from error
    figure = Figure(figsize=(1.5 * columns + 3 * ticks, 1.5 * rows + 2 * ticks), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat if not ticks else ():
        axis.set_axis_off()
    return figure, axes


def _image(axis: Any, image: Tensor) -> None:
    """An image ``[C, H, W]`` or ``[H, W]``: of three channels in colour, else their mean in shades of grey."""
    if image.dim() == 3 and image.shape[0] == 3:
        axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    else:
        axis.imshow((image.mean(0) if image.dim() == 3 else image).numpy(), cmap="gray")
