"""Settings made of signatures: the fields of a frozen dataclass, or the keywords of a class, as a pydantic model that forbids anything else.

So what can be written in a config follows from the classes of the library, and from them alone. Knows no term, data set or model by name.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, get_args

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator, model_serializer, model_validator

from inputgrad.errors import nearest
from inputgrad.study.imports import NotLoadedError, check_form, load, load_callable, nothing_imported


@dataclass(frozen=True)
class Code:
    """Marks a setting that names an object of the user's own, and says how it is loaded. Reading a config looks at the name's form alone."""

    load: Callable[[str], Any]

    @staticmethod
    def form(reference: str, info: ValidationInfo) -> str:
        check_form(reference)
        if (info.context or {}).get("code") is False:
            raise ValueError(f"{reference!r} names code, which --no-code refuses: built-in names only")
        return reference


Reference = Annotated[str, AfterValidator(Code.form), Code(load)]
"""``package.module:name`` of an object of the user's own."""
CallableReference = Annotated[str, AfterValidator(Code.form), Code(load_callable)]


class NeedsDataError(Exception):
    """Raised while something is made before the data are there: it cannot be checked yet."""


def _takes(kind: Any, *parts: Any) -> bool:
    """Whether one of these types is part of an annotation."""
    return kind in parts or any(_takes(part, *parts) for part in get_args(kind) if not isinstance(part, (str, int, float)))


class Settings(BaseModel):
    """The settings of one thing. `make` gives the thing itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True)
    made_of: ClassVar[Callable[..., Any] | None] = None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True counts as 1 to Python; in a config it stands there by mistake."""
        told = [item for item in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(item, bool)]
        kind = cls.model_fields[info.field_name].annotation if told and info.field_name else None
        if kind is not None and _takes(kind, int, float) and not _takes(kind, bool, Any):
            raise ValueError(f"got {str(told[0]).lower()}, expected a number")
        return value

    def make(self, data: Any = None) -> Any:
        """The object that these settings describe. data: the data set, for what is made of it; None while a config is only checked.

        Raises `NeedsDataError` where it cannot be made without data, and whatever the object's own constructor raises.
        """
        if self.made_of is None:
            raise TypeError(f"{type(self).__name__} makes nothing")
        return type(self).made_of(**self.arguments(data))  # type: ignore[misc]  # not None, as was just seen

    def arguments(self, data: Any) -> dict[str, Any]:
        return {name: _made(getattr(self, name), data) for name in type(self).model_fields}


class Checked(Settings):
    """Settings whose object checks them itself: made once while the config is read, so that its complaint is told with the others."""

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        try:
            with nothing_imported():
                self.make(None)
        except (NeedsDataError, NotLoadedError):
            pass
        except (TypeError, RuntimeError, OverflowError, ArithmeticError) as error:
            raise ValueError(str(error)) from error
        return self


class Nothing(Settings):
    """No settings: the name says it all."""


class OneOf(Settings):
    """A thing by name: one optional field a kind, of which exactly one is given. Written ``name``, or ``{name: {setting: value}}``."""

    shorthand: ClassVar[str | None] = None
    """The kind that a ``"package.module:name"`` is short for."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {cls.shorthand: {"callable": value}} if ":" in value and cls.shorthand else {value: {}}
        if isinstance(value, Mapping):
            return {name: {} if settings is None else settings for name, settings in value.items()}
        if isinstance(value, BaseModel):
            return value
        raise ValueError(f"expected a name, or a name with settings {{name: {{setting: value}}}}; got {value!r}; {nearest(value, cls.model_fields)}")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one name, got {given or 'none'}; {nearest('', type(self).model_fields)}")
        return self

    @property
    def chosen(self) -> str:
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def settings(self) -> Settings:
        settings: Settings = getattr(self, self.chosen)
        return settings

    def make(self, data: Any = None) -> Any:
        return self.chosen if isinstance(self.settings, Nothing) else self.settings.make(data)

    @model_serializer(mode="plain")
    def _as_written(self) -> Any:
        settings = self.settings.model_dump(exclude_none=True)
        return {self.chosen: settings} if settings else self.chosen


def code_in(settings: BaseModel, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, Code]]:
    """Every name of code below ``settings``: its keys, the name, and how it is loaded."""
    for name, info in type(settings).model_fields.items():
        value, marks = getattr(settings, name), [mark for mark in info.metadata if isinstance(mark, Code)]
        if marks and isinstance(value, str):
            yield (*keys, name), value, marks[0]
        for position, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(item, BaseModel):
                yield from code_in(item, (*keys, name) if position is None else (*keys, name, position))


def one_of(name: str, kinds: Mapping[str, type[Settings]], shorthand: str | None = None) -> type[OneOf]:
    """A `OneOf` of these kinds."""
    base = type(name, (OneOf,), {"shorthand": shorthand, "__module__": __name__})
    fields: dict[str, Any] = {kind: (settings | None, None) for kind, settings in kinds.items()}
    return create_model(name, __base__=base, __module__=__name__, **fields)


def of_dataclass(cls: type, annotations: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> type[Settings]:
    """Settings with the fields of the dataclass ``cls``. annotations: field -> the type that a config has for it.

    extra: further fields ``{name: (type, default)}``, which a subclass of the settings uses itself.
    """
    fields: dict[str, Any] = dict(extra or {})
    for item in dataclasses.fields(cls):
        default: Any = ... if item.default is dataclasses.MISSING else item.default
        if item.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=item.default_factory)
        fields[item.name] = (annotations[item.name], default)
    return _settings(cls, fields)


def of_keywords(cls: type) -> type[Settings]:
    """Settings with the keywords of ``cls`` that are numbers, switches or words; keywords for tensors (class weights) take a list of numbers."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if type(parameter.default) in (bool, int, float, str):
            fields[name] = (type(parameter.default), parameter.default)
        elif name in ("weight", "pos_weight"):
            fields[name] = (list[float] | None, None)
    return _settings(cls, fields)


def of_function(function: Callable[..., Any], annotations: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> type[Settings]:
    """Settings with the arguments of ``function``, which makes the thing. annotations, extra: as in `of_dataclass`."""
    fields: dict[str, Any] = dict(extra or {})
    for name, parameter in inspect.signature(function).parameters.items():
        fields[name] = (annotations[name], ... if parameter.default is parameter.empty else parameter.default)
    return _settings(function, fields)


def _settings(cls: Callable[..., Any], fields: dict[str, Any]) -> type[Settings]:
    base = type(cls.__name__, (Checked,), {"made_of": staticmethod(cls), "__module__": __name__, "__doc__": cls.__doc__, "__annotations__": {}})
    return create_model(cls.__name__, __base__=base, __module__=__name__, **fields)


def _made(value: Any, data: Any) -> Any:
    if isinstance(value, Settings):
        return value.make(data)
    if isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        return torch.tensor(value)
    return value
