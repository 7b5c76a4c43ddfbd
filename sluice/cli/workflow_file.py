"""``sluice workflow run --file``: runs a document here and now, without a running Sluice."""

import asyncio
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import typer

from sluice.cli import INTERRUPTED
from sluice.cli.options import print_json
from sluice.cli.plain import plain
from sluice.cli.workflow_inputs import value_of
from sluice.core.errors import ConfigError
from sluice.core.workflows import WorkflowConfig
from sluice.settings import Settings, load_settings
from sluice.workflows.core.inputs import InputSchema
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.runs import CANCELED, Run, RunError, new_run_id, run_time
from sluice.workflows.loading import open_document
from worker.workflows.arazzo import ArazzoProgram
from worker.workflows.core.addresses import Addresses
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan
from worker.workflows.core.reach import listed, place_of
from worker.workflows.core.state import StepEnd
from worker.workflows.http import HttpShell
from worker.workflows.local_run import FolderFiles, Outcome, Told, Waiting, run_locally
from worker.workflows.secrets import Resolver, SecretMissingError

FAILED: Final = 1
TYPED: Final = "-"
"""Reference of a secret that is read from standard input."""
INPUTS_TYPE: Final = "sluice.workflow.run/inputs"
MAX_TYPED_CHARS: Final = 64 * 1024
MAX_SHOWN_CHARS: Final = 2_000
"""Of one output; ``--json`` shows the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, in the words of the command line."""

    file: Path
    workflow_id: str = ""
    root: Path | None = None
    inputs: Sequence[str] = ()
    """``NAME=VALUE`` each."""
    secrets: Sequence[str] = ()
    """``NAME=env:VARIABLE``, ``NAME=file:PATH`` or ``NAME=-`` each."""
    amplitude_url: str | None = None
    servers: Sequence[str] = ()
    """``SOURCE=URL`` each."""
    allowed_hosts: Sequence[str] = ()
    """``host:port`` each."""
    out: Path = field(default_factory=Path)
    as_json: bool = False


def run_file(asked: Asked) -> None:
    """Run a document, print its steps as they go and then its outputs.

    Raises:
        ConfigError: An argument is wrong, or the file cannot be read.
        typer.Exit: 1: the document is refused, or its run failed; 130: it was stopped.
    """
    settings = load_settings(amplitude_url=asked.amplitude_url)
    made = _planned(asked, settings)
    if not isinstance(made, Plan):
        _print_refused(asked, made)
        raise typer.Exit(FAILED)
    steps: list[StepEnd] = []
    run_id = new_run_id(datetime.now(UTC), secrets.token_hex())
    outcome = asyncio.run(_run(asked, settings, made, run_id, _teller(asked, steps)))
    _print_end(asked, run_id, outcome, steps)
    if outcome.error is not None:
        raise typer.Exit(INTERRUPTED if outcome.error == CANCELED else FAILED)


async def _run(
    asked: Asked, settings: Settings, made: Plan, run_id: str, tell: Callable[[Told], None]
) -> Outcome:
    schema = made.workflows[made.root].schema
    references, typed = read_secrets(asked.secrets)
    resolver = Resolver(given=typed)
    try:
        await resolver.resolve(references.values())
    except SecretMissingError as error:
        words = str(error).removesuffix(f": set {error.variable} for the worker")
        message = f"--secret: {words}."
        raise ConfigError(message) from None
    http = HttpShell(_private_hosts(asked, settings), listed_by="--allow-host HOST:PORT")
    program = ArazzoProgram(
        made,
        run=Run(
            tenant="",
            run_id=run_id,
            config_id="",
            type=f"arazzo.{made.root}",
            name=made.root,
            workflow_id=made.root,
            source="api",
            created_at=run_time(datetime.now(UTC)),
            inputs=orjson.dumps(read_inputs(asked.inputs, schema)).decode(),
        ),
        config=WorkflowConfig(config_id="", type="", name=made.root, secrets=references),
        secrets=resolver,
        http=http,
        files=FolderFiles(asked.out, max_bytes=settings.run_file_max_bytes),
    )
    async with http:
        outcome = await run_locally(program, tell, _stop_on_signals())
    return replace(outcome, error=_with_remedy(outcome.error, schema, references))


def _with_remedy(
    error: RunError | None, schema: InputSchema, references: Mapping[str, str]
) -> RunError | None:
    """Return an error of the inputs with the options that mend it."""
    if error is None or error.type != INPUTS_TYPE:
        return error
    lacking = sorted((schema.secrets & schema.required) - references.keys())
    options = [f"--secret {name}=env:VARIABLE" for name in lacking]
    remedy = f": give {', '.join(options)}" if options else ": see --input and --secret"
    return msgspec.structs.replace(error, message=f"{error.message}{remedy}")


def _stop_on_signals() -> asyncio.Event:
    """Return what Ctrl-C sets; a second one ends the process where it is."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)
    return stop


def _planned(asked: Asked, settings: Settings) -> Plan | tuple[Refusal, ...]:
    try:
        opened = open_document(asked.file, root=asked.root)
    except OSError as error:
        message = f"{plain(str(asked.file))} cannot be read: {error.strerror}."
        raise ConfigError(message) from None
    if isinstance(opened, tuple):
        return opened
    ids = [one.id for one in opened.document.workflows]
    if asked.workflow_id and asked.workflow_id not in ids:
        message = f"--workflow is {asked.workflow_id!r}: the document has {plain(', '.join(ids))}."
        raise ConfigError(message)
    addresses = Addresses(
        amplitude_url=settings.amplitude_url or None,
        servers=dict(_pairs("--server", asked.servers)),
    )
    return plan(
        opened.document,
        opened.sources,
        workflow_id=asked.workflow_id or None,
        addresses=addresses,
    )


def _private_hosts(asked: Asked, settings: Settings) -> frozenset[tuple[str, int]]:
    for one in asked.allowed_hosts:
        if ":" not in one or isinstance(place_of(f"http://{one}"), str):
            message = f"--allow-host is {one!r}: use host:port, for example 127.0.0.1:8080."
            raise ConfigError(message)
    hosts = ",".join((settings.workflow_private_hosts, *asked.allowed_hosts))
    return listed(hosts, settings.amplitude_url)


def read_inputs(pairs: Sequence[str], schema: InputSchema) -> dict[str, Any]:
    """Return inputs from ``NAME=VALUE``: text where the schema takes text, else JSON.

    Raises:
        ConfigError: One is no pair.
    """
    return {name: value_of(name, text, schema) for name, text in _pairs("--input", pairs)}


def read_secrets(pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the references of secret inputs by name, and the value that is typed in.

    Raises:
        ConfigError: One is no reference, or two are typed.
    """
    references: dict[str, str] = {}
    for name, reference in _pairs("--secret", pairs):
        kind, _, rest = reference.partition(":")
        if kind == "file" and rest:
            references[name] = f"file:{Path(rest).absolute()}"
        elif (kind == "env" and rest) or reference == TYPED:
            references[name] = reference
        else:
            message = f"--secret {plain(name)} must be env:NAME, file:PATH or - (standard input)."
            raise ConfigError(message)
    if list(references.values()).count(TYPED) > 1:
        message = "--secret: only one can be read from standard input."
        raise ConfigError(message)
    return references, _typed() if TYPED in references.values() else {}


def _typed() -> dict[str, str]:
    value = sys.stdin.readline(MAX_TYPED_CHARS).rstrip("\r\n")
    if not value:
        message = "--secret: nothing came from standard input."
        raise ConfigError(message)
    return {TYPED: value}


def _pairs(option: str, pairs: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for one in pairs:
        name, sign, value = one.partition("=")
        if not name or not sign:
            message = f"{option} must be NAME=VALUE."
            raise ConfigError(message)
        found.append((name, value))
    return found


def _teller(asked: Asked, steps: list[StepEnd]) -> Callable[[Told], None]:
    def tell(told: Told) -> None:
        if isinstance(told, StepEnd):
            steps.append(told)
        line = step_line(told)
        if line and not asked.as_json:
            print(plain(line), flush=True)

    return tell


def step_line(told: Told) -> str:
    """Return a line about what happens; empty for what is not worth one."""
    match told:
        case Waiting() if told.seconds > 0:
            return f"  waits {told.seconds:.1f} s"
        case StepEnd():
            again = f" (visit {told.visit})" if told.visit > 1 else ""
            status = f", HTTP {told.status}" if told.status is not None else ""
            return f"{told.step_id}{again}: {told.outcome}{status}"
        case _:
            return ""


def _print_refused(asked: Asked, refusals: Sequence[Refusal]) -> None:
    ordered = sorted(refusals, key=lambda one: (one.line, one.column))
    lines = [
        plain(f"{asked.file}:{one.line}:{one.column}: {one.path or 'the document'} {one.reason}")
        for one in ordered
    ]
    if asked.as_json:
        print_json({"ok": False, "state": "refused", "refusals": lines})
    else:
        print("\n".join(lines))


def _print_end(asked: Asked, run_id: str, outcome: Outcome, steps: Sequence[StepEnd]) -> None:
    error = outcome.error
    state = "succeeded" if error is None else "canceled" if error == CANCELED else "failed"
    if asked.as_json:
        print_json(
            {
                "ok": error is None,
                "run_id": run_id,
                "state": state,
                "outputs": outcome.outputs,
                "error": _as_data(error) if error else None,
                "steps": [_as_data(one) for one in steps],
                "files": str(asked.out),
            }
        )
        return
    for name, value in (outcome.outputs or {}).items():
        print(plain(f"{name}: {_shown(value, asked.out)}"))
    if error is None:
        print("succeeded")
    else:
        print(plain(f"{state} ({error.attribution}, {error.type}): {error.message}"))


def _as_data(value: object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = msgspec.to_builtins(value)
    return found


def _shown(value: object, folder: Path) -> str:
    if isinstance(value, dict) and isinstance(value.get("$file"), str):
        return f"{folder / value['$file']} ({value['bytes']:,} bytes, sha256 {value['sha256']})"
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
