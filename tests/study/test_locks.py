"""One run, one writer: what a second command is told, what a killed one leaves behind, and readers who never find half a file."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from inputgrad.study import checkpoint, locks, writing
from inputgrad.study.problems import StudyError

HOLDER = """\
import sys, time
from pathlib import Path
from inputgrad.study import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_command_is_told_who_writes_there(trained, tmp_path):
    run = tmp_path / "out" / "run-0"
    with locks.held(run):
        status, told = trained({})
    assert status == 1
    assert f"run-0: another run is writing there: process {os.getpid()} on {socket.gethostname()}, since " in told
    assert "choose another --out" in told
    assert not (run / "settings.json").exists()
    assert trained({})[0] == 0
    assert sorted(path.name for path in run.iterdir()) == [".lock", "checkpoint.pt", "metrics.jsonl", "record.json", "settings.json"]


def test_two_commands_with_other_configs_share_one_folder(trained, tmp_path):
    with locks.held(tmp_path / "out" / "another"):
        assert trained({})[0] == 0


def test_a_finished_run_needs_no_lock(trained, tmp_path):
    assert trained({})[0] == 0
    with locks.held(tmp_path / "out" / "run-0"):
        assert trained({})[0] == 0


def test_the_lock_of_a_killed_process_is_free(trained, tmp_path):
    """It signs the file, which stays; the process's own lock does not."""
    run = tmp_path / "out" / "run-0"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyError, match=f"process {holder.pid} on"), locks.held(run):
            pass
        (run / f".checkpoint.pt.{holder.pid}-0{writing.SUFFIX}").write_text("half of it")
        holder.send_signal(signal.SIGKILL)
    assert json.loads((run / "writer.json").read_text())["process"] == holder.pid
    assert trained({})[0] == 0
    assert sorted(path.name for path in run.iterdir()) == [".lock", "checkpoint.pt", "metrics.jsonl", "record.json", "settings.json"]


WITHOUT_LOCKS = """\
import fcntl
def unknown(*arguments):
    raise OSError(37, "No locks available")
fcntl.flock = unknown
"""


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """A file stands for the lock, until its process is gone."""

    def unknown(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with subprocess.Popen([sys.executable, "-c", WITHOUT_LOCKS + HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyError, match=f"process {holder.pid} on"), locks.held(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with locks.held(tmp_path):
        assert json.loads((tmp_path / "writer.json").read_text())["process"] == os.getpid()


@pytest.mark.parametrize("number", range(1, 9))
def test_an_interruption_in_the_middle_of_a_checkpoint_stays_one(tmp_path, number):
    """torch closes its archive on the way out and complains of that: it was told as a disk that is full, with status 1."""

    class Interrupted(io.FileIO):
        written = 0

        def write(self, data):
            self.written += 1
            if self.written == number:
                raise KeyboardInterrupt
            return super().write(data)

    def write(beside):
        with Interrupted(beside, "wb") as file:
            torch.save({"model": torch.zeros(64, 64)}, file)

    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        writing.replaced(path, write)
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_readers_never_find_half_a_file(tmp_path):
    """Two writers of one checkpoint; with one name for what they write beside, one reader in eight found a broken file."""
    path, stop, failed = tmp_path / "checkpoint.pt", threading.Event(), []

    def write():
        while not stop.is_set():
            checkpoint.save({**dict.fromkeys(checkpoint.PARTS), "model": torch.zeros(64, 64)}, path)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(100):
        try:
            if path.exists():
                checkpoint.load(path)
        except StudyError as error:
            failed.append(error)
    stop.set()
    for writer in writers:
        writer.join()
    assert failed == []
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_equal_states_give_equal_bytes(tmp_path):
    state = {"model": torch.arange(5.0)}
    for name in ("a", "b"):
        checkpoint.save(state, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("taken", "taken is a file, not a folder"),
        ("taken/below", "taken is a file, not a folder"),
        ("x" * 300, "has more than 255 bytes or a NUL in its name"),
        ("é" * 200, "has more than 255 bytes or a NUL in its name"),
        ("a\0b", "has more than 255 bytes or a NUL in its name"),
        ("/proc/nothing/here", "could not be made"),
    ],
)
def test_an_out_that_cannot_be(trained, tmp_path, out, told):
    (tmp_path / "taken").write_text("mine")
    status, said = trained({}, out=tmp_path / out)
    assert (status, told in said) == (1, True), said
    assert "choose another --out" in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_in_which_nothing_can_be_made(trained, tmp_path, monkeypatch):
    plain = os.open

    def refusing(path, *arguments, **keywords):
        if Path(path).name == ".lock":
            raise PermissionError(13, "Permission denied")
        return plain(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refusing)
    status, said = trained({})
    assert (status, "run-0 cannot be written to (Permission denied)" in said) == (1, True)
