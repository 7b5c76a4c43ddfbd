"""``python -m tests.drills.holder FILE HOLD_S PAUSE_S``: locks an SQLite file again and again."""

import sqlite3
import sys
import time
from contextlib import closing


def main() -> None:
    """Hold the lock that writers need, let it go, and so on, until killed."""
    path, hold_s, pause_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as file:
        is_said = False
        while True:
            file.execute("BEGIN IMMEDIATE")
            if not is_said:
                print("ready", flush=True)  # noqa: T201 - the parent waits for it
                is_said = True
            time.sleep(hold_s)
            file.execute("ROLLBACK")
            time.sleep(pause_s)


if __name__ == "__main__":
    main()
