"""Derivatives of any order by Taylor arithmetic: one run of the model carries its value and the coefficients that an equation asks for.

Must not know terms and engines. docs/higher_orders.md says which operations have rules.
"""
