"""Runs a user's script or module as Python would, watched: its arguments, `__main__`, path, output, exceptions and exit status are its own.

Knows no rule and no report.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from inputgrad.audit import notebook
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.probes.run_watcher import RunWatcher, StopWatching
from inputgrad.audit.torch_internals import is_dispatch_frame

INTERRUPTED = 130
_NOTEBOOK = ".ipynb"
_HERE = str(Path(__file__).parent) + os.sep


class NoScriptError(ValueError):
    """There is nothing to run under that name."""


@dataclass(frozen=True)
class Run:
    """What a watched run has shown. status: what `python` would have ended with, 0 where the audit ended it; error: what the script raised."""

    facts: Facts
    argv: tuple[str, ...]
    file: str
    status: int = 0
    error: BaseException | None = None


@dataclass(frozen=True)
class Main:
    """What is to be run, as `__main__`, with its arguments."""

    module: ModuleType
    argv: tuple[str, ...]

    def codes(self) -> Iterator[CodeType]:
        """What is to be executed, in order: the script, or the cells of a notebook."""
        file = Path(str(self.module.__file__))
        if self.module.__spec__ is None and file.suffix == _NOTEBOOK:
            return notebook.compiled(file)
        return iter([_code(self.module)])


def prepare(script: str, arguments: Sequence[str] = (), *, module: bool = False) -> Main:
    """Make ``script`` the process's `__main__`, with `sys.argv` and `sys.path` as `python` sets them.

    Raises `NoScriptError` where there is no such file or module."""
    main, argv = (_module if module else _file)(script, arguments)
    sys.argv[:] = argv
    sys.modules["__main__"] = main
    return Main(main, argv)


def run(main: Main, steps: int = 3, leave: Callable[[Run], None] | None = None) -> Run:
    """Run it until it ends, or until ``steps`` optimiser steps are made.

    The process is the script's from here on: what it set stays as it has it, so that what it registered with `atexit` finds it. What it raises is printed as
    Python prints it, and kept in the result. leave: ends the process with what was seen, where the script swallows its end.
    """
    if str(sys.excepthook.__module__).startswith("typer"):
        sys.excepthook = sys.__excepthook__  # the command line puts its own there
    file = str(main.module.__file__)
    watcher = RunWatcher(steps, stop=True, leave=None if leave is None else lambda: leave(Run(watcher.facts, main.argv, file)))
    status, error = 0, None
    try:
        with watcher:
            for code in main.codes():
                exec(code, main.module.__dict__)
    except BaseException as raised:  # everything that would end the process ends the script here
        status, error = _ended(raised, watcher.facts)
    finally:
        _flush()
    return Run(watcher.facts, main.argv, file, status, error)


def _file(script: str, arguments: Sequence[str]) -> tuple[ModuleType, tuple[str, ...]]:
    path = Path(script)
    if not path.is_file():
        hint = " is a folder; a package is run with -m NAME" if path.is_dir() else ": file not found"
        raise NoScriptError(f"{script}{hint}")
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(path.absolute()), __builtins__=builtins, __cached__=None, __spec__=None)
    if path.suffix == _NOTEBOOK:
        list(notebook.cells(path))  # whether it is one is known before anything runs
        main.__dict__["display"] = print
        sys.excepthook = traceback.print_exception  # Python's own opens files, and a cell is none
        sys.path[:1] = [str(path.resolve().parent)]
        os.chdir(path.resolve().parent)  # as Jupyter does
        return main, (path.name, *arguments)
    if not getattr(sys.flags, "safe_path", False):
        sys.path[:1] = [str(path.resolve().parent)]
    return main, (script, *arguments)


def _module(name: str, arguments: Sequence[str]) -> tuple[ModuleType, tuple[str, ...]]:
    if not getattr(sys.flags, "safe_path", False):
        sys.path[:1] = [str(Path.cwd())]
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as error:
        raise NoScriptError(f"-m {name}: {error}") from error
    if spec is None or spec.loader is None or spec.origin is None or not hasattr(spec.loader, "get_code"):
        raise NoScriptError(f"-m {name}: there is no such module, or it is a package without __main__.py")
    main = ModuleType("__main__")
    main.__dict__.update(__file__=spec.origin, __builtins__=builtins, __cached__=spec.cached, __spec__=spec, __loader__=spec.loader, __package__=spec.parent)
    return main, (spec.origin, *arguments)


def _code(main: ModuleType) -> CodeType:
    if main.__spec__ is not None:
        loader: Any = main.__spec__.loader
        return loader.get_code(main.__spec__.name)
    with io.open_code(str(main.__file__)) as file:
        return compile(file.read(), str(main.__file__), "exec", dont_inherit=True)


def _ended(raised: BaseException, facts: Facts) -> tuple[int, BaseException | None]:
    """The exit status, and the exception if it is the script's own; what Python would have printed is printed."""
    if facts.ended_early and any(isinstance(link, StopWatching) for link in _chain(raised)):
        facts.failure = None
        return 0, None
    if isinstance(raised, SystemExit):
        facts.failure = None
        if raised.code is None or isinstance(raised.code, int):
            return (raised.code or 0) & 0xFF, None
        _flush()
        print(raised.code, file=sys.stderr)
        return 1, None
    for link in _chain(raised):
        link.__traceback__ = _theirs(link.__traceback__)
    _flush()
    try:
        sys.excepthook(type(raised), raised, raised.__traceback__)
    except BaseException:
        traceback.print_exception(raised)
    return (INTERRUPTED if isinstance(raised, KeyboardInterrupt) else 1), raised


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception and those that it came from."""
    links: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and all(link is not known for known in links):
            links.append(link)
            waiting += [link.__cause__, link.__context__]
    return links


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the audit's frames, and without those by which torch came to it."""
    links: list[TracebackType] = []
    while trace is not None:
        name, function = trace.tb_frame.f_code.co_filename, trace.tb_frame.f_code.co_name
        if is_dispatch_frame(name, function):
            del links[-1:]  # the function of torch that asked for it stands again behind
        elif not name.startswith(_HERE):
            links.append(trace)
        trace = trace.tb_next
    following: TracebackType | None = None
    for link in reversed(links):
        following = TracebackType(following, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return following


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # closed, or replaced by something that has no such thing
            continue
