"""Adding a destination, a kind of row or a command is one file and one line."""

from importlib import import_module
from pathlib import Path
from typing import get_args

import worker.destinations
from sluice.cli import COMMANDS
from sluice.core.envelope import KINDS, Kind
from sluice.queue.protocol import TOPICS
from worker.delivery import Destination


def test_every_destination_file_is_registered_and_opens_one() -> None:
    folder = Path(worker.destinations.__file__ or "").parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert set(worker.destinations.NAMES) == files
    for name in worker.destinations.NAMES:
        assert isinstance(worker.destinations.load(name), Destination)


def test_every_destination_has_a_subscription_of_its_own() -> None:
    subscriptions = [
        worker.destinations.load(name).subscription for name in worker.destinations.NAMES
    ]
    known = [name for names in TOPICS.values() for name in names]
    assert len(set(subscriptions)) == len(subscriptions)
    assert set(subscriptions) == set(known), "an unread subscription would fill the queue"


def test_every_command_has_its_file() -> None:
    for module in COMMANDS.values():
        assert import_module(f"sluice.cli.{module}").__doc__


def test_kinds_of_rows_are_those_that_the_type_names() -> None:
    assert get_args(Kind) == KINDS
