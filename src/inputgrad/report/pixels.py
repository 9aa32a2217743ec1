"""From rows of pixel values to strips of small pictures: one PNG a strip, as a data URI that the page enlarges without smoothing.

Knows neither records nor the page.
"""

import base64
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.image import imsave

Image = Sequence[Sequence[float]]


def grey_range(images: Sequence[Image]) -> tuple[float, float]:
    """The smallest and largest finite value of ``images`` ``[n][height][width]``: black and white."""
    values = np.asarray(images, dtype=float)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def colour_range(images: Sequence[Image]) -> float:
    """The size at which a picture of signed values ``[n][height][width]`` saturates: the 99th percentile of |value|, 0 where all are 0."""
    sizes = np.abs(np.asarray(images, dtype=float))
    sizes = sizes[np.isfinite(sizes)]
    if not sizes.size:
        return 0.0
    return float(np.quantile(sizes, 0.99)) or float(sizes.max())


def grey_strip(images: Sequence[Image], low: float, high: float) -> str:
    """``images`` ``[n][height][width]`` side by side in shades of grey, ``low`` black and ``high`` white: a data URI."""
    return _strip(images, low, high, "gray")


def signed_strip(images: Sequence[Image], scale: float) -> str:
    """``images`` ``[n][height][width]`` of signed values side by side: blue below 0, white at 0, red above; saturated at ±``scale``: a data URI."""
    return _strip(images, -(scale or 1.0), scale or 1.0, "RdBu_r")


def _strip(images: Sequence[Image], low: float, high: float, colours: str) -> str:
    values = np.asarray(images, dtype=float)
    gap = max(1, values.shape[2] // 16)
    values = np.pad(values, ((0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    flat = np.concatenate(list(values), axis=1)
    coloured = matplotlib.colormaps[colours]((flat - low) / ((high - low) or 1.0), bytes=True)
    coloured[~np.isfinite(flat)] = 0
    buffer = io.BytesIO()
    imsave(buffer, coloured, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
