"""Findings that do not count: comments ``# inputgrad: ignore[IG101] why`` in the code, and a baseline file. Knows no rule.

A comment speaks for the statement it stands on, or for the one below where it stands alone. The baseline knows a finding by its code, its file and what the
line says, so that it outlives changes elsewhere in the file.
"""

import ast
import io
import json
import linecache
import os
import re
import tokenize
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inputgrad.audit.finding import Finding

_COMMENT = re.compile(r"#\s*inputgrad:\s*ignore\b(?:\[(?P<codes>[^\]]*)\])?(?P<reason>.*)")
_VERSION = 1


class BaselineError(ValueError):
    """The baseline file is missing or is none."""


@dataclass(eq=False)
class IgnoreComment:
    """One comment. codes: empty where it names none and means all; lines: of the statement that it speaks for."""

    file: str
    line: int
    codes: tuple[str, ...]
    reason: str
    lines: range
    used: set[str] = field(default_factory=set)

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks for the finding's line; one that names the code also for the other lines that the finding names (the term, the loss)."""
        if self.codes and finding.code not in self.codes:
            return False
        sites = (finding.site, *finding.related) if self.codes else (finding.site,)
        return any(site.file == self.file and site.line in self.lines for site in sites)


def comments(file: str) -> list[IgnoreComment]:
    """The comments of one file; none where it cannot be read as Python."""
    text = "".join(linecache.getlines(file))
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
        tree = ast.parse(text) if tokens else ast.Module([], [])
    except (SyntaxError, tokenize.TokenError, ValueError):
        return []
    ignored = []
    for token in tokens:
        match = _COMMENT.search(token.string)
        if match is None:
            continue
        line, alone = token.start[0], token.line.strip().startswith("#")
        codes = tuple(code for code in re.split(r"[\s,]+", match["codes"] or "") if code)
        ignored.append(IgnoreComment(file, line, codes, match["reason"].strip(" \t:-–—"), _statement(tree, line, alone)))
    return ignored


def _statement(tree: ast.AST, line: int, alone: bool) -> range:
    """The lines of the statement that a comment speaks for; of a compound one its head alone."""
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            parts = list(ast.iter_child_nodes(node))
            compound = any(isinstance(part, ast.stmt) for part in parts)
            head = [part for part in parts if not isinstance(part, (ast.stmt, ast.excepthandler, ast.match_case))]
            ends = [getattr(inner, "end_lineno", None) or 0 for part in head for inner in ast.walk(part)]
            last = max([node.lineno, *ends]) if compound else node.end_lineno or node.lineno
            spans.append(range(node.lineno, last + 1))
    around = [span for span in spans if line in span]
    if not around and alone:
        below = min((span.start for span in spans if span.start > line), default=line)
        around = [span for span in spans if span.start == below]
    return min(around, key=len, default=range(line, line + 1))


class IgnoreComments:
    """All comments of some files, and which of them did anything."""

    def __init__(self, files: Iterable[str]) -> None:
        self.all = [ignore for file in sorted(set(files)) for ignore in comments(file)]

    def take(self, finding: Finding) -> IgnoreComment | None:
        """The comment that speaks for this finding."""
        for ignore in self.all:
            if ignore.covers(finding):
                ignore.used.add(finding.code)
                return ignore
        return None

    def idle(self, left_out: Collection[str] = ()) -> list[tuple[IgnoreComment, tuple[str, ...]]]:
        """Comments that ignored nothing, each with its idle codes; codes that the run was not asked for (``left_out``) do not count."""
        idle = []
        for ignore in self.all:
            codes = tuple(code for code in ignore.codes if code not in ignore.used and code not in left_out)
            if codes or (not ignore.codes and not ignore.used and not left_out):
                idle.append((ignore, codes))
        return idle


class Baseline:
    """Findings that were there before. Each entry forgives as many findings as it counted."""

    def __init__(self, entries: Counter[tuple[str, str, str]], folder: Path) -> None:
        self._left, self._folder = Counter(entries), folder

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Raises `BaselineError` where the file is missing or is not a baseline."""
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
            if data["version"] != _VERSION:
                raise BaselineError(f"{path}: a baseline of version {data['version']!r}, expected {_VERSION}; write it again with --write-baseline {path}")
            entries = Counter({(item["code"], item["file"], item["line"]): int(item["count"]) for item in data["findings"]})
        except FileNotFoundError as error:
            raise BaselineError(f"{path}: there is not a baseline; write one with --write-baseline {path}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, BaselineError):
                raise
            raise BaselineError(f"{path} is not a baseline ({type(error).__name__}: {error}); write one with --write-baseline {path}") from error
        return cls(entries, path.absolute().parent)

    def take(self, finding: Finding) -> bool:
        """Whether the baseline has this finding, which is then used up."""
        key = _entry(finding, self._folder)
        if self._left[key] <= 0:
            return False
        self._left[key] -= 1
        return True

    @property
    def stale(self) -> int:
        """How many entries no finding has used."""
        return sum(count for count in self._left.values() if count > 0)


def write_baseline(path: Path, findings: Iterable[Finding]) -> None:
    """The findings as a baseline file, sorted, so that a change of it reads well."""
    entries = Counter(_entry(finding, path.absolute().parent) for finding in findings)
    listed = [{"code": code, "file": file, "line": line, "count": count} for (code, file, line), count in sorted(entries.items())]
    path.write_text(json.dumps({"version": _VERSION, "findings": listed}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _entry(finding: Finding, folder: Path) -> tuple[str, str, str]:
    try:
        file = Path(os.path.relpath(finding.site.file, folder)).as_posix()
    except ValueError:  # on another drive
        file = Path(finding.site.file).as_posix()
    return finding.code, file, " ".join(finding.site.code.split())
