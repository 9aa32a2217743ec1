"""Phrases that must not come back: each is a way of saying things that readers stumbled over, with what to write in its place."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN_BY_PROGRAMS = {"benchmarks.md", "operations.md", "peers.md", "versions.md", "CHANGELOG.md"}
"""Pages that a program writes, with the texts of the library's errors in them; and the record of what was."""
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.py"))
    if not {"_build", "gallery", "catalogue"} & set(path.parts) and path.name not in WRITTEN_BY_PROGRAMS
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
}
"""Gone from the pages. Docstrings and messages still have some."""

RULES = [(path, phrase, better) for phrase, better in EVERYWHERE.items() for path in (PAGES, SOURCES)] + [(PAGES, *rule) for rule in ON_PAGES.items()]


def prose(text: str) -> str:
    """A page without its code, its tables of figures, and what programs print."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    kept = [line for line in text.splitlines() if not re.match(r"\||\d+\. (?:engine|no engine) |   :", line)]
    return "\n".join(kept)


def places(paths: list[Path], phrase: str) -> list[str]:
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(phrase, re.sub(r"\s+", " ", prose(text) if path.suffix == ".md" else text)):
            found.append(f"{path.relative_to(ROOT)}: …{match.string[max(0, match.start() - 30) : match.end() + 30]}…")
    return found


@pytest.mark.parametrize(("paths", "phrase", "better"), RULES, ids=[f"{'pages' if paths is PAGES else 'source'}-{phrase}" for paths, phrase, _ in RULES])
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
