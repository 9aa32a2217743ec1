"""Explanations: losses on what a network's decisions rest on."""

from inputgrad.attributions.grad_cam import GradCAM
from inputgrad.attributions.methods import Attribution, InputGradient
from inputgrad.heads import Of
from inputgrad.perturbations.base import Bounds
from inputgrad.perturbations.saliency_mask import SaliencyMask, SortedBy
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.attribution_priors import AttributionMatch
from inputgrad.terms.attribution_ranking import AttributionRanking
from inputgrad.terms.attribution_robustness import AttributionRobustness, MostAttributed
from inputgrad.terms.base import Weighted
from inputgrad.terms.consistency import Consistency
from inputgrad.terms.gradient_match import GradientMatch
from inputgrad.terms.guidance import EnergyPointing
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def right_for_the_right_reasons(weight: Weight = 1000.0, *, mask: TensorRef, of: Of = "log_prob", wrt: Key = 0) -> Weighted:
    """Right for the right reasons: the decision must not rest on the features under a mask.

        weight · mean_n Σ_d (A_nd ∂/∂x_nd Σ_c log p_nc)²

    weight: λ₁, 1000 in the authors' MNIST and toy runs.
    mask: A, 1 where a feature is irrelevant: a tensor of the inputs' shape or of one sample's (size 1 where it does not vary), a name or a position of the
      target, or a callable of the batch.
    of: what is differentiated; by default the SUM of the log-probabilities over the classes, as published, not that of the true class.
    wrt: as in `double_backpropagation`.
    p_nc: the probability of class c.

    The authors' loss adds both parts up over the batch; here both are means, so λ₁ stays what it is. Only beside a base loss that is a sum would it be
    multiplied by the batch size. Their repository holds two codes: the one in autograd takes the squares as they are, as in the paper; the one in TensorFlow
    takes half of them (``l2_loss``), so that its λ₁ is twice that here. Their λ₂ Σ θ², on a sum, is ``weight_decay`` = 2 λ₂ / N of the optimiser.

    When not: where the irrelevant features cannot be told from the others by their place. And not as it stands with one logit, whose softmax is constant:
    there take ``of=lambda output, target: (2 * logsigmoid(output) - output).sum(1)``, the same sum over both classes.

    Source: Ross, Hughes & Doshi-Velez 2017, "Right for the right reasons: training differentiable models by constraining their explanations", IJCAI, eq. 1.

    >>> from torch import nn
    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("label", "cross_entropy") + right_for_the_right_reasons(mask="mask")
    """
    return weight * GradientMatch(None, of=of, wrt=wrt, mask=mask)


def rrr_grad_cam(weight: Weight = 1.0, *, mask: TensorRef, layer: str, of: Of = "label") -> Weighted:
    """Right for the right reasons by Grad-CAM: the map of the last convolutional layer must be low under a mask.

        weight · mean_n Σ_ij (A_nij φ_nij)²,   φ: Grad-CAM with its sign, each sample's map brought to [0, 1]

    weight: the factor of the formula, tuned per data set, so that the term is of the size of the loss.
    mask: A, 1 where the image is irrelevant, ``[N, 1, H, W]`` or ``[1, H, W]`` of the size of the layer's output (resize it with ``F.interpolate``): a
      tensor, a name or a position of the target, or a callable of the batch.
    layer: the name of the convolutional layer in the model.
    of: the score that Grad-CAM explains, the true class's output; the public code takes the predicted class.

    When not: for models without spatial feature maps; where what is irrelevant is smaller than a cell of the map (`right_for_the_right_reasons`).

    Source: Schramowski et al. 2020, "Making deep neural networks right for the right scientific reasons by interacting with their explanations", Nature
    Machine Intelligence 2; the form is that of the code of Friedrich, Stammer, Schramowski & Kersting 2023, "A typology for exploring the mitigation of
    shortcut behaviour", Nature Machine Intelligence 5.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("label", "cross_entropy") + rrr_grad_cam(mask="mask", layer="features.last")
    """
    return weight * AttributionMatch(GradCAM(layer, of, rectify=False, scaled=True), mask=mask)


def hint(weight: Weight = 1.0, *, importance: TensorRef, layer: str, of: Of = "label") -> Weighted:
    """HINT in its simplified form: the Grad-CAM map of the last convolutional layer should match human attention maps.

        weight · mean_n Σ_ij (φ_nij − H_nij)²,   φ: Grad-CAM with its sign, each sample's map brought to [0, 1]

    weight, layer, of: as in `rrr_grad_cam`.
    importance: H, 1 where people look and 0 elsewhere, of the shapes of the ``mask`` of `rrr_grad_cam`; NaN where nothing is known.

    The published method ranks pairs of regions in place of the squares (`hint_ranking`); the form here is that of the code of the typology named below.

    When not: where only what is irrelevant is known: `rrr_grad_cam`.

    Source: Selvaraju et al. 2019, "Taking a HINT: leveraging explanations to make vision and language models more grounded", ICCV; in the form of Friedrich,
    Stammer, Schramowski & Kersting 2023, "A typology for exploring the mitigation of shortcut behaviour", Nature Machine Intelligence 5.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("label", "cross_entropy") + hint(importance="importance", layer="features.last")
    """
    return weight * AttributionMatch(GradCAM(layer, of, rectify=False, scaled=True), importance)


def hint_ranking(weight: Weight = 1.0, *, importance: TensorRef, of: Of = "label", wrt: Key = 0) -> Weighted:
    """HINT: regions that people find more important should have the larger gradient; every pair in the wrong order costs its difference.

        weight · mean_n Σ_{(i, j): H_ni > H_nj} max(0, a_nj − a_ni),   a_ni = Σ_d ∂s_n/∂x_nid

    weight: the factor of the formula, to be tuned; 1 is not a published value.
    importance: H, ``[N, R]``; NaN where nothing is known.
    of: the score s, by default the true class's output.
    wrt: x, the features of R regions (object proposals, tokens, feature maps), ``[N, R, ...]``: an input, or an inner module's output, ``"module:name"``.

    The code of Shrestha, Kafle & Kanan (2020, "A negative case analysis of visual grounding methods for VQA", ACL) also counts pairs of equal importance, and
    divides by R; the authors' own code is not public. `hint` is the squared form of later code.

    When not: where only what is irrelevant is known (`right_for_the_right_reasons`).

    Source: Selvaraju et al. 2019, "Taking a HINT: leveraging explanations to make vision and language models more grounded", ICCV.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("label", "cross_entropy") + hint_ranking(0.1, importance="importance")
    """
    return weight * AttributionRanking(InputGradient(of, wrt), importance)


def model_guidance(weight: Weight = 0.01, *, attribution: Attribution, region: TensorRef) -> Weighted:
    """Model guidance by the energy loss: the positive attributions should fall inside the object's box.

        weight · mean_n [ 1 − Σ_{i ∈ region} max(0, φ_ni) / Σ_i max(0, φ_ni) ]

    weight: the factor of the formula, to be tuned; 0.01 is not a published value.
    attribution: φ, such as ``InputTimesGradient(of="label")``, `IntegratedGradients` or ``GradCAM("layer")``; the paper also takes B-cos models' own.
    region: 1 inside the boxes of the class, 0 outside, of the shape of the attributions; see `EnergyPointing`.

    The paper's RRR loss is an `AttributionMatch` under a mask of what is outside; its L1 and PPCE losses are not here.

    When not: where the class has no location in the input.

    Source: Rao, Böhle, Parchami-Araghi & Schiele 2023, "Studying how to efficiently and effectively guide models with explanations", ICCV, and their code.

    >>> import inputgrad as ig
    >>> from inputgrad.attributions import InputTimesGradient
    >>> criterion = ig.OnTarget("label", "cross_entropy") + model_guidance(attribution=InputTimesGradient(of="label"), region="boxes")
    """
    return weight * EnergyPointing(attribution, region)


def ig_norm(
    weight: Weight = 1.0,
    *,
    epsilon: float,
    steps: int = 50,
    attack_steps: int = 20,
    step_size: float = 0.01,
    points: int = 10,
    bounds: Bounds = None,
    wrt: Key = 0,
) -> Weighted:
    """IG-NORM: the attributions of a sample change little within a ball around it.

        λ · mean_n max_{x̃} ‖IG(x_n, x̃)‖₁,   IG(x, x̃) = (x̃ − x) ⊙ 1/m Σ_{k=1}^m ∇ℓ(x + k/m (x̃ − x)),   ‖x̃ − x‖∞ ≤ ε

    weight: λ, 1 as published.
    epsilon: ε, the radius of the ball, in units of the input; 0.1 for Fashion-MNIST.
    steps: m, the points of the integral, 50 as published.
    attack_steps: how many sign steps find x̃, from a uniform start; 20 as published.
    step_size: the length of such a step, in units of the input; 0.01 as published.
    points: how many points of the path the attack takes in place of m; 10 as published.
    bounds: low and high, to which x̃ is clipped; (0, 1) for images.
    wrt: as in `double_backpropagation`.
    ℓ: the sample's own base loss.

    It is expensive: some 250 passes per step by default. See `AttributionRobustness`. The authors' IG-SUM-NORM, which trains at x̃ and climbs on the loss as
    well, is not here.

    When not: where robustness of the prediction alone is the aim (`pgd_adversarial`).

    Source: Chen, Wu, Rastogi, Liang & Jha 2019, "Robust attribution regularization", NeurIPS, and jfc43/robust-attribution-regularization.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + ig_norm(epsilon=0.1, bounds=(0, 1), steps=5, attack_steps=3, points=2)
    """
    attack = MostAttributed(epsilon, attack_steps, step_size, bounds=bounds, wrt=wrt, points=points)
    return weight * AttributionRobustness(attack, steps)


def saliency_guided_training(
    weight: Weight = 1.0, *, share: float = 0.5, of: Of = "label", by: SortedBy = "gradient", shared_over: int | None = None, wrt: Key = 0
) -> Weighted:
    """Saliency guided training: the output should stay the same when the features with the lowest input gradient are hidden.

        weight · mean_n KL(p(f(x_n)) ‖ p(f(x̃_n))),        x̃: the ⌊share · D⌋ features with the lowest ∂s/∂x_i replaced by u_i ~ U(min x_n, max x_n)

    weight: λ, 1 as published.
    share: the share of the D features that are hidden; 0.5 in the authors' MNIST run.
    of: the score s, by default the true class's output.
    by: how the features are ranked: "gradient" with its sign (the most negative are hidden first), as in the paper and by default in its code, or
      "magnitude".
    shared_over: 1 hides whole pixels of images of several channels, each channel with its own range; None hides features one by one.
    wrt: as in `double_backpropagation`.
    p: softmax.

    The gradient goes through both branches, as in the authors' code; which features are hidden is a constant. The authors take the gradient in evaluation
    mode; here it sees the step's own dropout masks.

    When not: with one output, where p is constant; or where every feature matters, as in small tables.

    Source: Ismail, Corrada Bravo & Feizi 2021, "Improving deep learning interpretability by saliency guided training", NeurIPS, eq. 2 and algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + saliency_guided_training()
    """
    return weight * Consistency(SaliencyMask(share, of=of, by=by, shared_over=shared_over, wrt=wrt), divergence="kl")
