"""Recipes: the methods of papers as one-liners of term, head and place, with the papers' own settings. One file = one family.

Each is a function that returns what is added to a base loss: ``nn.CrossEntropyLoss() + recipes.right_for_the_right_reasons("mask")``.
"""

from typing import TYPE_CHECKING

from inputgrad.lazy import lazily

if TYPE_CHECKING:
    from inputgrad.recipes.adversarial import fast_adversarial, free_adversarial, mart, pgd_adversarial, trades, vat
    from inputgrad.recipes.constraints import certified_monotone, gradient_alignment, locally_independent, no_arbitrage, perceptually_aligned
    from inputgrad.recipes.critics import dragan, lazy_r1, path_length, r1, r2, r3gan, relativistic_pairing, wgan_gp, wgan_lp
    from inputgrad.recipes.differentials import Differentials, differential_machine_learning
    from inputgrad.recipes.explanations import (
        graph_attribution_prior,
        pixel_attribution_prior,
        right_for_the_right_reasons,
        saliency_guided_training,
        sparse_attribution_prior,
    )
    from inputgrad.recipes.geometry import eikonal, igr, siren
    from inputgrad.recipes.matching import denoising_score_matching, jacobian_matching, sliced_score_matching, sobolev_projections, sobolev_training
    from inputgrad.recipes.norms import (
        contractive_autoencoder,
        double_backpropagation,
        input_gradient_regularization,
        jacobian_regularization,
        jacobian_spectral_norm,
        lipschitz_hinge,
        scaleable_gradient_regularization,
        tangent_propagation,
    )
    from inputgrad.recipes.physics import energy_and_forces, force_matching, hamiltonian_network
    from inputgrad.recipes.physics_informed import burgers, condition, gradient_enhanced, heat, hessian_penalty, poisson, wave
    from inputgrad.recipes.smoothness import curvature, free_lb, grad_align, local_linearity, r3f, smart

__all__ = [
    "Differentials",
    "burgers",
    "certified_monotone",
    "condition",
    "contractive_autoencoder",
    "curvature",
    "denoising_score_matching",
    "differential_machine_learning",
    "double_backpropagation",
    "dragan",
    "eikonal",
    "energy_and_forces",
    "fast_adversarial",
    "force_matching",
    "free_adversarial",
    "free_lb",
    "grad_align",
    "gradient_alignment",
    "gradient_enhanced",
    "graph_attribution_prior",
    "hamiltonian_network",
    "heat",
    "hessian_penalty",
    "igr",
    "input_gradient_regularization",
    "jacobian_matching",
    "jacobian_regularization",
    "jacobian_spectral_norm",
    "lazy_r1",
    "lipschitz_hinge",
    "local_linearity",
    "locally_independent",
    "mart",
    "no_arbitrage",
    "path_length",
    "perceptually_aligned",
    "pgd_adversarial",
    "pixel_attribution_prior",
    "poisson",
    "r1",
    "r2",
    "r3f",
    "r3gan",
    "relativistic_pairing",
    "right_for_the_right_reasons",
    "saliency_guided_training",
    "scaleable_gradient_regularization",
    "siren",
    "sliced_score_matching",
    "smart",
    "sobolev_projections",
    "sobolev_training",
    "sparse_attribution_prior",
    "tangent_propagation",
    "trades",
    "vat",
    "wave",
    "wgan_gp",
    "wgan_lp",
]

_HOMES = {
    "adversarial": (
        "fast_adversarial",
        "free_adversarial",
        "mart",
        "pgd_adversarial",
        "trades",
        "vat",
    ),
    "constraints": (
        "certified_monotone",
        "gradient_alignment",
        "locally_independent",
        "no_arbitrage",
        "perceptually_aligned",
    ),
    "critics": (
        "dragan",
        "lazy_r1",
        "path_length",
        "r1",
        "r2",
        "r3gan",
        "relativistic_pairing",
        "wgan_gp",
        "wgan_lp",
    ),
    "differentials": (
        "Differentials",
        "differential_machine_learning",
    ),
    "explanations": (
        "graph_attribution_prior",
        "pixel_attribution_prior",
        "right_for_the_right_reasons",
        "saliency_guided_training",
        "sparse_attribution_prior",
    ),
    "geometry": (
        "eikonal",
        "igr",
        "siren",
    ),
    "matching": (
        "denoising_score_matching",
        "jacobian_matching",
        "sliced_score_matching",
        "sobolev_projections",
        "sobolev_training",
    ),
    "norms": (
        "contractive_autoencoder",
        "double_backpropagation",
        "input_gradient_regularization",
        "jacobian_regularization",
        "jacobian_spectral_norm",
        "lipschitz_hinge",
        "scaleable_gradient_regularization",
        "tangent_propagation",
    ),
    "physics": (
        "energy_and_forces",
        "force_matching",
        "hamiltonian_network",
    ),
    "physics_informed": (
        "burgers",
        "condition",
        "gradient_enhanced",
        "heat",
        "hessian_penalty",
        "poisson",
        "wave",
    ),
    "smoothness": (
        "curvature",
        "free_lb",
        "grad_align",
        "local_linearity",
        "r3f",
        "smart",
    ),
}
__getattr__ = lazily(__name__, _HOMES, globals())
