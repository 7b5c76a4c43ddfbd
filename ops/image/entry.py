#!/opt/sluice/bin/python
"""The command `sluice` of the image: from its first moment a process that can be stopped.

The kernel keeps a signal from the first process of a container as long as that has no handler for
it. Sluice's parts have theirs once they run; until then, and for commands that have none, a stop
would wait for its time-out and end in SIGKILL. So there is one before anything else is imported.
"""

import signal
import sys
from types import FrameType

SIGNALLED = 128
"""With the signal's number added: the exit status of a process that a signal ended."""


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(SIGNALLED + number)


for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, _end)

from sluice.cli import main  # noqa: E402 - the handlers come first

main()
