"""``python -m inputgrad``, and so ``torchrun -m inputgrad``."""

from inputgrad.cli import main

if __name__ == "__main__":
    main()
