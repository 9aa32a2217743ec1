"""The families of recipes: each is a module of `inputgrad.recipes` and a page of the catalogue."""

from inputgrad import catalogue

FAMILIES = {
    "norms": ("Norm penalties", "Short input gradients: smooth functions, and some robustness."),
    "critics": ("Critics of GANs", "Gradient penalties for the critic (the discriminator) of a generative adversarial network."),
    "matching": ("Labels of derivatives", "Gradients that should equal given ones: slopes, a teacher's gradients, scores."),
    "differentials": ("Differential machine learning", "Values and their derivatives, such as prices and deltas, on one scale."),
    "physics": ("Energies and forces", "Forces as the negative gradient of an energy, and Hamilton's equations."),
    "force_fields": ("Force fields", "Robust losses for force fields, and what a student learns from a teacher's energy."),
    "dynamics": ("Dynamics", "Lagrangian networks, neural differential equations, equilibrium layers."),
    "physics_informed": ("Differential equations", "Physics-informed networks: equations, and their boundary and initial conditions."),
    "collocation": (
        "Points and weights of physics-informed networks",
        "Which points count, and when. Inverse problems need no entry of their own: a coefficient that is an `nn.Parameter` is learned.",
    ),
    "constraints": ("Constraints and ensembles", "Monotone functions, prices without arbitrage, members of an ensemble that differ."),
    "geometry": ("Signed distances", "Networks whose zero set is a surface, from points with normals."),
    "surfaces": ("Surfaces without normals", "The same from points alone."),
    "generators": (
        "Generators",
        "Penalties on a GAN's generator: latent components that act apart, and paths of equal length.",
    ),
    "denoising": ("Denoising", "Denoisers that are the gradient of a potential."),
    "explanations": ("Explanations", "Saliency that should lie, or not lie, on given features."),
    "attribution_priors": ("Attribution priors", "Attributions that vary little over an image, need few features, or follow a graph."),
    "adversarial": ("Adversarial training", "The loss at attacked inputs."),
    "robustness_transfer": ("Transfer of robustness", "A student whose input gradients become those of a robust teacher."),
    "smoothness": ("Smooth losses, and text", "Flat and linear losses, and moved token embeddings."),
}
"""Title and first sentence of each family's page, in the order of the catalogue."""


def recipes() -> dict[str, list[catalogue.Entry]]:
    """The recipes of each family, by the name of its module, in the order of their source."""
    found: dict[str, list[catalogue.Entry]] = {family: [] for family in FAMILIES}
    for entry in catalogue.entries():
        if entry.kind == "recipe":
            found[entry.family.replace(" ", "_")].append(entry)
    return {family: sorted(entries, key=lambda entry: entry.made_of.__code__.co_firstlineno) for family, entries in found.items()}


def homes() -> dict[str, str]:
    """The family of each recipe."""
    return {entry.name: family for family, entries in recipes().items() for entry in entries}
