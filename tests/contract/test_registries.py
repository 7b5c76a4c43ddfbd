"""Adding a source, a destination, a kind of row or a command is one file and one line."""

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import gateway.sources
import worker.destinations
from gateway.core.source import Source
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


def test_every_source_is_one_file_and_one_line() -> None:
    folder = Path(gateway.sources.__file__ or "").parent
    modules = {
        path.stem: import_module(f"gateway.sources.{path.stem}")
        for path in folder.glob("*.py")
        if path.stem != "__init__"
    }
    found = {name for name, one in modules.items() if isinstance(getattr(one, "SOURCE", 0), Source)}
    assert set(gateway.sources.NAMES) == found
    others = [
        path.read_text()
        for package in ("gateway", "sluice", "worker")
        for path in (folder.parents[1] / package).rglob("*.py")
        if path.parent != folder
    ]
    for name in found:
        imports = re.compile(rf"gateway\.sources\.{name}\b|gateway\.sources import .*\b{name}\b")
        assert not any(map(imports.search, others)), f"{name} is known elsewhere"
    lines = (folder / "__init__.py").read_text().splitlines()
    assert [sum(f'"{name}"' in line for line in lines) for name in found] == [1] * len(found)


def test_no_two_sources_share_a_name_or_a_path() -> None:
    loaded = [gateway.sources.load(name) for name in gateway.sources.NAMES]
    paths = [route.path for source in loaded for route in source.routes]
    assert len(set(paths)) == len(paths)
    assert len({source.name for source in loaded}) == len(loaded)


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
