"""What is said of a model before it is trained: which engine supports it, how well, at what cost, and what stands in the way of the others.

Pure records and their text; the work is done in `survey`.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

WIDTH = 120
Works = Literal["exactly", "approximately", "doubtful", "wrong", "not supported", "not tried"]


@dataclass(frozen=True)
class Verdict:
    """One engine for one criterion, model and batch.

    works: "exactly", "approximately", "not supported", "not tried" (``compiled``, which takes long), or "doubtful": an exact engine that gives another gradient
    than the first exact one does, where neither could be verified; "wrong": its gradient is not the derivative of the value.
    reason: why it does not work, was not tried or is doubtful, in one line; None where it works.
    needs, passes, memory: what the engine asks of a model and what a step costs by arithmetic, in words.
    difference: how far the parameter gradient of the terms, formed by themselves, is from that of the best exact engine that works, relative.
    misfit: how far that gradient is from the change of the terms' value when the parameters move, relative; None where this could not be verified, for the
    reason in ``unverified``.
    time: seconds of one step (base loss and terms) on this batch, divided by those of the plain step (base loss alone). A single shot.
    """

    engine: str
    works: Works
    reason: str | None = None
    needs: str = ""
    passes: str = ""
    memory: str = ""
    difference: float | None = None
    time: float | None = None
    misfit: float | None = None
    unverified: str = ""

    @property
    def supported(self) -> bool:
        """Whether the engine was tried and gave a gradient."""
        return self.works in ("exactly", "approximately", "doubtful")


@dataclass(frozen=True)
class Explanation:
    """What `InputGradientLoss.explain` returns: a verdict on every engine, and which one this criterion takes. Printed, it is a table.

    engine: what the criterion was given; taken: the engine that runs, None where none works; why: in words.
    reference: the engine whose gradient the others are compared with; None where no exact one works.
    plain_seconds: one plain step on this batch: the base loss alone, without terms; plain_step: that in words.
    warnings: what was warned of meanwhile, by torch or by the model.
    """

    model: str
    engine: str
    taken: str | None
    why: str
    verdicts: tuple[Verdict, ...]
    reference: str | None
    plain_seconds: float | None
    warnings: tuple[str, ...] = ()
    plain_step: str = "base loss alone"

    @property
    def ok(self) -> bool:
        """Whether some exact engine works."""
        return any(verdict.works == "exactly" for verdict in self.verdicts)

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, engine: str) -> Verdict:
        """The verdict on the engine of this name. Raises `KeyError` for another name."""
        for verdict in self.verdicts:
            if verdict.engine == engine:
                return verdict
        raise KeyError(f"{engine!r}: this explanation knows {', '.join(verdict.engine for verdict in self.verdicts)}")

    def __str__(self) -> str:
        told = [f"{verdict.engine}: {verdict.reason}" for verdict in self.verdicts if verdict.reason and verdict.engine != "auto"]
        told += self.unverified()
        return "\n".join([*self.heading(), "", *self.table(), "", *_bullets([*told, *_warned(self.warnings)])]).rstrip()

    def unverified(self) -> list[str]:
        """Why the gradient of an engine that works could not be verified, one line an engine."""
        return [f"{verdict.engine}: not verified: {verdict.unverified}" for verdict in self.verdicts if verdict.unverified and verdict.engine != "auto"]

    def heading(self) -> list[str]:
        """Which engine is taken, and why."""
        takes = f"takes {self.taken!r}" if self.taken and self.taken != self.engine else "runs" if self.taken else "does not work"
        return _wrapped(f"{self.model}: engine={self.engine!r} {takes}: {self.why}")

    def table(self) -> list[str]:
        """One row an engine, with what it costs below."""
        head = ("engine", "works", "error", "misfit", "time", "needs")
        rows = [
            (
                ("► " if verdict.engine == self.taken else "  ") + verdict.engine,
                verdict.works,
                _error(verdict, self.reference),
                _misfit(verdict),
                _time(verdict),
                verdict.needs,
            )
            for verdict in self.verdicts
            if verdict.engine != "auto"  # the heading tells
        ]
        lines = list(_columns([("  " + head[0], *head[1:]), *rows]))
        costs = [
            f"{verdict.engine}: {verdict.passes}. Keeps {verdict.memory}"
            for verdict in self.verdicts
            if verdict.supported and verdict.engine != "auto" and verdict.passes
        ]
        legend = [*_wrapped(self._legend()), *_bullets(costs)] if costs else []
        return [lines[0], "─" * max(map(len, lines)), *lines[1:], "", *legend]

    def _marked(self, verdict: Verdict) -> str:
        return ("► " if verdict.engine == self.taken else "  ") + verdict.engine

    def _legend(self) -> str:
        against = f"against {self.reference!r}" if self.reference else "not known, since no exact engine works"
        plain = f", which took {self.plain_seconds * 1000:.3g} ms" if self.plain_seconds is not None else ""
        return (
            f"error: of the terms' own parameter gradient, relative, {against}. misfit: of that gradient against the change of the terms' value. "
            f"time: one step on this batch, in plain steps ({self.plain_step}{plain}); "
            "a single shot, so only its order counts. By arithmetic:"
        )


@dataclass(frozen=True)
class Finding:
    """Something about the model that you should know before you train it with an input gradient.

    what: its kind, in two or three words; text: where and how; way_out: what to do, empty where nothing need be done.
    hinders: the engines that it prevents from working.
    """

    what: str
    text: str
    way_out: str = ""
    hinders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validation:
    """What `inputgrad.validate` returns: findings, and the table of engines. True where some exact engine works; printed, a page."""

    findings: tuple[Finding, ...]
    explanation: Explanation

    @property
    def ok(self) -> bool:
        """Whether some exact engine works."""
        return self.explanation.ok

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        count = len(self.findings)
        lines = [*self.explanation.heading(), "", "nothing stands in the way" if not count else f"{count} finding{'s' * (count > 1)}"]
        for finding in self.findings:
            lines += _bullets([f"{finding.what}: {finding.text}"])
            lines += _wrapped(f"way out: {finding.way_out}", "    ") if finding.way_out else []
        told = [*self.explanation.unverified(), *_warned(self.explanation.warnings)]
        return "\n".join([*lines, "", *self.explanation.table(), *_bullets(told)]).rstrip()


def one_line(text: str) -> str:
    """The text without line breaks and without characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def _error(verdict: Verdict, reference: str | None) -> str:
    if verdict.difference is None:
        return "-"
    return "reference" if verdict.engine == reference else f"{verdict.difference:.0e}"


def _misfit(verdict: Verdict) -> str:
    return "-" if verdict.misfit is None else f"{verdict.misfit:.0e}"


def _time(verdict: Verdict) -> str:
    return "-" if verdict.time is None else f"{verdict.time:.1f}x"


def _warned(warnings: Sequence[str]) -> list[str]:
    return [f"warned meanwhile: {text}" for text in warnings]


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Aligned cells; the last column is broken where the line would be too long."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    room = WIDTH - sum(widths) - 2 * len(widths)
    for *cells, last in rows:
        first, *others = textwrap.wrap(last, max(room, 20)) or [""]
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), first]).rstrip()
        yield from (" " * (WIDTH - room) + other for other in others)


def _bullets(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in _wrapped(text, "    ", "  - ")]


def _wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return textwrap.wrap(one_line(text), WIDTH, initial_indent=indent if first is None else first, subsequent_indent=indent)
