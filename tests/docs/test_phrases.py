"""Phrases that must not come back: each is a way of saying things that readers stumbled over, with what to write in its place."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = {"CHANGELOG.md"}
"""What was written of earlier versions stays."""
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.py"))
    if not {"_build", "gallery", "catalogue", "audit_rules"} & set(path.parts) and path.name not in RECORD
)
SOURCES = sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".md"))

EVERYWHERE = {
    r"Nothing else in your training loop changes": 'say what changes: "call criterion(model, inputs, target)"',
    r"usually passed on": "the snippet that most forum answers give",
    r"never feel": "never reaches the weights",
    r"walks two thirds": "covers two thirds of ε only",
    r"leads? from a purpose": "helps you choose",
    r"five sixths": "about 17 % cheaper than",
    r"One step is one step": "all passes of a step share one dropout mask",
    r"error text of torch that you do not understand": "cryptic autograd error?",
    r"stands? in `ig`": "lower-case names are in `ig.recipes`, capitalised ones in `ig`",
    r"a pass an order": "one pass per derivative order",
    r"which side is followed|whom the entry follows": "which one we follow",
    r"no per-sample number gives": 'for a batch statistic use per="batch"',
    r"trajectory is still another": "training trajectories still differ",
    r"only where the region decides": "only if it contains no ReLU or max-pool",
    r"listens only afterwards": "is not active yet",
    r"hooks of `fully_shard` are absent": "by gathering all parameters once per step",
    r"step of a new model be a\s+whole": "do not start with gradient accumulation",
    r"nothing is known yet": "the result is inconclusive",
    r"as long as patience": "up to a time limit",
    r"asserts its claim": "checks its result",
    r"take them there": "use those for",
    r"ours unless it stands behind": "if both define an option, the audit's wins",
    r"How to choose the head": "what should be differentiated (of=)?",
    r"be rid of this warning": "silence this warning",
    r"not to be had": "not available, has no",
    r"names no (?:engine|head|loss|input|module|output|part|rule|class)\b": "is not an engine, a head, …",
    r"[Rr]ight all the same": "when it is fine",
    r"start afresh": "start again",
    r"same command goes on": "run the same command again to resume",
    r"(?:class|attack|term) that (?:is|are) no (?:logit|gradient|leaf|padding)": "is not a …",
    r"(?<![Tt]here )\bis no (?:baseline|folder|energy|teacher|reference|array|word|sum|device|family|notebook|proof|penalty|image)\b": "is not a …",
}
"""Gone from pages, docstrings and messages."""

ON_PAGES = {
    r"\bone \w+ an? (?:sample|step|output|point|structure|pass)\b": "per sample, per step, per output",
    r"\b(?:number|score|loss|weight|gradient|mask|length) an? (?:sample|step|output|structure)\b": "per sample, per step, per output",
    r"\bonce a step\b": "once per step",
    r"\b(?:cannot|can) serve\b|\bserves?\b": "supports, works with",
    r"\b(?:is|are|be|not|Not) served\b": "is supported",
    r"\brefuse[sd]?\b|\bRefused\b": "not supported, raises an error",
    r"\bis told\b|\btold once\b": "warns once, says",
    r"\bours\b": "name it: the library's, the audit's",
    r"\bowed\b": "pending",
    r"leave no trace": "do not change",
    r"out of sight": "captured from outside the model",
    r"stops short of the inputs": "skips the gradient of the inputs",
    r"from which severity": "minimum severity",
    r"one-liners": "one line each",
    r"(?:derivatives?|gradients?|differentiable|differentiated(?: once| twice)?) in the (?:parameters|weights|inputs?)\b": "with respect to the parameters",
    r"by hand [^.]{0,40} as people write it|as people write it by hand": "the usual hand-written code",
    r"\bWay out:|\bWays out:": "Fix:",
    r"stands? still": "is held fixed",
    r"to the last (?:bit|digit)s? [^.]{0,10}on any": "bit-identical",
    r"\bwhat stands on top\b": "applications",
    r"people really ask": "from forums and issue trackers",
    r"\blies in the test\b": "is misleading in the test",
    r"(?:gives?|gave) the (?:label|class) away": "reveals the label",
    r"\bfrom a purpose\b": "by purpose",
    r"is put in place|put its own derivative in place": "substitutes its own derivative",
    r"What is best, and what is not": "how to read the results",
    r"\bkeeps? its size\b": "stays the same size",
    r"as long as patience|thrown away and repeated": "discarded and repeated, up to a time limit",
    r"\ba workload\b(?= counted|, with)": "per workload",
}
"""Gone from the pages. Docstrings and messages still have some."""

RULES = [(path, phrase, better) for phrase, better in EVERYWHERE.items() for path in (PAGES, SOURCES)] + [
    (PAGES, phrase, better) for phrase, better in ON_PAGES.items()
]


def prose(text: str) -> str:
    """A page without its code, its tables, and what programs write between marks."""
    text = re.sub(r"^<!-- ([\w -]+): ([\w -]+) -->.*?^<!-- end of \1: \2 -->", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    kept = [line for line in text.splitlines() if not re.match(r"\||\d+\. (?:engine|no engine) |   :", line)]
    return "\n".join(kept)


@cache
def on_one_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", prose(text) if path.suffix == ".md" else text)


def places(paths: list[Path], phrase: str) -> list[str]:
    found = []
    for path in paths:
        for match in re.finditer(phrase, on_one_line(path)):
            found.append(f"{path.relative_to(ROOT)}: …{match.string[max(0, match.start() - 30) : match.end() + 30]}…")
    return found


@pytest.mark.parametrize(("paths", "phrase", "better"), RULES, ids=[f"{'source' if paths is SOURCES else 'pages'}-{phrase}" for paths, phrase, _ in RULES])
def test_a_phrase_does_not_come_back(paths: list[Path], phrase: str, better: str) -> None:
    found = places(paths, phrase)
    assert not found, f"{len(found)} times; write instead: {better}\n" + "\n".join(found)


def test_a_phrase_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("It returns one number a sample.\n\n```text\nthis serves\n```\n| serves |\n", encoding="utf-8")
    assert re.search(next(iter(ON_PAGES)), prose(page.read_text(encoding="utf-8")))
    assert not re.search(r"\bserves\b", prose(page.read_text(encoding="utf-8")))
    assert len(PAGES) > 40
    assert len(SOURCES) > 200
