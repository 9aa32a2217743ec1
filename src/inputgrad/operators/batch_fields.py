"""The field of a batch: what terms differentiate by name. Knows what a batch offers; knows no engine and no term."""

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.identity import check_hashable
from inputgrad.operators.coordinates import Names, names_or_none
from inputgrad.operators.fields import Field, make_field, names_by_keys
from inputgrad.operators.taylor.field_source import FieldSource
from inputgrad.places.base import Place
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, keys_of


def field_of_batch(
    batch: Batch, names: Names | None = None, wrt: Wrt | None = None, outputs: Names | None = None, at: Place | None = None, asker: Hashable = None
) -> Field:
    """The field of a batch's model at the batch's inputs or at a place, on the step's own dropout masks; the same for every term that asks alike.

    asker: what tells this use of a field from others of the same model, such as the equation.
    """
    check_hashable("at", at)
    inputs = batch.inputs
    given = None if isinstance(inputs, Tensor) else tuple(inputs) if isinstance(inputs, Mapping) else len(inputs)
    try:
        asked = batch.known(("field", given, wrt, names, outputs), lambda: _asked(batch, names, wrt, outputs))
    except TypeError:  # lists
        asked = _asked(batch, names, wrt, outputs)
    keys, called, parts = asked

    def made() -> Field:
        kind = ("batch", keys, type(at), called, parts, asker)
        return make_field(FieldSource(keys, lambda: batch.output_and_variables(keys, at), batch.differentiable_pass(keys, at)[0], kind), called, parts)

    field: Field = batch.once(("field", asked, at), made)
    return field


def _asked(batch: Batch, names: Names | None, wrt: Wrt | None, outputs: Names | None) -> tuple[Any, ...]:
    """The variables in the form that passes use, the names of the coordinates and of the outputs."""
    named = keys_of(wrt) if wrt is not None else all_keys(batch.inputs)
    names = names_by_keys(named) if names is None and all(isinstance(key, str) for key in named) else names
    keys = canonical(named, ModelInputs.of(batch.inputs), batch.model)
    return keys, names_or_none("names", names), names_or_none("outputs", outputs)


def all_keys(inputs: Any) -> tuple[Key, ...]:
    """Every input of a call."""
    return tuple(ModelInputs.of(inputs).values())
