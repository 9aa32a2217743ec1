"""One thread for the core's tests: their models are small, and threads that wait for each other are most of their time."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inputgrad.step.plain_step import PlainStep


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became of each plain step that was begun: "made", or the error that sent it the full way."""
    found: list[str] = []
    run = PlainStep.run

    def noted(step: PlainStep, *args: Any, **kwargs: Any) -> None:
        try:
            run(step, *args, **kwargs)
        except BaseException as error:
            found.append(type(error).__name__)
            raise
        found.append("made")

    monkeypatch.setattr(PlainStep, "run", noted)
    return found
