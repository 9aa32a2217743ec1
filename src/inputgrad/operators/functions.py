"""Operators: derivatives of the output with respect to the input, themselves differentiable in the parameters and again in the input (eager, exact).

Each takes a model and its inputs, or, inside a term, the batch in place of both: then the pass sees the step's own dropout masks. Under ``no_grad`` the
results have no graph.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import heads
from inputgrad.batch import Batch
from inputgrad.errors import LOSS_AS_SCORE, suggesting, warn
from inputgrad.heads import Of
from inputgrad.memory import memory
from inputgrad.operators import differentiation
from inputgrad.operators.as_asked import as_asked
from inputgrad.operators.batch_fields import all_keys, field_of_batch
from inputgrad.operators.coordinates import Names, names_or_none
from inputgrad.operators.fields import Field, make_field
from inputgrad.operators.probes import Probe, check_probes, probes_for
from inputgrad.operators.taylor import questions
from inputgrad.operators.taylor.field_source import FieldSource
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.model_checks import check_model, coupled_modules, without_inference_tensors
from inputgrad.passes.output_views import scored
from inputgrad.passes.outputs import default_output, one_output
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.second_input_derivative import check_second_input_derivative
from inputgrad.perturbations.gradient_paths import follow_gradient
from inputgrad.places.base import Place
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, keys_of

__all__ = ["divergence", "field", "follow_gradient", "gradient", "hessian_vector", "jacobian", "laplacian", "output_and_gradient"]

Opened = tuple[Tensor, tuple[Tensor, ...]]


@suggesting
@as_asked
def output_and_gradient(model: nn.Module, inputs: Any, of: Of = "output", target: Any = None, wrt: Wrt = 0) -> tuple[Tensor, Any]:
    """The model's output ``[N, ...]`` and the input gradient ∂s/∂x ``[N, *input]``, both with their complete graph.

    model: the module. inputs: a tensor, a tuple (``model(*inputs)``) or a dict (``model(**inputs)``). target: what the head needs, such as labels.
    of: the score s, a head; not "loss", which needs a base loss: pass a callable ``(output, target) -> [N]`` in its place.
    wrt: the input, or several, and then the gradient is a tuple. For a head of K rows the gradient is ``[N, K, *input]``.

    Sets no ``.grad`` and no ``requires_grad`` on your tensors.
    """
    check_head(of)
    check_model(model)
    with torch.inference_mode(False), torch.enable_grad():
        given = ModelInputs.of(without_inference_tensors(inputs))
        keys = canonical(wrt, given, model)
        forward = ForwardPass(model, given, keys, default_output, RandomAndBufferState(model, given), PassOptions(whole=True, any_order=True))
        view, score = scored(forward, heads.resolve(of), without_inference_tensors(target))
        gradient = input_gradient(view, score, keys, create_graph=True)
        output = view.primal().output
    return output, gradient if isinstance(wrt, (tuple, list)) else gradient[0]


@suggesting
def gradient(model: nn.Module, inputs: Any, of: Of = "output", target: Any = None, wrt: Wrt = 0) -> Any:
    """∇s: ∂s/∂x ``[N, *input]`` of each sample's own score, with its complete graph; the second of `output_and_gradient`.

    model, inputs, of, target, wrt: as in `output_and_gradient`.

    >>> gradient(nn.Linear(3, 1), torch.rand(5, 3)).shape
    torch.Size([5, 3])
    """
    _warn_if_coupled(model)
    return output_and_gradient(model, inputs, of, target, wrt)[1]


@suggesting
def field(
    model: nn.Module | Batch, inputs: Any = None, names: Names | None = None, wrt: Wrt | None = None, outputs: Names | None = None, at: Place | None = None
) -> Field:
    """The model's output as a field u(x, t, …) of named coordinates: ``u.value``, ``u.d("t")``, ``u.d("xx")``, ``u.d("xt")`` (see `Field`).

    model: the module, or in a term the batch, in place of model and inputs: ``field(batch, names="xt")``.
    inputs: a dict ``{"x": x, "t": t}``, whose names are used; or a tensor ``[N, D]``, or a tuple, with ``names``.
    names: of the coordinates, in the order of the columns, ``("x", "t")`` or ``"xt"``. outputs: names of the outputs: ``flow.part("p").d("x")``.
    wrt: the inputs that are coordinates, where not all are. at: in a term, a place such as `Given` collocation points.

    >>> u = field(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 2), names="xt")
    >>> residual = u.d("t") + u.value * u.d("x") - 0.01 * u.d("xx")
    """
    if isinstance(model, Batch):
        _no_inputs(inputs)
        return field_of_batch(model, names, wrt, outputs, at)
    if at is not None:
        raise TypeError("at= is a place of a term's batch: give the points themselves as inputs")
    with torch.inference_mode(False), torch.enable_grad():
        forward, keys = _pass(model, inputs, keys_of(wrt) if wrt is not None else all_keys(inputs))
        caller = sys._getframe(2)  # past the decorator
        kind = ("field", keys, names_or_none("names", names), names_or_none("outputs", outputs), caller.f_code, caller.f_lineno)
        return make_field(FieldSource(keys, _graph(forward, keys), forward, kind), names, outputs)


@suggesting
@as_asked
def jacobian(model: nn.Module | Batch, inputs: Any = None, wrt: Key = 0) -> Tensor:
    """∂f_c/∂x ``[N, C, *input]`` of every output (flattened to C), by one batched backward pass where the graph admits it, else by C.

    model, inputs, wrt: as in `output_and_gradient`; in a term the batch in place of model and inputs.

    >>> jacobian(nn.Linear(3, 2), torch.rand(5, 3)).shape
    torch.Size([5, 2, 3])
    """
    with torch.inference_mode(False), torch.enable_grad():
        output, (variable,) = opened(model, inputs, wrt)
        return differentiation.jacobian(output, variable, wrt)


@suggesting
@as_asked
def divergence(model: nn.Module | Batch, inputs: Any = None, wrt: Key = 0, *, probes: int | None = None, probe: Probe = "rademacher") -> Tensor:
    """div f = Σ_d ∂f_d/∂x_d ``[N]`` of a model whose output has the shape of its input, such as a flow or a score.

    model, inputs, wrt: as in `jacobian`.
    probes: None for the exact sum, along D directions; n for Hutchinson's estimate (1/n) Σ_k vₖᵀ (∂f/∂x) vₖ with E vvᵀ = 1, along n, unbiased.
    probe: the v are random signs ("rademacher", the smaller variance), normal ("gaussian"), or n different axes, the same for all samples ("coordinates").

    >>> divergence(nn.Linear(3, 3), torch.rand(5, 3)).shape
    torch.Size([5])
    """
    check_probes(probes, probe)
    with torch.inference_mode(False), torch.enable_grad():
        opened = _as_function(model, inputs, wrt)
        shapes = opened.shapes()
        return questions.answer(opened, questions.divergence(shapes, opened.keys, probes_for(shapes, probes, probe)))[0]


@suggesting
@as_asked
def laplacian(model: nn.Module | Batch, inputs: Any = None, wrt: Wrt = 0, *, probes: int | None = None, probe: Probe = "rademacher") -> Tensor:
    """Δf_c = Σ_d ∂²f_c/∂x_d² of the output's shape, ``[N]`` or ``[N, C]``, over all features of the input; over several inputs where ``wrt`` names them.

    model, inputs, wrt: as in `jacobian`.
    probes: None for the exact sum, along D directions; n for Hutchinson's estimate (1/n) Σ_k vₖᵀ H vₖ, along n, unbiased.
    probe: the v are random signs ("rademacher", the smaller variance), normal ("gaussian"), or n different axes, the same for all samples ("coordinates").

    One pass of the model carries all directions (Taylor arithmetic); a model with an operation that has no rule takes 1 + D or 1 + n backward passes per
    output. The page on higher orders says which operations have rules.

    >>> laplacian(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 3)).shape
    torch.Size([5, 1])
    """
    check_probes(probes, probe)
    with torch.inference_mode(False), torch.enable_grad():
        opened = _as_function(model, inputs, wrt)
        shapes = opened.shapes()
        return questions.answer(opened, questions.laplacian(shapes, opened.keys, probes_for(shapes, probes, probe)))[0]


@suggesting
@as_asked
def hessian_vector(model: nn.Module | Batch, inputs: Any, vector: Any, of: Of = "output", target: Any = None, wrt: Wrt = 0) -> Any:
    """H v ``[N, *input]`` with H = ∂²s/∂x² of each sample's own score s, by two backward passes; H itself is not formed.

    vector: v, of the shape of the input (of one sample: the same for all); a tuple where ``wrt`` names several inputs, and then so is the result.
    model, inputs, of, target, wrt: as in `output_and_gradient`; in a term ``hessian_vector(batch, None, v)``, on the batch's own target.

    >>> hessian_vector(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 3), torch.ones(3)).shape
    torch.Size([5, 3])
    """
    check_head(of)
    several = isinstance(wrt, (tuple, list))
    target = model.target if isinstance(model, Batch) else target
    with torch.inference_mode(False), torch.enable_grad():
        output, variables = opened_twice(model, inputs, wrt)
        vectors = differentiation.vectors(without_inference_tensors(vector if several else (vector,)), variables)
        scores = heads.Score(heads.resolve(of), output, without_inference_tensors(target))(output)
        if scores.dim() != 1:
            raise ValueError(f"hessian_vector needs one score per sample, and the head {of!r} gave {list(scores.shape)}; take one of them with of=")
        found = differentiation.along(differentiation.gradients(scores, variables, keys_of(wrt)), variables, vectors)
    return found if several else found[0]


def check_head(of: Of) -> None:
    if isinstance(of, str) and of == "loss":
        raise ValueError('of="loss" needs a base loss: ' + LOSS_AS_SCORE)


def opened(model: nn.Module | Batch, inputs: Any, wrt: Wrt) -> Opened:
    """Output and variables in one graph."""
    output, variables = _as_function(model, inputs, wrt).graph()
    return output, tuple(variables)


def opened_twice(model: nn.Module | Batch, inputs: Any, wrt: Wrt) -> Opened:
    """`opened`, for a second derivative in the variables. Raises `EngineError` where a custom Function of the model has cut that."""
    function = _as_function(model, inputs, wrt)
    output, variables = function.graph()
    check_second_input_derivative(function.forward)
    return output, tuple(variables)


def _as_function(model: nn.Module | Batch, inputs: Any, wrt: Wrt) -> questions.Opened:
    """The model as a function of the variables, not yet run."""
    if isinstance(model, Batch):
        _no_inputs(inputs)
        batch, (forward, keys) = model, model.differentiable_pass(wrt)
        return questions.Opened(keys, forward, lambda: batch.output_and_variables(wrt))
    forward, keys = _pass(model, inputs, wrt)
    return questions.Opened(keys, forward, _graph(forward, keys))


def _graph(forward: ForwardPass, keys: tuple[Key, ...]) -> Callable[[], Opened]:
    """What runs the model and gives its output and variables in one graph."""

    def graph() -> Opened:
        with torch.inference_mode(False), torch.enable_grad():
            here = forward.primal()
        return here.output, tuple(here.variables[key] for key in keys)

    return graph


def _pass(model: nn.Module, inputs: Any, wrt: Wrt) -> tuple[ForwardPass, tuple[Key, ...]]:
    """The model as a function of the variables."""
    check_model(model)
    _warn_if_coupled(model)
    given = ModelInputs.of(without_inference_tensors(inputs))
    keys = canonical(wrt, given, model)
    return ForwardPass(model, given, keys, one_output, RandomAndBufferState(model, given), PassOptions(whole=True, any_order=True)), keys


def _no_inputs(inputs: Any) -> None:
    if inputs is not None:
        raise TypeError("a batch has its inputs: leave inputs out where a batch stands in place of the model")


def _warn_if_coupled(model: nn.Module) -> None:
    if not isinstance(model, nn.Module) or "coupled points" in memory(model).warned:
        return
    for name, module in coupled_modules(model):
        memory(model).once("coupled points")
        warn(
            f"module {name!r} ({type(module).__name__}) couples the samples of a batch by its statistics, so a derivative at one point is that of the WHOLE "
            "batch's outputs. For each sample's own, use GroupNorm or LayerNorm, or put the module in evaluation mode"
        )
        return
