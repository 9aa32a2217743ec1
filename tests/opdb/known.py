"""What is known to be wrong until it is mended: operation or module -> the engines that are silently wrong on it, give no number, or raise from inside.

The tests expect exactly this: an entry that is right by now fails them too, so take it out with what mended it.

The study runs without the verification of the first step. matrix_exp: torch rounds its first derivative by the size of the gradient that comes in, which
differences divide by their step; the first step's verification refuses it. to_sparse: torch has no third derivative, and says so in the backward pass.
"""

KNOWN: dict[str, set[str]] = {
    "matrix_exp": {"finite_difference"},
    "to_sparse": {"laplacian"},
}
