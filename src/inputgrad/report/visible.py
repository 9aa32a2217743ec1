"""Text of users' as a reader sees it: signs in place of the characters that steer a terminal or the direction of reading. Knows no report."""

from typing import Any

KEPT = "\n\t\u200c\u200d"
"""Beside what can be printed: line breaks, tabs, and letters without width that words of some scripts, and emoji, are made with."""


def visible(text: str) -> str:
    """The text with signs in place of what cannot be seen; line breaks and tabs stay.

    >>> visible("a\\x1b[31mb\\u202ec")
    'a␛[31mb⟨U+202E⟩c'
    """
    return text if text.isprintable() else "".join(map(_sign, text))


def seen(value: Any) -> Any:
    """For templates: plain text made visible, everything else as it is (finished markup was made visible where it was made)."""
    return visible(value) if type(value) is str else value


def _sign(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable() or letter in KEPT:
        return letter
    if code < 32 or code == 127:
        return chr(0x2400 + code if code < 32 else 0x2421)  # Unicode's pictures of control characters
    return f"⟨U+{code:04X}⟩"
