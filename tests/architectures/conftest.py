"""These files need packages that only `make zoo` installs."""

collect_ignore_glob = ["*.py"]
