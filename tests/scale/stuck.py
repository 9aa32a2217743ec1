"""A rank that fails while the others wait for it for ever."""

import sys
import threading

if __name__ == "__main__":
    if sys.argv[1] == "1":
        raise SystemExit("rank 1 has failed")
    threading.Event().wait()
