"""The command: runs the script, prints the findings, writes the reports, and chooses the exit status. Knows no rule and no probe."""

import atexit
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inputgrad.audit import launcher
from inputgrad.audit.launcher import Launched, Word
from inputgrad.audit.results import AuditResult, RuleSelection, make_record, split_codes
from inputgrad.audit.script_runner import INTERRUPTED, Run, prepare, run
from inputgrad.audit.suppressions import Baseline, write_baseline
from inputgrad.report import EXTRA, audit_json, audit_sarif, audit_text
from inputgrad.report.audit_record import AuditRecord, closing
from inputgrad.report.plain_text import in_encoding, record_in

PAGE = Path("audit.html")
FOUND, USAGE = 1, 2
_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold blue", "place": "bold", "code": "cyan", "quiet": "dim"}


@dataclass(frozen=True)
class Options:
    """What the command line asked for. report: where the HTML page goes; None: audit.html beside the text; "": nowhere."""

    steps: int = 3
    format: str = "text"
    output: str | None = None
    report: str | None = None
    fail_on: str = "error"
    baseline: Path | None = None
    write_baseline: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    """Options of ours that stood behind the script's name."""


def audit(script: str, arguments: Sequence[str], options: Options, *, module: bool = False, at_exit: bool = True) -> int:
    """Audit one script. The exit status: 1 where a finding at or above ``fail_on`` counts, 2 where the arguments cannot be meant, else the script's.

    at_exit: whether the reports are written when the process ends, after what the script has registered with `atexit`; else at once.
    """
    folder, launched = Path.cwd(), Launched.by_environment()
    try:
        selection = RuleSelection(split_codes(options.select), split_codes(options.ignore))
        baseline = Baseline.read(options.baseline) if options.baseline is not None else None
        places = _ReportPlaces(options, launched.rank)
        main = prepare(script, arguments, module=module)
    except (ValueError, ImportError) as error:
        extra = f": {EXTRA}" if isinstance(error, ImportError) and "inputgrad[train]" not in str(error) else ""
        print(in_encoding(f"inputgrad audit: {error}{extra}", _encoding(sys.stderr)), file=sys.stderr)
        return USAGE
    if at_exit:
        atexit.register(places.write)  # before the script registers its own, which then come first
    result = _Judgement(options, selection, baseline, folder, places, launched)
    launched.begin()

    def leave(watched: Run) -> None:
        status = result.of(watched)
        if at_exit:
            atexit._run_exitfuncs()
        else:
            places.write()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)

    status = result.of(run(main, options.steps, leave))
    if not at_exit:
        places.write()
    return status


@dataclass(frozen=True)
class _Judgement:
    """What a run comes to: the record for the reports, the baseline where one is to be written, and the exit status."""

    options: Options
    selection: RuleSelection
    baseline: Baseline | None
    folder: Path
    places: "_ReportPlaces"
    launched: Launched

    def of(self, watched: Run) -> int:
        """Hand the record to the reports; the exit status."""
        options = self.options
        result = AuditResult(watched.facts, self.selection, self.folder, file=watched.file, baseline=self.baseline)
        if options.write_baseline is not None:
            path = self.folder / options.write_baseline
            write_baseline(path, result.kept)
            result = AuditResult(watched.facts, self.selection, self.folder, file=watched.file, baseline=Baseline.read(path))
        if not self.launched.alone:
            launcher.outlive_the_launcher()
        words = self.launched.words() if watched.error is None else self.launched.words(launcher.HASTE)
        audited = make_record(watched, result, options.steps, _misread(watched.file, options.late))
        own = closing(audited)
        told = [f"process of rank {word.rank}: {word.said}; its report has rank{word.rank} in its name" for word in words if word.said not in ("", own)]
        self.places.record = audited = replace(audited, notes=(*audited.notes, *told))
        found = audited.reaches(options.fail_on)
        if self.launched.rank:  # the first process says what was found: a launcher tells each one that fails
            self.launched.leave(Word(self.launched.rank, own if audited.standing or audited.raised else "", found))
            return watched.status
        if watched.status == INTERRUPTED:
            return watched.status
        return FOUND if found or any(word.fails for word in words) else watched.status


class _ReportPlaces:
    """Where the reports go: fixed before the script runs, which may change the working directory and the streams."""

    def __init__(self, options: Options, rank: int) -> None:
        self._rank = rank
        self._format, self._page_named = options.format, options.report is not None
        self._output = Path(options.output).absolute() if options.output not in (None, "-") else None
        self._to_stdout = options.output == "-" or (options.output is None and options.format != "text")
        wanted = str(PAGE) if options.report is None and options.format == "text" else options.report
        self._shown, self._page = wanted or "", Path(wanted).absolute() if wanted else None
        if rank:
            self._output, self._page = (path and path.with_name(f"{path.stem}.rank{rank}{path.suffix}") for path in (self._output, self._page))
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self.record: AuditRecord | None = None
        self._check()

    def _check(self) -> None:
        for path in (self._output, self._page):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{path.parent} is not a folder, so {path.name} cannot be written there")
        # a package that the report needs and that is missing is to be missed before the script runs: imported for that alone
        if self._page is not None or self._format == "html":
            from inputgrad.report import audit_html  # noqa: F401  # see above
        if self._format == "text":
            import rich.console  # noqa: F401  # see above

    def write(self) -> None:
        """The reports; the script's own output stays as it is, ours comes after it, on stderr where it is text for a reader."""
        record = self.record
        if record is None:
            return
        page = self._write_page(record)
        if self._rank:
            if self._output is not None:
                self._output.write_text(_rendered(record, self._format, page), encoding="utf-8")
            return
        if self._format == "text" and self._output is None and not self._to_stdout:
            _print(record, page, self._stderr)
            return
        text = _rendered(record, self._format, page)
        if self._output is not None:
            self._output.write_text(text, encoding="utf-8")
        else:
            _bytes(text, self._stdout)
        where = [str(path) for path in (self._output, page) if path]
        said = closing(record) + (f"; report: {', '.join(where)}" if where else "")
        print(in_encoding(said, _encoding(self._stderr)), file=self._stderr)

    def _write_page(self, record: AuditRecord) -> str:
        from inputgrad.report import audit_html

        if self._page is None:
            return ""
        if not self._page_named and self._page.exists() and audit_html.MARK not in self._page.read_text(encoding="utf-8", errors="replace"):
            return ""  # a file of the user's that only has the name
        self._page.write_text(audit_html.render(record), encoding="utf-8")
        return self._shown


def _rendered(record: AuditRecord, kind: str, page: str) -> str:
    if kind == "html":
        from inputgrad.report import audit_html

        return audit_html.render(record)
    return {"json": audit_json.render, "sarif": audit_sarif.render, "text": lambda shown: audit_text.render(shown, report=page)}[kind](record)


def _print(record: AuditRecord, page: str, stream: Any) -> None:
    """The text on a stream, with colours on a terminal alone."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    width = min(max(console.width, 40), 100) if console.is_terminal else 80
    text = Text()
    encoding = _encoding(stream)
    for style, piece in audit_text.pieces(record_in(record, encoding), width, in_encoding(page, encoding)):
        text.append(piece, _STYLES.get(style, ""))
    console.print(text, end="", soft_wrap=True)


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _bytes(text: str, stream: Any) -> None:
    """UTF-8 whatever the stream's own encoding, where it has bytes below."""
    stream.flush()
    if hasattr(stream, "buffer"):
        stream.buffer.write(text.encode("utf-8", "replace"))
    else:
        stream.write(text)
    stream.flush()


def _misread(file: str, late: Sequence[str]) -> list[str]:
    """Options that were read as ours and that the script seems to know too."""
    try:
        source = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [
        f"{name} behind the script's name was read as the audit's; the script names it too: what is meant for the script goes behind --"
        for name in dict.fromkeys(late)
        if f'"{name}"' in source or f"'{name}'" in source
    ]
