"""Formulas of docstrings, plain text with Unicode letters, as TeX for MathJax."""

import re
import unicodedata

FUNCTIONS = {"mean", "log", "exp", "max", "min", "argmax", "cos", "sign", "clip", "std", "det", "clamp", "KL", "Var", "IG"}
SIGNS = {
    "·": r"\cdot ",
    "−": "-",
    "‖": r"\Vert ",
    "|": r"\vert ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "∂": r"\partial ",
    "∇": r"\nabla ",
    "Σ": r"\sum ",
    "Δ": r"\Delta ",
    "Π": r"\Pi ",
    "∈": r"\in ",
    "≈": r"\approx ",
    "≤": r"\le ",
    "≠": r"\ne ",
    "∞": r"\infty ",
    "←": r"\leftarrow ",
    "→": r"\to ",
    "⊙": r"\odot ",
    "½": r"\tfrac12 ",
    "~": r"\sim ",
    "ℓ": r"\ell ",
    "…": r"\dots ",
    "²": "^{2}",
    "³": "^{3}",
    "⁺": "^{+}",
    "ᵀ": r"^{\top}",
    "₁": "_{1}",
    "₂": "_{2}",
    "%": r"\%",
    "#": r"\#",
    "&": r"\&",
}
GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho _ sigma tau upsilon phi chi psi omega"
SIGNS |= {chr(0x3B1 + place): rf"\{name} " for place, name in enumerate(GREEK.split()) if name != "_"}
SIGNS |= {"ε": r"\varepsilon ", "φ": r"\varphi "}
ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0307": "dot", "\u0308": "ddot"}

LOW = "[A-Za-z0-9α-ω]"
_MARKS = "".join(ACCENTS)
_ACCENTED = re.compile(f"(.)([{_MARKS}])")
_DENOMINATOR = rf"(?:∂[A-Za-z][{_MARKS}]?(?:_{LOW}+)?²?)+"
_FRACTION = re.compile(rf"(∂²?(?:\((?:[^()]|\([^()]*\))*\)|[^\s/∂()‖⟨]|\((?:[^()]|\([^()]*\))*\))*)/({_DENOMINATOR})")
_WORD = rf"[A-Za-z][A-Za-z0-9'-]*(?:_{LOW}+)?"
_TOKEN = re.compile(
    r"\\[a-z]+\{|\\[a-zA-Z]+ ?"  # TeX that is there already
    r"|[_^]\{(?:[^{}]|\{[^{}]*\})*\}"  # what stands low or high
    rf"|[_^]{LOW}+"
    r"|√\([^()]*\)|√."
    rf"|{_WORD}(?: {_WORD})*"
    r"|\d+(?:\.\d+)?|.",
    re.DOTALL,
)


def lines(formula: str) -> list[str]:
    """Each line of the formula, and each part of a line that stands apart, as TeX."""
    parts = [part for line in formula.splitlines() for part in re.split(r"\s{3,}", line.strip()) if part]
    return [tex(part) for part in parts]


def tex(text: str) -> str:
    """One part of a formula."""
    text = unicodedata.normalize("NFD", text).replace("=\u0338", "≠").replace("``", "").replace("a sample", "per sample").replace("‖∞", "‖_{∞}")
    text = _FRACTION.sub(lambda found: rf"\frac{{{found[1]}}}{{{found[2]}}}", text)
    text = _ACCENTED.sub(lambda found: rf"\{ACCENTS[found[2]]}{{{found[1]}}}", text)
    return _tall(re.sub(r"(\\text\{[^{}]*?) \}(?=[,;:.)])", r"\1}", "".join(_signs(text))))


def _tall(formula: str) -> str:
    """Bars and brackets as high as the fraction between them."""
    bars = [found.start() for found in re.finditer(r"\\Vert ", formula)]
    pairs = [(bars[i], bars[i + 1]) for i in range(0, len(bars) - 1, 2)] if len(bars) % 2 == 0 else []
    opened: list[int] = []
    for place, letter in enumerate(formula):
        if letter == "(":
            opened.append(place)
        elif letter == ")" and opened:
            pairs.append((opened.pop(), place))
    signs = {}
    for left, right in pairs:
        if r"\frac" in formula[left:right] and _closed(formula[left + 1 : right]):
            signs |= {left: r"\left", right: r"\right"}
    return "".join(signs.get(place, "") + letter for place, letter in enumerate(formula))


def _closed(inner: str) -> bool:
    """Whether each brace that is opened here is closed here."""
    bare = inner.replace(r"\{", "").replace(r"\}", "")
    depths = [bare[:end].count("{") - bare[:end].count("}") for end in range(len(bare) + 1)]
    return min(depths) == 0 == depths[-1] and inner.count("(") == inner.count(")")


def _signs(text: str) -> list[str]:
    made: list[str] = []
    depth: list[str] = []
    for token in _TOKEN.findall(text):
        if re.fullmatch(r"\\[a-z]+\{", token):
            depth.append("}")
            made.append(token)
        elif token == "{":
            after_tex = bool(made) and made[-1] == "}" and "frac" in "".join(made)
            depth.append("}" if after_tex else r"\}")
            made.append("{" if after_tex else r"\{")
        elif token == "}":
            made.append(depth.pop() if depth else r"\}")
        elif token.startswith("\\"):
            made.append(token)
        elif token[0] in "_^" and len(token) > 1:
            inner = token[2:-1] if token[1] == "{" else token[1:]
            made.append(f"{token[0]}{{{_index(inner)}}}")
        elif token.startswith("√"):
            made.append(rf"\sqrt{{{tex(token[1:].strip('()'))}}}")
        elif re.match("[A-Za-z]", token):
            made.append(_words(token))
        elif token == "*":
            made.append("^{*}" if made and re.search(r"[\w} ]$", made[-1]) else "*")
        else:
            made.append(SIGNS.get(token, token))
    return made


def _index(text: str) -> str:
    """What stands low or high: letters as they are, signs as TeX."""
    return text if re.fullmatch("[A-Za-z0-9]+", text) else "".join(_signs(text))


def _words(token: str) -> str:
    """Names of functions, single letters, and prose between them."""
    made, prose = [], []
    for word in token.split():
        name, mark, low = word.partition("_")
        if (name in FUNCTIONS and not (prose and not mark)) or len(name) == 1 or (mark and low):
            if prose:
                made.append(rf"\text{{ {' '.join(prose)} }}")
                prose = []
            shown = rf"\operatorname{{{name}}}" if len(name) > 1 else name
            made.append(shown + (f"_{{{_index(low)}}}" if low else ""))
        else:
            prose.append(word)
    if prose:
        made.append(rf"\text{{ {' '.join(prose)} }}")
    return " ".join(made)
