"""Perturbations of an input: FGSM, PGD, noise, virtual adversarial directions, persistent ones, masks. Constants for the parameter gradient.

Must not know terms and engines.
"""
