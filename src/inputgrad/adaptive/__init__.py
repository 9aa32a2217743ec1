"""Adaptive weights: methods that set the weights of a loss's parts while it trains, on what ``criterion.losses`` hands out.

    losses = criterion.losses(model, inputs, target)       # the parts, each with its own graph and without its weight
    weights(losses).backward()

The criterion's own weights play no part. Each object is a module: its state is in its ``state_dict``, and it learns in training mode only, where gradients
are enabled. In a distributed run the processes agree on the weights. Knows the criterion's names of its parts; knows no engine.
"""

from inputgrad.adaptive.annealing import GradientAnnealing
from inputgrad.adaptive.balancing import ReLoBRaLo, UncertaintyWeights
from inputgrad.adaptive.base import AdaptiveWeights
from inputgrad.adaptive.grad_norm import GradNorm

__all__ = ["AdaptiveWeights", "GradNorm", "GradientAnnealing", "ReLoBRaLo", "UncertaintyWeights"]
