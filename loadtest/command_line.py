"""``sluice-loadtest``: run a scenario, list them, compare two results."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from loadtest import scenarios
from loadtest.compare import compare, differences
from loadtest.options import Options
from loadtest.page import number, page
from loadtest.plan import PlanError
from loadtest.remarks import remarks
from loadtest.report import table
from loadtest.results import Result, read_result
from loadtest.rig import BACKENDS, SHOPIFY_SECRET
from loadtest.run import run
from loadtest.scenario import ALL_PARTS

KEY_VARIABLE = "SLUICE_API_KEY"
TOKEN_VARIABLE = "SLUICE_TOKEN"  # noqa: S105 - the name of a variable


def run_command(words: Sequence[str]) -> int:
    """Run one command; return its exit status: 1 if it failed, 2 if it could not begin."""
    options = parser().parse_args(words)
    try:
        return int(options.act(options))
    except (PlanError, OSError, ValueError) as error:
        print(f"sluice-loadtest: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:  # a process of the run failed
        print(f"sluice-loadtest: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return what reads the command's words."""
    parser = argparse.ArgumentParser(prog="sluice-loadtest", description=__doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="the scenarios there are")
    listing.set_defaults(act=_list)
    comparing = commands.add_parser("compare", help="ratios of two results, B over A")
    comparing.add_argument("a", type=Path)
    comparing.add_argument("b", type=Path)
    comparing.set_defaults(act=_compare)
    running = commands.add_parser("run", help="run a scenario")
    running.set_defaults(act=_run)
    running.add_argument("scenario", choices=scenarios.NAMES, metavar="SCENARIO")
    running.add_argument("--seconds", type=float, help="how long it sends")
    running.add_argument("--rate", type=float, help="requests a second of the open loop")
    running.add_argument("--connections", type=int)
    running.add_argument("--events", type=int, help="to store first, or of backlog")
    running.add_argument("--rounds", type=int, default=1, help="three or more show the spread")
    running.add_argument("--out", type=Path, help="folder for the JSON and the page")
    running.add_argument("--generators", type=int, default=0, help="processes; one a core")
    running.add_argument("--load-cores", type=_cores, default=frozenset(), metavar="0,1")
    own = running.add_argument_group("its own Sluice")
    own.add_argument("--backend", choices=BACKENDS, default="local", help="where its queue is")
    own.add_argument("--parts", type=_parts, default=(), help="such as gateway alone")
    own.add_argument("--server-cores", type=_cores, default=frozenset(), metavar="0,1")
    other = running.add_argument_group("another server")
    other.add_argument("--against", default="", metavar="URL", help="http://host:port")
    other.add_argument("--api-key", action="append", default=[], help=f"or {KEY_VARIABLE}")
    other.add_argument("--token", default="", help=f"that reads stats; or {TOKEN_VARIABLE}")
    other.add_argument("--tenant", default="load", help="slug, in the path of webhooks")
    other.add_argument("--shopify-secret", default=SHOPIFY_SECRET)
    other.add_argument(
        "--i-own-this-host", action="store_true", help="needed for any host but this machine"
    )
    return parser


def _cores(text: str) -> frozenset[int]:
    return frozenset(int(word) for word in text.split(","))


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts) - set(ALL_PARTS):
        message = f"no such part: {', '.join(sorted(unknown))}"
        raise argparse.ArgumentTypeError(message)
    return tuple(part for part in ALL_PARTS if part in parts)


def _list(_options: argparse.Namespace) -> int:
    width = max(map(len, scenarios.NAMES))
    for name in scenarios.NAMES:
        print(f"{name:{width}}  {scenarios.load(name).about}")
    return 0


def _run(given: argparse.Namespace) -> int:
    key = os.environ.get(KEY_VARIABLE, "")
    options = Options(
        scenario=given.scenario,
        against=given.against,
        api_keys=tuple(given.api_key) or ((key,) if key else ()),
        token=given.token or os.environ.get(TOKEN_VARIABLE, ""),
        shopify_secret=given.shopify_secret,
        tenant=given.tenant,
        owns_host=given.i_own_this_host,
        backend=given.backend,
        parts=given.parts,
        seconds=given.seconds,
        rate=given.rate,
        connections=given.connections,
        events=given.events,
        rounds=given.rounds,
        generators=given.generators,
        server_cores=given.server_cores,
        load_cores=given.load_cores,
    )
    result = run(options, scenarios.load(given.scenario))
    print(summary(result))
    for text in remarks(result):
        print(text)
    if given.out:
        print(write(result, given.out))
    lost = any(name[0] != "2" for each in result.rounds for name in each.statuses)
    return 1 if lost and given.scenario != "overload" else 0


def summary(result: Result) -> str:
    """Return the figures as a table."""
    rows = []
    for name in dict.fromkeys(name for each in result.rounds for name in each.figures):
        values = [each.figures[name] for each in result.rounds if name in each.figures]
        spread = f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
        rows.append([name, number(median(values)), spread])
    return table(["figure", "median", "spread"], rows)


def write(result: Result, folder: Path) -> str:
    """Write a result and its page; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result.scenario}-{result.started_at.replace(':', '')}"
    data, report = folder / f"{stem}.json", folder / f"{stem}.html"
    data.write_bytes(msgspec.json.encode(result) + b"\n")
    report.write_text(page(result))
    return f"{data}\n{report}"


def _result(path: Path) -> Result:
    """Return the result of a file.

    Raises:
        ValueError: It is not there, or not of this command.
    """
    try:
        return read_result(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    message = f"{path} is no result: {reason}; take a JSON file that `run … --out FOLDER` left"
    raise ValueError(message)


def _compare(options: argparse.Namespace) -> int:
    a, b = (_result(path) for path in (options.a, options.b))
    rows = [
        [
            each.figure,
            number(each.before),
            number(each.after),
            f"{each.ratio:.2f}",
            f"{each.low:.2f} to {each.high:.2f}",
            each.verdict,
        ]
        for each in compare(a, b)
    ]
    print(table(["figure", f"A {a.commit}", f"B {b.commit}", "B / A", "spread", "verdict"], rows))
    for difference in differences(a, b):
        print(f"Not the same: {difference}.")
    return 0
