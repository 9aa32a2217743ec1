"""Looks over the built reference and catalogue for markup that was meant to be read by Sphinx, and for names that only Python gives."""

import html
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

RAW = re.compile(
    r"~inputgrad\b"  # a link's shortened name
    r"|(?<!\w):(?:py:)?(?:class|func|meth|mod|obj|attr|ref|doc):"
    r"|``|\{py:obj\}"
    r"|<(?:locals|factory|lambda|function|object)\b|\bat 0x[0-9a-f]{6}"
    r"|\btype inputgrad\."
)
_NO_PROSE = re.compile(r"<(script|style|pre|svg)\b.*?</\1>|<(?:span|div) class=\"math[^>]*>.*?</(?:span|div)>", re.DOTALL)


def raw(page: str) -> list[str]:
    """What of a page's HTML stands there as markup, each with the text around it."""
    article = re.search(r"<article.*?</article>", page, re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", "", _NO_PROSE.sub(" ", article[0] if article else page)))
    return [" ".join(text[max(0, found.start() - 40) : found.end() + 40].split()) for found in RAW.finditer(text)]


def report(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each, which `make docs` takes for an error."""
    if exception is not None or app.builder.name != "html":
        return
    for path in sorted({*Path(app.outdir).glob("reference.html"), *Path(app.outdir).glob("catalogue*.html"), *Path(app.outdir).glob("catalogue/*.html")}):
        for found in raw(path.read_text(encoding="utf-8")):
            logging.getLogger(__name__).warning("%s shows markup: %s", path.name, found)
