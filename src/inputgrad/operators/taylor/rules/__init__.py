"""The rules of Taylor arithmetic, one file for each family of operations. Importing the folder registers them."""

from inputgrad.operators.taylor.rules import constants, elementwise, joining, linear_maps, matrix_products, normalisations, products, reductions, softmax

__all__ = ["constants", "elementwise", "joining", "linear_maps", "matrix_products", "normalisations", "products", "reductions", "softmax"]
