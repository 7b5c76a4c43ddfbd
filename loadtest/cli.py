"""``sluice-loadtest``. What it does is in ``loadtest.command_line``, imported once it is asked for.

It needs packages that Sluice itself does not, so that they may not be there.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

NEEDS: Final = "hdrh"
"""What the load test imports and Sluice does not."""
INTERRUPTED: Final = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 1 if it failed, 2 if it could not begin."""
    if find_spec(NEEDS) is None:
        print(f"sluice-loadtest: {missing(NEEDS)}", file=sys.stderr)
        return 2
    try:
        from loadtest.command_line import run_command  # here, because of what it imports

        return run_command(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        print("sluice-loadtest: stopped", file=sys.stderr)
        return INTERRUPTED


def missing(package: str) -> str:
    """Return what to do where a package is not there."""
    return f"the package {package} is not installed: `make loadtest` in a checkout installs it"


if __name__ == "__main__":
    sys.exit(main())
