"""Attribution priors: expected gradients that vary little over an image, need few features, or follow a graph."""

from torch import Tensor

from inputgrad.attributions.methods import ExpectedGradients
from inputgrad.heads import Of
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.attribution_priors import GiniSparsity, GraphPrior, TotalVariation
from inputgrad.terms.base import Weighted
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def pixel_attribution_prior(
    weight: Weight = 1.0, *, references: TensorRef | None = None, samples: int = 1, of: Of = "label", wrt: Key = 0, standardized: bool = False
) -> Weighted:
    """The pixel attribution prior: attributions of an image that vary little from pixel to pixel.

        weight · mean_n Σ_ij |φ_{i+1,j} − φ_ij| + |φ_{i,j+1} − φ_ij|

    weight: the factor of the formula.
    references: the samples that baselines are drawn from; None for the batch itself, shifted.
    samples: how many baselines are drawn per sample.
    of: the score that the attributions explain; the true class's output by default.
    wrt: the input that is explained.
    standardized: True standardizes each sample's φ first, as in the authors' MNIST code; the formula of the paper does not.
    φ: the attributions, by expected gradients.

    The paper sums over samples; here it is the mean.

    When not: where an object's edges are what should matter; `TotalVariation` penalises them too.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_pixel.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + pixel_attribution_prior(0.01)
    """
    return weight * TotalVariation(ExpectedGradients(references, samples, of=of, wrt=wrt), standardized=standardized)


def sparse_attribution_prior(
    weight: Weight = 1.0, *, references: TensorRef | None = None, samples: int = 1, of: Of = "output", wrt: Key = 0, factor: float = 2.0
) -> Weighted:
    """The sparse attribution prior: few features should have most of the attribution.

        weight · (−factor · G(φ̄)),        φ̄_i = mean_n |φ_ni|,        G: the Gini coefficient

    weight: the factor of the formula.
    references, samples, wrt: as in `pixel_attribution_prior`.
    of: the score that the attributions explain; the output by default.
    factor: 2 as in the paper; 1 as in the authors' code.
    φ: the attributions, by expected gradients.

    A statistic of the batch: it does not split into micro-batches.

    When not: on images, whose pixels share the work, or with batches of a few samples, over which φ̄ is too noisy.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_sparse.

    >>> from torch import nn
    >>> criterion = nn.BCEWithLogitsLoss() + sparse_attribution_prior(0.1)
    """
    return weight * GiniSparsity(ExpectedGradients(references, samples, of=of, wrt=wrt), factor=factor)


def graph_attribution_prior(
    weight: Weight = 1.0,
    *,
    edges: Tensor,
    weights: Tensor | None = None,
    references: TensorRef | None = None,
    samples: int = 1,
    of: Of = "output",
    wrt: Key = 0,
) -> Weighted:
    """The graph attribution prior: features joined by an edge should have similar attributions.

        weight · Σ_{edges (i, j)} w_ij (φ̄_i − φ̄_j)² = weight · φ̄ᵀ L φ̄,        φ̄_i = mean_n |φ_ni|

    weight: the factor of the formula; the authors' run takes 100.
    edges: the edges (i, j), ``[2, E]``, feature numbers; each undirected edge once.
    weights: w, ``[E]``, 1 by default.
    references, samples, of, wrt: as in `sparse_attribution_prior`.
    φ: the attributions, by expected gradients.
    L: the Laplacian of the graph.

    A statistic of the batch: it does not split into micro-batches. The authors minimise the term by an optimiser of its own, after training without it.

    When not: where the graph comes from the same data as the labels: the prior then tells nothing new.

    Source: Erion, Janizek, Sturmfels, Lundberg & Lee 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 3, Ω_graph.

    >>> import torch
    >>> criterion = torch.nn.MSELoss() + graph_attribution_prior(100.0, edges=torch.tensor([[0, 1], [1, 2]]))
    """
    return weight * GraphPrior(ExpectedGradients(references, samples, of=of, wrt=wrt), edges, weights)
