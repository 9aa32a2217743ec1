"""Time, memory and gradient error of every engine against the plain training step. Run by ``make bench``; never part of the tests."""
