"""``python -m inputgrad.cli``."""

from inputgrad.cli import main

main()
