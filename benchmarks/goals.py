"""The figures to reach: ratios to the plain eager step that the exact engines, and the memory that the differences, are held against."""

GOALS: dict[str, float] = {
    "mlp": 2.05,
    "cnn_32": 1.95,
    "forces": 1.4,
    "transformer_64": 1.7,
    "critic_mlp": 1.5,
    "critic_conv": 1.95,
}
EVERY = 1.12
MEMORY = {"exact": 1.9, "differences": 1.1}
