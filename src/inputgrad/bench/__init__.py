"""Time and gradient error of every engine against the plain training step: what ``inputgrad bench`` runs for a model of one's own.

Knows the library from outside only; nothing in the library knows this room.
"""
