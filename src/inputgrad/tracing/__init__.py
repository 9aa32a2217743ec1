"""A whole training step as one traced and compiled graph. Must not know terms, and engines only by what they hand it."""
