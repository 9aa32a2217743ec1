"""Mistakes that users make on the command line, in configs, data files and folders: each with what the one clear error says.

A mistake is a name, the arguments of ``inputgrad``, what stands in the message, and the files that are needed. Run in a folder of their own.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from typer.testing import CliRunner

from inputgrad.cli import app

GOOD = "data: digits\nmodel: {mlp: {hidden: [4]}}\nloss: cross_entropy\nepochs: 1\nthreads: 1\nmeasures: {epsilons: []}\n"
TABLE = "a,b,kind\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(20))


@dataclass(frozen=True)
class Mistake:
    """kind: for the table of the page; arguments: after ``inputgrad``; told: parts of the message; make: puts files into the folder."""

    kind: str
    name: str
    arguments: tuple[str, ...]
    told: tuple[str, ...]
    make: Callable[[Path], object] = field(default=lambda folder: None)


def tried(mistake: Mistake, folder: Path) -> list[str]:
    """What is wrong with the way in which the mistake was told: nothing, where it is one clear error and nothing was written."""
    mistake.make(folder)
    before = set(folder.rglob("*"))
    result = CliRunner().invoke(app, list(mistake.arguments))
    wrong = []
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        wrong.append(f"raised {type(result.exception).__name__}: {str(result.exception)[:200]}")
    if result.exit_code not in (1, 2):
        wrong.append(f"exit status {result.exit_code}")
    flat = " ".join(result.output.replace("│", " ").split())
    wrong += [f"does not say {part!r}" for part in mistake.told if part not in flat]
    if len(result.output) > 3000 or "Traceback" in result.output:
        wrong.append(f"says too much, {len(result.output)} letters")
    written = set(folder.rglob("*")) - before - {folder / "__pycache__"}
    if any(path.parent != folder / "__pycache__" for path in written):
        wrong.append(f"wrote {sorted(path.name for path in written)}")
    return [f"{line}; it said: {flat[:400]}" for line in wrong]


def files(**files: str | bytes) -> Callable[[Path], None]:
    """Files by name, a double underscore for the point."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return make


def in_config(kind: str, name: str, text: str, *told: str, **contents: str | bytes) -> Mistake:
    return Mistake(kind, name, ("train", "a.yaml", "--out", "out"), told, files(a__yaml=text, **contents))


def setting(kind: str, value: str, *told: str) -> Mistake:
    return Mistake(kind, f"--set {value[:40]}", ("train", "a.yaml", "--out", "out", "--set", value), told, files(a__yaml=GOOD))


def data_file(name: str, data: str, *told: str, make: Callable[[Path], object] = lambda folder: None, **contents: str | bytes) -> Mistake:
    def both(folder: Path) -> None:
        files(a__yaml=GOOD.replace("data: digits", f"data: {data}"), **contents)(folder)
        make(folder)

    return Mistake("data file", name, ("train", "a.yaml", "--out", "out"), told, both)


def own_code(name: str, line: str, body: str, *told: str) -> Mistake:
    key = line.split(":")[0]
    kept = "\n".join(old for old in GOOD.splitlines() if not old.startswith(f"{key}:") and not (key == "criterion" and old.startswith("loss:")))
    module = f"own_{crc32((name + line).encode())}"
    return in_config("code", name, f"{kept}\n{line.replace('MODULE', module)}\n", *told, **{f"{module}__py": body})


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + f"\ndata: *a{levels - 1}\n"


def npz(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "d.npz", **arrays)


def cut(share: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        np.savez(folder / "d.npz", x=np.zeros((64, 8)), y=np.arange(64) % 2)
        content = (folder / "d.npz").read_bytes()
        (folder / "d.npz").write_bytes(content[: int(len(content) * share)])

    return make


def encrypted(folder: Path) -> None:
    """The bit that says "encrypted" in both headers of each member."""
    np.savez(folder / "d.npz", x=np.zeros((8, 2)), y=np.arange(8) % 2)
    content = bytearray((folder / "d.npz").read_bytes())
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(sign)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(sign, at + 4)
    (folder / "d.npz").write_bytes(bytes(content))


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "d.npz", "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return make


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    """The bytes of one array; shape: what its header says instead."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    content = buffer.getvalue()
    if shape is not None:
        wanted = str(array.shape).encode()
        content = content.replace(wanted + b", }" + b" " * (len(shape) - len(wanted)), shape.encode() + b", }")
    return content


def foreign(name: str, file: str, content: Any, *told: str, finished: bool = False) -> Mistake:
    """A run, interrupted or finished, one of whose files was replaced. content: text, bytes, None for a folder, or what torch saves."""

    def make(folder: Path) -> None:
        files(a__yaml=GOOD)(folder)
        assert CliRunner().invoke(app, ["train", "a.yaml", "--out", "out"]).exit_code == 0
        run = folder / "out" / "a"
        if not finished:
            (run / "record.json").unlink()
        path = run / file
        changed = content(torch.load(run / "checkpoint.pt", weights_only=True)) if callable(content) else content
        path.unlink(missing_ok=True)
        if changed is None:
            path.mkdir()
        elif isinstance(changed, (str, bytes)):
            path.write_bytes(changed.encode() if isinstance(changed, str) else changed)
        else:
            torch.save(changed, path)

    return Mistake("files of a run", name, ("train", "a.yaml", "--out", "out"), told, make)


CSV = "{csv: {path: t.csv, target: kind, task: classification}}"
NPZ = "{npz: {path: d.npz, task: classification}}"
YES_NO = np.arange(8) % 2
