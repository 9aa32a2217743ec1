"""One complete call of every recipe, with data: what the catalogue's pages show and the tests run."""

IMPORTS = "import torch\nfrom torch import nn\n\nimport inputgrad as ig\n"

DATA = {
    "classes": """
model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3))
inputs, target = torch.rand(16, 8), torch.randint(3, (16,))
""",
    "values": """
model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 1))
inputs, target = torch.rand(16, 8), torch.rand(16, 1)
""",
    "images": """
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(512, 3))
inputs, target = torch.rand(16, 1, 8, 8), torch.randint(3, (16,))
""",
    "critic": """
model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 1))  # the critic
inputs, target = torch.randn(16, 8), torch.randn(16, 8)  # real samples, fake samples
""",
    "real": """
model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 1))  # the critic
inputs, target = torch.randn(16, 8), None  # real samples
""",
    "generator": """
model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 64), nn.Unflatten(1, (1, 8, 8)))
inputs, target = torch.randn(16, 8), None  # the latent input
""",
    "words": """
embedding = nn.Embedding(50, 8)
model = nn.Sequential(embedding, nn.Flatten(), nn.Linear(40, 3))  # the embedding is module "0"
inputs, target = torch.randint(50, (16, 5)), torch.randint(3, (16,))
""",
    "points": """
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
inputs, target = torch.rand(64, 2), None  # columns: x, t
""",
    "plane": """
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
inputs, target = torch.rand(64, 2), None  # columns: x, y
""",
    "space": """
model = nn.Sequential(nn.Linear(3, 32), nn.Softplus(beta=10), nn.Linear(32, 1))  # a signed distance
inputs = nn.functional.normalize(torch.randn(64, 3), dim=1)  # points on a sphere
""",
    "atoms": """
class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, positions):  # [N, atoms, 3] -> [N]
        i, j = torch.triu_indices(positions.shape[1], positions.shape[1], 1)
        distance = (positions[:, i] - positions[:, j]).norm(dim=2, keepdim=True)
        return self.pair(distance).sum((1, 2))


model, inputs = Energy(), torch.randn(8, 4, 3)
target = {"energy": torch.randn(8), "forces": torch.randn(8, 4, 3)}
""",
    "phases": """
model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
inputs, target = torch.randn(16, 4), torch.randn(16, 4)  # columns: q, q, p, p; time derivatives
""",
}

CE, MSE = "nn.CrossEntropyLoss() + ig.recipes.", "nn.MSELoss() + ig.recipes."
ALONE = "ig.InputGradientLoss(None, ig.recipes.{})"
ENSEMBLE = """
class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3)) for _ in range(2))

    def forward(self, inputs):  # [N, members, classes]
        return torch.stack([member(inputs) for member in self.members], 1)


model = Ensemble()
inputs, target = torch.rand(16, 8), torch.randint(3, (16,))


def mean_loss(output, target):
    return nn.functional.cross_entropy(output.flatten(0, 1), target.repeat_interleave(2))


"""
LABEL = """

def label_output(output, target):  # target is a dict
    return output.gather(1, target["label"][:, None]).squeeze(1)


"""
MASKED = DATA["classes"] + 'target = {"label": target, "mask": torch.rand(16, 8) > 0.5}\n'
MAPS = DATA["images"].rstrip() + '\ntarget = {"label": target, "map": torch.rand(16, 1, 8, 8)}  # of the layer\'s size\n'
BOTH = DATA["classes"].replace("torch.randint(3, (16,))", '{"value": torch.rand(16, 3), "jacobian": torch.rand(16, 3, 8)}')

CALLS: dict[str, tuple[str, str]] = {
    "fast_adversarial": ("classes", CE + "fast_adversarial(epsilon=8 / 255, bounds=(0, 1))"),
    "free_adversarial": ("classes", CE + "free_adversarial(epsilon=8 / 255, bounds=(0, 1))"),
    "mart": ("classes", "ig.recipes.mart(epsilon=0.031, bounds=(0, 1))"),
    "n_fgsm": ("classes", CE + "n_fgsm(epsilon=8 / 255, bounds=(0, 1))"),
    "pgd_adversarial": ("classes", CE + "pgd_adversarial(epsilon=8 / 255, bounds=(0, 1))"),
    "trades": ("classes", CE + "trades(epsilon=0.031, bounds=(0, 1))"),
    "vat": ("classes", CE + "vat(epsilon=1.0)"),
    "causal": ("points", ALONE.format('causal(ig.recipes.heat(diffusivity=0.1, names="xt"), segments=8)')),
    "self_adaptive": (
        DATA["points"] + "weights = nn.Parameter(torch.ones(64))  # one per point; its optimiser maximises\n",
        ALONE.format('self_adaptive(ig.recipes.heat(diffusivity=0.1, names="xt"), weights=weights)'),
    ),
    "certified_monotone": ("values", MSE + "certified_monotone(10.0, features={0: +1, 3: -1})"),
    "gradient_alignment": (ENSEMBLE, "ig.InputGradientLoss(mean_loss, ig.recipes.gradient_alignment())"),
    "locally_independent": (
        ENSEMBLE.replace("nn.Linear(32, 3)", "nn.Linear(32, 2)").replace("randint(3", "randint(2"),
        "ig.InputGradientLoss(mean_loss, ig.recipes.locally_independent(0.1))",
    ),
    "no_arbitrage": ("values", "nn.L1Loss() + ig.recipes.no_arbitrage(maturity=0, strike=1)"),
    "perceptually_aligned": ("images", CE + "perceptually_aligned(0.5, representatives=torch.rand(3, 1, 8, 8))"),
    "adversarial_motion_prior": ("real", ALONE.format("adversarial_motion_prior()")),
    "dragan": ("real", ALONE.format("dragan()")),
    "lazy_r1": ("real", ALONE.format("lazy_r1(every=16)")),
    "path_length": ("generator", ALONE.format("path_length()")),
    "r1": ("real", ALONE.format("r1()")),
    "r2": ("critic", ALONE.format("r2()")),
    "r3gan": ("critic", ALONE.format("r3gan()")),
    "wgan_gp": ("critic", ALONE.format("wgan_gp()")),
    "wgan_lp": ("critic", "ig.InputGradientLoss(lambda output, fake: -output.mean(), ig.recipes.wgan_lp())"),
    "gradient_step_denoiser": (
        "\nfrom inputgrad.recipes.denoising import Potential\n\n"
        "network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))\n"
        "model = Potential(network)  # the denoiser is the image minus the gradient of this\n"
        "inputs, target = torch.rand(4, 1, 8, 8), None  # clean images\n",
        ALONE.format("gradient_step_denoiser(sigma=25 / 255)"),
    ),
    "differential_machine_learning": (
        "\nfrom inputgrad.recipes.differentials import Differentials\n\nx, y, dydx = torch.randn(64, 3), torch.randn(64, 1), torch.randn(64, 3)\n"
        "data = Differentials.of(x, y, dydx)\nmodel = nn.Sequential(nn.Linear(3, 32), nn.Softplus(), nn.Linear(32, 1))\n"
        "inputs, target = data.inputs(x), data.target(y, dydx)\n",
        "ig.recipes.differential_machine_learning(data=data)",
    ),
    "deq_jacobian": (
        "\nmodel = nn.Sequential(nn.Linear(8, 8), nn.Tanh())  # one application of the layer\ninputs, target = torch.randn(16, 8), None  # the fixed point\n",
        ALONE.format("deq_jacobian(2.0)"),
    ),
    "lagrangian_network": (
        "\nmodel = nn.Sequential(nn.Linear(4, 32), nn.Softplus(), nn.Linear(32, 1))  # L(q, q')\n"
        "inputs, target = torch.randn(16, 4), torch.randn(16, 2)  # columns: q, q, q', q'; accelerations\n",
        "ig.recipes.lagrangian_network()",
    ),
    "neural_ode_regularization": (
        "\nmodel = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 4))  # the vector field\ninputs, target = torch.randn(16, 4), torch.randn(16, 4)\n",
        MSE + "neural_ode_regularization()",
    ),
    "graph_attribution_prior": ("values", MSE + "graph_attribution_prior(100.0, edges=torch.tensor([[0, 1], [1, 2]]))"),
    "hint_ranking": (
        DATA["classes"] + 'target = {"label": target, "importance": torch.rand(16, 8)}\n',
        'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.hint_ranking(0.1, importance="importance")',
    ),
    "hint": (MAPS + LABEL, 'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.hint(importance="map", layer="0", of=label_output)'),
    "ig_norm": ("classes", CE + "ig_norm(epsilon=0.1, bounds=(0, 1), steps=5, attack_steps=3, points=2)"),
    "model_guidance": (
        "from inputgrad.attributions import InputTimesGradient\n" + MASKED + LABEL,
        'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.model_guidance(attribution=InputTimesGradient(of=label_output), region="mask")',
    ),
    "pixel_attribution_prior": ("images", CE + "pixel_attribution_prior(0.01)"),
    "right_for_the_right_reasons": (MASKED, 'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.right_for_the_right_reasons(10.0, mask="mask")'),
    "rrr_grad_cam": (MAPS + LABEL, 'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.rrr_grad_cam(mask="map", layer="0", of=label_output)'),
    "saliency_guided_training": ("images", CE + "saliency_guided_training()"),
    "sparse_attribution_prior": ("values", MSE + "sparse_attribution_prior(0.1)"),
    "hessian_distillation": (
        DATA["atoms"] + 'target["hessian"] = torch.randn(8, 4, 3, 4, 3)\n',
        "ig.recipes.energy_and_forces() + ig.recipes.hessian_distillation(0.1)",
    ),
    "universal_loss": ("atoms", "ig.recipes.universal_loss(forces_weight=10.0)"),
    "orthogonal_jacobian": ("generator", "ig.InputGradientLoss(lambda images, target: -images.mean(), ig.recipes.orthogonal_jacobian())"),
    "eikonal": (DATA["space"] + "target = None\n", "ig.InputGradientLoss(lambda output, _: output.abs().mean(), ig.recipes.eikonal(0.1))"),
    "igam": (
        DATA["classes"] + "teacher, discriminator = nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))\n",
        CE + "igam(teacher=teacher, discriminator=discriminator)",
    ),
    "igr": (DATA["space"] + 'target = {"normals": inputs, "sigma": torch.full((64,), 0.1)}\n', "ig.recipes.igr()"),
    "siren": (DATA["space"] + 'target = {"normals": inputs, "on_surface": torch.ones(64)}\n', "ig.recipes.siren()"),
    "digs": (DATA["space"] + "target = None\n", "ig.recipes.digs()"),
    "neural_pull": (
        DATA["space"] + "inputs, target = inputs + 0.1 * torch.randn(64, 3), inputs  # queries, and the nearest point of the surface\n",
        ALONE.format("neural_pull()"),
    ),
    "neural_singular_hessian": (DATA["space"] + 'target = {"sigma": torch.full((64,), 0.1)}\n', "ig.recipes.neural_singular_hessian()"),
    "denoising_score_matching": ("real", ALONE.format("denoising_score_matching(sigma=0.1)")),
    "jacobian_matching": (DATA["classes"] + "teacher = nn.Linear(8, 3)\n", CE + "jacobian_matching(0.1, teacher=teacher)"),
    "sliced_score_matching": (
        "\nmodel = nn.Sequential(nn.Linear(8, 32), nn.Softplus(), nn.Linear(32, 8))  # the score\ninputs, target = torch.randn(16, 8), None\n",
        ALONE.format("sliced_score_matching()"),
    ),
    "sobolev_projections": (BOTH, 'ig.OnTarget("value") + ig.recipes.sobolev_projections(0.1)'),
    "sobolev_training": (BOTH, 'ig.OnTarget("value") + ig.recipes.sobolev_training(0.1)'),
    "contractive_autoencoder": (
        "\nencoder, decoder = nn.Sequential(nn.Linear(8, 4), nn.Sigmoid()), nn.Linear(4, 8)\n"
        "model = nn.Sequential(encoder, decoder)\ninputs = target = torch.rand(16, 8)\n",
        MSE + 'contractive_autoencoder(0.1, encoder="0")',
    ),
    "double_backpropagation": ("classes", CE + "double_backpropagation(0.1)"),
    "duq": (
        "\nmodel = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3), nn.Sigmoid())  # kernel values\n"
        "inputs, target = torch.rand(16, 8), nn.functional.one_hot(torch.randint(3, (16,)), 3).float()\n",
        "nn.BCELoss() + ig.recipes.duq()",
    ),
    "input_gradient_regularization": ("classes", CE + "input_gradient_regularization(0.1)"),
    "jacobian_regularization": ("classes", CE + "jacobian_regularization(0.01)"),
    "jacobian_spectral_norm": ("classes", CE + "jacobian_spectral_norm(0.01)"),
    "lipschitz_hinge": ("values", MSE + "lipschitz_hinge(10.0, bound=0.1)"),
    "scaleable_gradient_regularization": ("classes", CE + "scaleable_gradient_regularization(0.1, p=1)"),
    "tangent_propagation": (
        DATA["classes"] + 'target = {"label": target, "tangents": torch.randn(16, 8)}\n',
        'ig.OnTarget("label", nn.CrossEntropyLoss()) + ig.recipes.tangent_propagation(0.1, tangents="tangents")',
    ),
    "energy_and_forces": ("atoms", "ig.recipes.energy_and_forces(energy_weight=0.01)"),
    "force_matching": ("atoms", ALONE.format("force_matching()")),
    "hamiltonian_network": ("phases", "ig.recipes.hamiltonian_network()"),
    "burgers": ("points", ALONE.format('burgers(viscosity=0.01, names="xt")')),
    "condition": (
        DATA["plane"] + "edges = torch.rand(16, 2).round()\n",
        'ig.InputGradientLoss(None, ig.recipes.poisson(source=1.0, names="xy") + ig.recipes.condition(value=0.0, at=ig.Given(edges), names="xy"))',
    ),
    "gradient_enhanced": ("plane", ALONE.format('gradient_enhanced(residual=ig.recipes.poisson(source=1.0, names="xy"))')),
    "heat": ("points", ALONE.format('heat(diffusivity=0.1, names="xt")')),
    "hessian_penalty": ("generator", "ig.InputGradientLoss(lambda images, target: -images.mean(), ig.recipes.hessian_penalty())"),
    "poisson": ("plane", ALONE.format('poisson(source=1.0, names="xy")')),
    "wave": ("points", ALONE.format('wave(speed=2.0, names="xt")')),
    "curvature": ("classes", CE + "curvature(h=0.5)"),
    "elle": ("classes", CE + "fast_adversarial(epsilon=8 / 255, bounds=(0, 1)) + ig.recipes.elle(epsilon=8 / 255)"),
    "free_lb": ("words", CE + 'free_lb(wrt="module:0", epsilon=0.5)'),
    "grad_align": ("classes", CE + "fast_adversarial(epsilon=8 / 255, bounds=(0, 1)) + ig.recipes.grad_align(epsilon=8 / 255)"),
    "local_linearity": ("classes", CE + "local_linearity(epsilon=8 / 255, bounds=(0, 1))"),
    "r3f": ("words", CE + 'r3f(wrt="module:0", size=0.1)'),
    "smart": ("words", CE + 'smart(wrt="module:0", epsilon=0.1, step_size=0.1)'),
}

LOSSES = {
    "wgan_gp": "model(target).mean() - model(inputs).mean() + criterion(model, inputs, target)",
    "r3gan": "nn.functional.softplus(model(target) - model(inputs)).mean() + criterion(model, inputs, target)",
}
"""Recipe -> the loss of the step, where more belongs to it than the criterion."""


def call(name: str) -> str:
    """The complete call of a recipe, as code."""
    data, criterion = CALLS[name]
    body = DATA.get(data, data).lstrip("\n") if data in DATA else data.lstrip("\n")
    imports = IMPORTS
    while body.startswith("from inputgrad"):  # belongs to the imports
        line, _, body = body.partition("\n")
        imports += line + "\n"
        body = body.lstrip("\n")
    loss = LOSSES.get(name, "criterion(model, inputs, target)")
    gap = "\n\n" if body.startswith("class ") else "\n"
    return f"{imports}{gap}{body.rstrip()}\n\ncriterion = {criterion}\nloss = {loss}\nloss.backward()\n"
