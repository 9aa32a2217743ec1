"""Attribution priors: what the attributions of a network should be like: as labelled, smooth over an image, few, or alike along a graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from inputgrad.attributions.methods import Attribution, InputGradient, check_attribution
from inputgrad.batch import Batch
from inputgrad.devices import moved_once
from inputgrad.passes.precision import widened
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Per, Term
from inputgrad.terms.gradient_match import broadcast, root, shaped
from inputgrad.terms.gradient_norm import flattened
from inputgrad.terms.missing_labels import both, counted, known
from inputgrad.variables import Key, described

Method = Attribution | Callable[[Batch], Tensor]  # an attribution method, or any callable ``batch -> [N, *input]``


@dataclass(frozen=True, eq=False)
class OfAttributions(Term):
    """A term on the attributions of a method."""

    attribution: Method

    def __post_init__(self) -> None:
        check_attribution(f"{type(self).__name__}: attribution", self.attribution)

    def variables(self) -> tuple[Key, ...]:
        return (getattr(self.attribution, "wrt", 0),)

    def attributions(self, batch: Batch) -> Tensor:
        """φ ``[N, *input]``, half precision widened."""
        phi = self.attribution(batch)
        if not isinstance(phi, Tensor) or phi.dim() < 2:
            raise ValueError(f"{type(self).__name__}: attributions must be a tensor [N, D, ...], one number for each feature of a sample; got {described(phi)}")
        return widened(phi)


@dataclass(frozen=True, eq=False)
class AttributionMatch(OfAttributions):
    """The squared distance of the attributions from labels for them, over the features that have one.

        R_n = Σ_i m_ni (φ_ni − t_ni)²

    attribution: φ, any method of `inputgrad.attributions`, or a callable ``batch -> [N, *input]``.
    wanted: t, of the shape of the inputs or of one sample; None for zeros: what must not matter. NaN in it is a missing label.
    mask: m, features count where it is not 0; of the same shapes, with size 1 where it does not vary.
    Both: a tensor, a name or a position of the target, or a callable of the batch.

    When not: for the input gradient itself, which `GradientMatch` matches with more ways to count.

    Source: Liu & Avci 2019, "Incorporating priors with feature attribution on text classification", ACL (integrated gradients; t = 0 for identity
    terms, 1 for words that must matter), there summed over classes: one term for each, with ``of=heads.OneOutput(c)``.

    >>> import torch
    >>> from inputgrad.attributions import IntegratedGradients
    >>> irrelevant = torch.tensor([0.0, 0.0, 1.0])
    >>> criterion = torch.nn.MSELoss() + 10 * AttributionMatch(IntegratedGradients(steps=4, rule="gauss_legendre"), mask=irrelevant)
    """

    wanted: TensorRef | None = None
    mask: TensorRef | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("wanted", "mask"):
            if getattr(self, name) is not None:
                check_tensor_ref(f"AttributionMatch: {name}", getattr(self, name))

    @classmethod
    def example(cls) -> "AttributionMatch":
        return cls(InputGradient())

    def __call__(self, batch: Batch) -> Tensor:
        phi = self.attributions(batch)
        counts, wanted = None, None if self.wanted is None else resolve_tensor("AttributionMatch: wanted", self.wanted, batch)
        if wanted is not None:
            counts, wanted = known(shaped("AttributionMatch: wanted", wanted, phi))
        if self.mask is not None:
            counts = both(counts, broadcast("AttributionMatch: mask", resolve_tensor("AttributionMatch: mask", self.mask, batch), phi) != 0)
        return counted(phi if wanted is None else phi - wanted, counts).square().flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class TotalVariation(OfAttributions):
    """The total variation of the attributions over an image: neighbouring pixels should have similar attributions.

        R_n = Σ_ij |φ_{i+1,j} − φ_ij| + |φ_{i,j+1} − φ_ij|                    ("isotropic": Σ_ij √((φ_{i+1,j} − φ_ij)² + (φ_{i,j+1} − φ_ij)²))

    attribution: φ, any method of `inputgrad.attributions`, or a callable ``batch -> [N, *input]``.
    axes: how many of the last dimensions are neighbours' directions: 2 for images ``[N, C, H, W]`` (channels are added up), 1 for sequences, 3 for volumes.
    isotropic: the root of the squares of a pixel's forward differences, beyond the edge 0; the paper has the sum of absolute values.
    standardized: False as in the paper's formula; True as in the authors' MNIST code, where each sample's φ has its mean taken off and is divided by
    max(its standard deviation, 1/√D): then only the pattern counts, and small attributions do not lower the term.

    The paper sums over the samples; here it is the mean, so a weight published for a sum is multiplied by the batch size.

    When not: where neighbours in the tensor are not neighbours in reality (tables: `GraphPrior`).

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_pixel.

    >>> from torch import nn
    >>> from inputgrad.attributions import ExpectedGradients
    >>> criterion = nn.CrossEntropyLoss() + 0.01 * TotalVariation(ExpectedGradients(of="label"))
    """

    axes: int = 2
    isotropic: bool = False
    standardized: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.axes, bool) or not isinstance(self.axes, int) or self.axes < 1:
            raise ValueError(f"TotalVariation: axes must be a number of dimensions, at least 1; got {self.axes!r}")

    @classmethod
    def example(cls) -> "TotalVariation":
        return cls(InputGradient(), axes=1)

    def __call__(self, batch: Batch) -> Tensor:
        phi = self.attributions(batch)
        if phi.dim() <= self.axes:
            raise ValueError(f"TotalVariation: axes={self.axes} needs attributions of {self.axes + 1} dimensions or more, got {list(phi.shape)}; set axes=")
        phi = _standardized(phi) if self.standardized else phi
        # the last entry once more: beyond the edge the difference is 0
        steps = [phi.diff(dim=axis, append=phi.narrow(axis, -1, 1)) for axis in range(phi.dim() - self.axes, phi.dim())]
        if self.isotropic:
            return root(torch.stack(steps).square().sum(0)).flatten(1).sum(1)
        return torch.stack([step.abs().flatten(1).sum(1) for step in steps]).sum(0)


@dataclass(frozen=True, eq=False)
class GiniSparsity(OfAttributions):
    """The negative Gini coefficient of the features' mean absolute attributions: few features should matter.

        R = −factor · G(φ̄),        G = Σ_ij |φ̄_i − φ̄_j| / (2 D Σ_i φ̄_i),        φ̄_i = mean_n |φ_ni|

    G is 0 where all D features matter alike and (D − 1)/D where one alone does. A statistic of the batch: φ̄ is not the mean of anything per sample.
    attribution: φ, any method of `inputgrad.attributions`, or a callable ``batch -> [N, *input]``.
    factor: 2 as in the paper (−2G), 1 as in the authors' code (−G). Where φ̄ is zero everywhere R is 0, with the subgradient 0.

    When not: where many features matter a little each, and on images, whose pixels share the work.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_sparse.

    >>> from torch import nn
    >>> from inputgrad.attributions import ExpectedGradients
    >>> criterion = nn.BCEWithLogitsLoss() + 0.1 * GiniSparsity(ExpectedGradients())
    """

    per: ClassVar[Per] = "batch"
    factor: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.factor < float("inf"):
            raise ValueError(f"GiniSparsity: factor must be positive and finite, got {self.factor}; the term is −factor · G already")

    @classmethod
    def example(cls) -> "GiniSparsity":
        return cls(InputGradient())

    def __call__(self, batch: Batch) -> Tensor:
        return -self.factor * gini(flattened(self.attributions(batch)).abs().mean(0))


@dataclass(frozen=True, eq=False)
class GraphPrior(OfAttributions):
    """Attributions that are alike along the edges of a graph of features.

        R = Σ_{edges (i, j)} w_ij (φ̄_i − φ̄_j)² = φ̄ᵀ L φ̄,        φ̄_i = mean_n |φ_ni|

    L = D − W: the Laplacian of the graph. Each undirected edge counts once (the paper's sum over ordered pairs, read literally, would be twice its φ̄ᵀLφ̄;
    the Laplacian is followed, as in the authors' code). A statistic of the batch.
    edges: ``[2, E]``, the numbers of the features that belong together, counted over the flattened features of a sample. weights: w ``[E]``, 1 by default.
    From a weight matrix W: ``GraphPrior.of_matrix(attribution, W)``. attribution: φ, any method of `inputgrad.attributions`.
    magnitudes: whether |φ| is averaged, as in the authors' code, or φ with its sign.

    When not: where edges say that features act against each other.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_graph.

    >>> import torch
    >>> from inputgrad.attributions import ExpectedGradients
    >>> chain = torch.tensor([[0, 1, 2], [1, 2, 3]])
    >>> criterion = torch.nn.MSELoss() + 0.1 * GraphPrior(ExpectedGradients(), chain)
    """

    per: ClassVar[Per] = "batch"
    edges: Tensor
    weights: Tensor | None = None
    magnitudes: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        edges, weights = self.edges, self.weights
        whole = isinstance(edges, Tensor) and not edges.is_floating_point() and edges.dtype != torch.bool
        if not whole or edges.dim() != 2 or edges.shape[0] != 2 or not edges.numel() or bool((edges < 0).any()):
            raise ValueError(f"GraphPrior: edges must be feature numbers from 0, an integer tensor [2, E] of at least one edge; got {described(edges)}")
        if weights is not None and (not isinstance(weights, Tensor) or weights.shape != edges.shape[1:] or bool((weights < 0).any())):
            raise ValueError(f"GraphPrior: weights must be one number of at least 0 for each edge, [{edges.shape[1]}]; got {described(weights)}")

    @classmethod
    def of_matrix(cls, attribution: Method, matrix: Tensor, **settings: Any) -> "GraphPrior":
        """From a symmetric matrix W ``[D, D]`` of weights at least 0, dense or sparse; its diagonal does not matter."""
        if not isinstance(matrix, Tensor) or matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"GraphPrior.of_matrix: the matrix of weights must be square, [D, D]; got {described(matrix)}")
        dense = matrix.to_dense()
        if not torch.equal(dense, dense.T):
            raise ValueError("GraphPrior.of_matrix: the matrix of weights must be symmetric; for a directed one give (W + W.T) / 2")
        edges = dense.triu(1).nonzero().T
        return cls(attribution, edges, dense[edges[0], edges[1]], **settings)

    @classmethod
    def example(cls) -> "GraphPrior":
        return cls(InputGradient(), torch.tensor([[0, 1], [1, 2]]))

    def __call__(self, batch: Batch) -> Tensor:
        phi = flattened(self.attributions(batch))
        mean = (phi.abs() if self.magnitudes else phi).mean(0)
        try:
            squares = torch.sub(*mean[moved_once(self.edges, mean.device)]).square()
        except IndexError as error:
            raise ValueError(f"GraphPrior: edges name feature {int(self.edges.max())}, and a sample has the features 0..{len(mean) - 1}") from error
        return (squares if self.weights is None else squares * moved_once(self.weights, mean.device, mean.dtype)).sum()


def gini(values: Tensor) -> Tensor:
    """The Gini coefficient of D numbers of at least 0, 0-d: Σ_ij |v_i − v_j| / (2 D Σ_i v_i), by sorting; 0, with derivative 0, where all are zero."""
    values, size = values.contiguous(), len(values)
    order = values.detach().sort().values
    fewer, more = torch.searchsorted(order, values.detach()), size - torch.searchsorted(order, values.detach(), right=True)
    pairs = 2 * ((fewer - more) * values).sum()  # Σ_ij |v_i − v_j| = 2 Σ_i v_i Σ_j sign(v_i − v_j)
    total = 2 * size * values.sum()
    return torch.where(total > 0, pairs / torch.where(total > 0, total, 1), 0)


def _standardized(phi: Tensor) -> Tensor:
    """(φ − mean) / max(standard deviation, 1/√D) of each sample."""
    rows = phi.flatten(1)
    centred = rows - rows.mean(1, keepdim=True)
    return (centred / root(centred.square().mean(1, keepdim=True)).clamp(min=rows.shape[1] ** -0.5)).reshape(phi.shape)
