"""What the library has learnt about an object of the user's (a model, a criterion, a term), in one visible place.

Must not know the other rooms: each of them says what it keeps here, and under which condition it still holds.
"""

import weakref
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Memory:
    """What is known of one object. It dies with the object and is not copied with it.

    warned: the topics that one warning was given about.
    checked: what was checked and need not be checked again: keys that hold the form of the model (`passes.second_derivative`), so that a model which has
    changed is checked anew.
    engine: the form of the model, and the engine that "auto" took for it in place of double backward.
    scales: by purpose, the scale at which float16 gradients neither overflow nor vanish, and those that were too large.
    verified: by criterion, the forms of its steps in which the gradient was verified, with what they name by identity.
    compiled: by criterion, the compiled steps of this model.
    measured: what was measured at the first step, such as the precision of a pass, under the same keys as ``checked``.
    """

    warned: set[Hashable] = field(default_factory=set)
    checked: set[Hashable] = field(default_factory=set)
    engine: tuple[int, Any] | None = None
    scales: dict[str, float] = field(default_factory=dict)
    verified: "weakref.WeakKeyDictionary[Any, dict[Hashable, Any]]" = field(default_factory=weakref.WeakKeyDictionary)
    compiled: "weakref.WeakKeyDictionary[Any, Any]" = field(default_factory=weakref.WeakKeyDictionary)
    measured: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, topic: Hashable) -> bool:
        """Whether this is the first time that the topic comes up."""
        if topic in self.warned:
            return False
        self.warned.add(topic)
        return True

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """What is learnt inside is forgotten again, so that a warning still comes when the model is trained."""
        kept = {part.name: copy(getattr(self, part.name)) for part in fields(self)}
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(self, name, value)


_MEMORIES: dict[int, tuple["weakref.ref[Any]", Memory]] = {}
"""By identity, since not every object of the user's can be hashed; the reference tells when an address was given to another object."""


def memory(owner: Any) -> Memory:
    """The memory of ``owner``, any object that can be referenced weakly; made at the first call.

    >>> from torch import nn
    >>> model = nn.Linear(2, 1)
    >>> memory(model).once("greeting"), memory(model).once("greeting")
    (True, False)
    """
    key = id(owner)
    reference, known = _MEMORIES.get(key, (None, None))
    if known is None or reference is None or reference() is not owner:
        known = Memory()
        _MEMORIES[key] = (weakref.ref(owner, lambda gone: _forget(key, gone)), known)
    return known


def _forget(key: int, gone: "weakref.ref[Any]") -> None:
    if _MEMORIES.get(key, (None, None))[0] is gone:
        del _MEMORIES[key]
