"""What a term that is taken at each k-th step only asks of the optimiser. Knows no term and no loss."""

from inputgrad.errors import suggesting


@suggesting
def lazy_adam(every: int, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> dict[str, float | tuple[float, float]]:
    """Adam's settings for a term with an optimiser step of its OWN after each ``every``-th ordinary step (lazy regularisation).

        c = k / (k + 1),   lr' = c · lr,   β' = β^c

    k ordinary steps then make k + 1 of the optimiser's, and its averages reach as far back as before. ``Adam(parameters, **lazy_adam(16, lr=2e-3))``.
    Where the term is added to the loss of the ordinary step, as `scheduled` does, the number of steps is the same and nothing is to be corrected.

    Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", appendix B.

    >>> lazy_adam(3, lr=0.4, betas=(0.0, 0.9999))["lr"]
    0.30000000000000004
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a whole number of steps, at least 1; got {every!r}")
    c = every / (every + 1)
    return {"lr": c * lr, "betas": (betas[0] ** c, betas[1] ** c)}
