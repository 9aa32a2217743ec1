"""The errors of the library: one form each, saying which argument, what was got, what was expected, and what to do.

And warnings that point at the user's own line.
Knows nothing of the rest. Bad arguments raise `ValueError` or `TypeError`; what an engine cannot do raises `EngineError`.
"""

import contextlib
import difflib
import functools
import inspect
import os
import sys
import warnings
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

_INSIDE = (f"{Path(__file__).parent}{os.sep}", f"{Path(torch.__file__).parent}{os.sep}", contextlib.__file__)


class EngineError(RuntimeError):
    """An engine cannot obtain the gradient for this model: the message names the operation and the engine that can."""


class MissingInternalError(EngineError):
    """This release of torch lacks a private part of torch that the library uses: the message names the part, what does not work, and what to do."""


LOSS_AS_SCORE = "give the loss as the score, one number per sample: of=lambda output, target: F.cross_entropy(output, target, reduction='none'), with target=y"
"""The line to write where an operator is asked for the gradient of the loss."""


def nearest(name: object, known: Iterable[object]) -> str:
    """The tail of a message about an unknown name: the nearest known one, and all of them.

    >>> nearest("lable", ["label", "loss"])
    "did you mean 'label'? Known: 'label', 'loss'"
    >>> nearest("word", ["embeddings.word", "head"])
    "did you mean 'embeddings.word'? Known: 'embeddings.word', 'head'"
    """
    names = sorted(str(item) for item in known)
    longer = [other for other in names if name and (other.startswith(str(name)) or other.endswith(f".{name}"))]
    close = longer or difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(map(repr, names)) or '(none)'}"


SAME_MEANING = tuple(
    frozenset(line.split())
    for line in """
    weight gamma beta lambda_ lam lambd lmbda lambda_gp gp_weight coef coeff coefficient strength reg reg_weight balance kinetic penalty_weight
    epsilon eps radius magnitude budget max_norm ball size perturbation_size
    step_size alpha lr eps_iter eta stepsize step_length rel_stepsize learning_rate
    steps n_steps num_steps nb_iter n_iter num_iter iters iterations max_iter attack_steps attack_iters
    bounds clip clamp box clip_min clip_max value_range limits min max
    low lower lo min minimum
    high upper hi max maximum
    norm ord p order lp distance loss metric
    center target k goal constant one_center lipschitz bound
    at place points where locations collocation collocation_points
    points samples candidates n count num_points n_points
    other x samples points inputs fake
    of head output score target_output
    wrt inputs input variable variables with_respect_to argument
    names coordinates coords variables columns inputs
    outputs output_names components fields
    mask masks annotation annotations region attention attention_mask
    index batch batch_index segment segment_index idx groups ptr i which column k
    forces force f wanted
    energy energies e wanted
    energy_weight lambda_energy energy_coef energy_coefficient w_energy lambda_e energies_weight
    forces_weight force_weight lambda_force lambda_forces forces_coef force_coefficient w_forces lambda_f rho
    stress_weight lambda_stress virial_weight stress_coef
    wanted target targets label labels gradient gradients derivative derivatives
    time t time_name
    space x space_name
    source f rhs forcing force right_hand_side
    diffusivity alpha kappa diffusion conductivity thermal_diffusivity d k nu
    viscosity nu mu diffusivity
    speed c velocity wave_speed
    conductivity k kappa permeability coefficient
    value values g target boundary_value u0
    derivative order normal neumann d
    sigma std noise noise_std stddev scale noise_level size
    directions projections n num_projections n_proj num_samples n_samples samples probes k
    n samples num_samples n_samples k count
    share fraction ratio proportion
    every interval period frequency lazy d_reg_every
    h step delta finite_difference_step dx eps
    reduction average mean reduce aggregation
    references baseline baselines background
    baseline reference references background
    fake fakes generated other negatives x_fake
    features feature columns signs monotonicity constraints
    margin slack threshold tolerance
    mu gamma_weight second_weight weight2
    divergence loss kl distance
    layer layers module block
    base loss criterion loss_fn
    xi h eps_fd
    strike k exercise
    maturity t expiry tenor
    """.strip().splitlines()
)
"""Words that other libraries and papers have for the same setting; a word may have several meanings."""


def is_weight_word(name: str) -> bool:
    """Whether a setting of this name is the factor of a term in other libraries and papers."""
    return name.lower() in SAME_MEANING[0] or name.lower().startswith(("lambda", "lam_", "w_")) or name.lower().endswith(("_weight", "_coef", "_coefficient"))


def of_every_term(name: str) -> str:
    """The line to write for a setting that every term has in another way; empty for others.

    >>> of_every_term("every")
    'write (term).scheduled(every=…)'
    """
    if name in ("sample_weight", "sample_weights", "weights", "w"):
        return "write (term).sample_weight(…)"
    if is_weight_word(name):
        return "a factor before the term weighs it, such as 0.1 * term"
    if name in ("every", "fraction", "interval", "share"):
        return f"write (term).scheduled({'every' if name in ('every', 'interval') else 'fraction'}=…)"
    return 'write (term).named("…")' if name in ("name", "label") else ""


def nearest_setting(name: str, known: Iterable[str]) -> str:
    """The tail of a message about a setting that is not there: the ones that mean the same or are spelt alike, and all of them.

    >>> nearest_setting("eps", ["epsilon", "steps", "norm"])
    'did you mean epsilon=? Known: epsilon, steps, norm'
    >>> nearest_setting("alpha", ["weight", "diffusivity", "source"])
    'did you mean diffusivity=? Known: weight, diffusivity, source'
    >>> nearest_setting("colour", ["weight"])
    'Known: weight'
    """
    names = list(known)
    spelt = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    meant = "weight" if is_weight_word(name) else name.lower()
    same = [other for other in names if any({other, word} <= group for group in SAME_MEANING for word in (name.lower(), meant))]
    close = spelt or same[:2] or difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {' or '.join(f'{other}=' for other in close)}? " if close else ""
    return f"{hint}Known: {', '.join(names) or '(none)'}"


Function = TypeVar("Function", bound=Callable[..., Any])


def suggesting(function: Function, otherwise: Callable[[str], str] = lambda name: "") -> Function:
    """The function; a call with a setting that it does not have, or with too many settings by position, raises a `TypeError` that says how.

    otherwise: the line to write for a setting that there is in another way; empty for others.
    """

    @functools.wraps(function)
    def called(*args: Any, **settings: Any) -> Any:
        try:
            return function(*args, **settings)
        except TypeError:
            _mend(function, function.__name__, args, settings, otherwise)
            raise

    return called  # type: ignore[return-value]  # of the same signature


class Suggesting(ABCMeta):
    """The class of classes whose settings are named: an instance with a setting that there is not raises a `TypeError` that says which one is meant."""

    def said_otherwise(cls, name: str) -> str:
        """The line to write for a setting that instances have in another way than by their constructor; empty for others."""
        return ""

    if not TYPE_CHECKING:  # type checkers read the constructors themselves

        def __call__(cls, *args: Any, **settings: Any) -> Any:
            try:
                return super().__call__(*args, **settings)
            except TypeError:
                _mend(cls, cls.__name__, args, settings, cls.said_otherwise)
                raise

        @property
        def __signature__(cls) -> inspect.Signature:
            """That of the constructor, which ``__call__`` above would hide."""
            constructor = inspect.signature(cls.__init__)
            return constructor.replace(parameters=list(constructor.parameters.values())[1:], return_annotation=inspect.Signature.empty)


def _mend(called: Any, name: str, args: tuple[Any, ...], settings: Mapping[str, Any], otherwise: Callable[[str], str]) -> None:
    """Raises an error in place of Python's own where the arguments do not fit; nothing where the error comes from inside."""
    signature = inspect.signature(called)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if inspect.Parameter.VAR_KEYWORD in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return
    known = list(signature.parameters)
    if unknown := [setting for setting in settings if setting not in known]:
        told = nearest_setting(unknown[0], known)
        line = "" if told.startswith("did you mean") else LOSS_AS_SCORE if unknown[0] == "base" and "of" in known else otherwise(unknown[0])
        raise TypeError(f"{name} has no setting {unknown[0]!r}: {f'{line}. ' if line else ''}{told}") from None
    by_position = [key for key, parameter in signature.parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    if len(args) > len(by_position):
        first = f"takes {', '.join(by_position)} first and the rest by name" if by_position else "takes every setting by name"
        example = next((f", such as {key}=…" for key in known if key not in by_position), "")
        raise TypeError(f"{name} {first}{example}; got {len(args)} settings without a name. Known: {', '.join(known)}") from None


def warn(message: str) -> None:
    """A warning that names the user's line: the first frame up that lies neither in this library nor in torch."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
