"""Several processes of one launcher: each writes its report, the first speaks for all, and a SIGTERM of the launcher loses none."""

import signal
import tempfile

import pytest

from inputgrad.audit.launcher import Launched, Word
from tests.audit.audit_runs import Here, signal_kept, write


@pytest.fixture
def here(monkeypatch, capfd, tmp_path):
    write(tmp_path)
    return Here(monkeypatch, capfd, tmp_path)


def test_processes_beside_the_first_write_and_say_nothing(here, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    done = here(steps=1, report="audit.html", format="json", output="found.json")
    assert (done.status, done.err) == (0, "")
    assert "IG101" in (tmp_path / "audit.rank1.html").read_text()
    assert "IG101" in (tmp_path / "found.rank1.json").read_text()
    assert not (tmp_path / "audit.html").exists()


def test_the_first_process_speaks_for_the_others(here, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    first = Launched.by_environment()
    assert (first.rank, first.others) == (0, 2)
    words = [Word(1, "", False), Word(2, "1 error in 3 steps, elsewhere", True)]
    monkeypatch.setattr(Launched, "words", lambda _, patience=0.0: words)
    done = here(steps=1, report="", select=("IG103",))
    assert done.status == 1
    assert "process of rank 2: 1 error in 3 steps, elsewhere" in " ".join(done.err.split())
    assert "rank 1" not in done.err
    monkeypatch.undo()


def test_words_of_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = Launched(0, 1), Launched(1, 0)
    second.leave(Word(1, "too early", True))
    assert list(tmp_path.iterdir()) == []
    with signal_kept():
        first.begin()
        second.leave(Word(1, "said", True))
        assert first.words() == [Word(1, "said", True)]
        second.leave(Word(1, "too late", True))
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
