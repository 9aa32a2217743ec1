"""The recorder that all probes write to: the facts so far, what is followed, and which step the run is in. Knows no probe and patches nothing."""

import threading
from collections.abc import Callable
from typing import Any

from inputgrad.audit.call_sites import Site, here
from inputgrad.audit.observations.run_facts import Event, Facts
from inputgrad.audit.probes.data_writes import DataWriteTracker
from inputgrad.audit.probes.gradient_ownership import GradientOwnership
from inputgrad.audit.probes.provenance import ProvenanceTracker
from inputgrad.audit.probes.random_interpolation import InterpolationTracker


class Recorder:
    """One run: its facts, the trackers that follow its tensors, and the state that the probes share."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.provenance = ProvenanceTracker()
        self.ownership = GradientOwnership()
        self.interpolation = InterpolationTracker()
        self.data_writes = DataWriteTracker()
        self.losses_of_criteria: dict[int, dict[str, Any]] = {}
        """The number of the node that a criterion's loss stands on -> what is recorded of the call, while no backward pass has gone through it."""
        self.active = False
        """Whether the run is watched at present: from the first moment of the block to the last step that counts."""
        self._thread = threading.get_ident()
        self.stepping = False
        """Whether an optimiser is at work: what it does itself is not followed, its closure is."""
        self.pause: Callable[[bool], None] = lambda _paused: None
        """Takes the function mode away while nothing of the user's own runs, and puts it back: each call through it costs."""
        self.step = 0
        """The number of the present step: how many the busiest optimiser has made."""
        self.scale = 1.0
        """What a GradScaler last multiplied a loss by."""

    @property
    def watching(self) -> bool:
        """Whether the run is watched, and this is the thread that it began in: other threads are left alone."""
        return self.active and threading.get_ident() == self._thread

    def resume(self) -> None:
        """The user's own code is at work again."""
        self.stepping = False
        self.pause(False)

    def event(self, name: str, site: Site | None = None, **detail: Any) -> None:
        """Note something that one rule or another wants to know of."""
        self.facts.events.append(Event(name, site or here(), self.step, detail))
