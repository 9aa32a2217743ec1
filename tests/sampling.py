"""Large tables in `make test`: one case in so many, the same ones everywhere; `make study` runs the others."""

import zlib


def is_one_in(count: int, name: str) -> bool:
    """Whether a name is among those that are tried, one in so many: by a hash that is the same everywhere."""
    return zlib.crc32(name.encode()) % count == 0
