"""Finite differences and the weight as the step: what they share of a pass, how far they are off, and what they say of it."""
