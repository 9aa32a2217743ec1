"""Derivatives that torch has not, or has wrong: one file = one operation. Known to the engines alone."""
