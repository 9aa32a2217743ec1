"""Signs of life of a compilation: none for a short one but to who listens, a line after some seconds."""

import logging
import time

import pytest

from inputgrad.tracing import progress


def test_a_short_compilation_is_told_of_to_who_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inputgrad"), progress.told("a step of Net"):
        pass
    assert [record.message.split(" in ")[0] for record in caplog.records] == ["compiling a step of Net", "compiled a step of Net"]
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_a_long_one_is_told_of_again_and_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.01)
    monkeypatch.setattr(progress, "NEXT", 0.01)
    with progress.told("a step of Net"):
        while len(caplog.records) < 2:
            time.sleep(0.01)
    assert all(record.levelno == logging.WARNING and "still compiling a step of Net" in record.message for record in caplog.records[:2])
    told = len(caplog.records)
    time.sleep(0.1)
    assert len(caplog.records) <= told + 1


def test_an_error_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inputgrad"), pytest.raises(ValueError, match="no compiler"), progress.told("a step of Net"):
        raise ValueError("no compiler")
    assert [record.message for record in caplog.records] == ["compiling a step of Net"]
