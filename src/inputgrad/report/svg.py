"""From a matplotlib figure to SVG that stands inside a page: identical bytes for identical figures, colours that follow the page's theme.

Knows neither records nor runs. No text of a user's should be drawn (names belong into the page around a chart); the description may hold any.
"""

import io
import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from inputgrad.report.visible import visible

INK, MUTED, RULE, PAPER = "#00f001", "#00f002", "#00f003", "#00f004"
"""Colours that stand for the page's own: written as ``var(--ink)`` and so on, so that a chart follows light and dark."""
RUN_COLOURS = [f"#00f1{index:02d}" for index in range(8)]
"""The same for ``var(--run-0)`` … ``var(--run-7)``."""
RUN_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "h"]

_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {colour: f"run-{index}" for index, colour in enumerate(RUN_COLOURS)}
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 12.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.0,
}


def chart(draw: Callable[[Axes], None], size: tuple[int, int], description: str, key: str, margins: tuple[int, int, int, int] = (52, 12, 10, 44)) -> str:
    """One chart as an ``<svg>`` element.

    draw: puts the data on the axes. size: width and height in CSS pixels at full size; margins: left, right, top, bottom in the same unit.
    description: read out in place of the picture. key: differs for every chart of a page, so that their inner names do. Raises nothing of its own.
    """
    (width, height), (left, right, top, bottom) = size, margins
    with matplotlib.style.context(["default", _STYLE | {"svg.hashsalt": key}]):
        figure = Figure(figsize=(width / 72, height / 72))
        box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        draw(figure.add_axes(box))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), description)


def logarithmic(axis_of: Axes, which: str) -> None:
    """Make the x or y axis logarithmic with plain numbers at 1, 10, 100 … (also 2 and 5 where the range is short)."""
    getattr(axis_of, f"set_{which}scale")("log")
    low, high = getattr(axis_of, f"get_{which}lim")()
    axis = getattr(axis_of, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 60 * low else (1.0,), numticks=7))
    axis.set_minor_locator(NullLocator())


def plain_numbers(axes: Axes, whole_x: bool = False) -> None:
    """Ticks written as people write them; ``whole_x``: only whole numbers along x. Call last."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        axis.set_tick_params(length=0, pad=5)
    if whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _inline(document: str, description: str) -> str:
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_NAMESPACE}metadata" or child.find(f"{_NAMESPACE}style") is not None:
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(value for element in root.iter() for value in element.attrib.values())))
    for element in root.iter():
        _settle(element, used)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": visible(description)}
    return ElementTree.tostring(root, encoding="unicode")


def _settle(element: ElementTree.Element, used: set[str]) -> None:
    """Take the namespaces and idle names away and put the page's colours in."""
    element.tag = element.tag.removeprefix(_NAMESPACE)
    if element.attrib.get("id") not in used:
        element.attrib.pop("id", None)
    if _LINK in element.attrib:
        element.attrib["href"] = element.attrib.pop(_LINK)
    for name in {"style", "fill", "stroke"} & element.attrib.keys():
        element.attrib[name] = re.sub(r"#[0-9a-f]{6}", lambda found: _themed(found[0]), element.attrib[name])


def _themed(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour
