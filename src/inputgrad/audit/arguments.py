"""The command's own arguments told from the script's. Knows no option by name; imports neither torch nor the command line."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field


@dataclass
class Split:
    """Arguments of ours, the script (or with ``module`` the module) and its own; late: options of ours that stood behind the script's name."""

    ours: list[str] = field(default_factory=list)
    script: str | None = None
    module: bool = False
    theirs: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


def split(arguments: Sequence[str], valued: Container[str], flags: Container[str], module: Container[str] = ("-m", "--module")) -> Split:
    """Which argument is whose. valued, flags: names of our options that take a value, and that take none.

    Before the script's name everything is ours, and `-m` makes the next word a module's name, as for `python`. Behind it, what we know is ours and the rest the
    script's; behind ``--`` all is the script's. `-h`, `--help` and `-m` behind the name are the script's.

    >>> split(["train.py", "--steps", "3", "--lr", "1", "--", "--steps", "9"], {"--steps"}, set()).theirs
    ['--lr', '1', '--steps', '9']
    """
    result, words = Split(), list(arguments)
    while words and result.script is None:
        word = words.pop(0)
        if word in module or word == "--":
            result.module = word in module
            result.script = words.pop(0) if words else None
            if result.script is None or word == "--":
                result.theirs, words = words, []
        elif word.startswith("-") and len(word) > 1:
            _take(word, words, valued, result.ours)
        else:
            result.script = word
    while words:
        word = words.pop(0)
        if word == "--":
            result.theirs += words
            break
        name, equals, _ = word.partition("=")
        if name in valued or (name in flags and not equals and name not in ("-h", "--help")):
            result.late.append(name)
            _take(word, words, valued, result.ours)
        else:
            result.theirs.append(word)
    return result


def _take(word: str, words: list[str], valued: Container[str], ours: list[str]) -> None:
    ours.append(word)
    if word in valued and words:
        ours.append(words.pop(0))
