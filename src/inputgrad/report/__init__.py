"""Reports: pure functions of one record; they train nothing and measure nothing."""

EXTRA = "pip install 'inputgrad[train]', or pip install '.[train]' in a checkout"
"""What installs the packages that reports, and the commands that write them, need."""
