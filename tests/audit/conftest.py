"""The corpus holds scripts, which the harness runs; they are no tests and no modules of doctests."""

collect_ignore = ["corpus"]
