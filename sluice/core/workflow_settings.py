"""The ``workflows`` tables of a tenant in the tenants file -> configurations, or one clear error.

A table over the id of a default configuration says only what differs from it. Secrets stand there
as references; a refusal never shows what stands in a reference's place.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from sluice.core.cron import ACCEPTED, check_cron
from sluice.core.errors import ConfigError
from sluice.core.property import Property
from sluice.core.property_values import (
    MAX_NAME_CHARS,
    check,
    check_names,
    one_line,
    parse_value,
    table_of,
)
from sluice.core.workflows import (
    ARAZZO,
    CONFIG_ID,
    DEFAULTS,
    MAX_CONCURRENT,
    RETENTION_DAYS,
    TYPES,
    WorkflowConfig,
    config_of,
    with_defaults,
)

MAX_CONFIGS: Final = 200
"""Of one tenant."""
MAX_INPUTS_BYTES: Final = 65_536
MAX_INPUTS_DEPTH: Final = 32
MAX_INPUTS: Final = 200
CONFIG_ID_RULE: Final = "cg-, og- or cc- and 2 to 64 letters, digits, _ and -"
_TYPE: Final = re.compile(r"arazzo\.[!-~]{1,200}", re.ASCII)
_ENV: Final = re.compile(r"env:(?!(?i:SLUICE_))[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
"""Sluice's own variables are not to be had by workflows."""
_FILE: Final = re.compile(r"file:/[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,4095}")
TENANT_SECRETS: Final = ("amplitude.api_key", "amplitude.secret_key", "amplitude.basic_auth")
"""What ``tenant:`` may name; ``basic_auth`` is the pair of keys as HTTP's Basic wants it."""
REFERENCES: Final = f"env:NAME, file:/PATH or tenant:{'|'.join(TENANT_SECRETS)}"
_INT64: Final = 2**63

PROPERTIES: Final = {
    one.name: one
    for one in (
        Property(
            "type",
            "text",
            f"What it runs: {', '.join(TYPES)}, or {ARAZZO}WORKFLOW_ID for a document of yours.",
        ),
        Property("name", "text", "A name for people; of lists and runs.", default=""),
        Property("enabled", "truth", "Whether it may be started.", default=True),
        Property(
            "run_mode",
            "choice",
            "What a run does unless its start says otherwise: read and count; also write the"
            " warehouse; also send to destinations.",
            choices=("source", "refresh", "full"),
            default="full",
        ),
        Property(
            "needs_range",
            "truth",
            "Whether a start must say a range of time; of `replay` always.",
            default=False,
        ),
        Property(
            "max_concurrent",
            "number",
            "Runs of it that may be alive at once; of `replay` and `erase` 1 by itself.",
            low=1,
            high=100,
            default=MAX_CONCURRENT,
        ),
        Property("schedule", "text", f"When it starts by itself: {ACCEPTED}.", default=""),
        Property(
            "retention_days",
            "number",
            "Days that a run and its files are kept after it ended.",
            low=1,
            high=3650,
            default=RETENTION_DAYS,
        ),
        Property(
            "document",
            "text",
            "The file with the workflow, in the tenant's folder of workflows.",
            default="",
        ),
    )
}
"""Of a configuration; the tables ``inputs`` and ``secrets`` stand beside them."""


def parse_workflows(value: object, where: str) -> Mapping[str, WorkflowConfig]:
    """Return a tenant's configurations, with the defaults that it does not replace.

    Raises:
        ConfigError: Something is wrong; says where and what is accepted.
    """
    tables = table_of(value, where)
    if len(tables) > MAX_CONFIGS:
        raise ConfigError(f"{where} has {len(tables)} configurations: {MAX_CONFIGS} are taken")
    if not tables:
        return DEFAULTS
    return with_defaults(
        {config_id: _config(config_id, one, where) for config_id, one in tables.items()}
    )


def parse_setting(path: tuple[str, ...], text: str) -> object:
    """Return the value of a property from its text, such as ``sluice workflow configure`` is given.

    Raises:
        ConfigError: There is no such property, or the text does not fit; never shows a secret.
    """
    match path:
        case ("secrets", name):
            return _secrets({name: text}, "secrets")[name]
        case (name,) if name in PROPERTIES:
            return parse_value(PROPERTIES[name], text)
    known = ", ".join((*PROPERTIES, "inputs.NAME", "secrets.NAME"))
    raise ConfigError(f"{'.'.join(path)[:MAX_NAME_CHARS]!r} cannot be set: known are {known}.")


def check_input(name: str, value: object) -> None:
    """Raise a ConfigError if the tenants file cannot hold a value of an input."""
    _inputs({name: value}, "inputs")


def _config(config_id: str, value: object, above: str) -> WorkflowConfig:
    where = f"{above}.{config_id}"
    if not CONFIG_ID.fullmatch(config_id):
        raise ConfigError(f"{above} has an id {config_id[:80]!r}: use {CONFIG_ID_RULE}")
    table = table_of(value, where)
    check_names(table, (*PROPERTIES, "inputs", "secrets"), where)
    base = _base(config_id, table, where)
    given: dict[str, Any] = {
        name: check(PROPERTIES[name], one, f"{where}.{name}")
        for name, one in table.items()
        if name in PROPERTIES
    }
    inputs = _inputs(table.get("inputs", {}), f"{where}.inputs")
    secrets = _secrets(table.get("secrets", {}), f"{where}.secrets")
    given["inputs"] = {**base.inputs, **inputs}
    merged = {**base.secrets, **secrets}
    given["secrets"] = {name: reference for name, reference in merged.items() if reference}
    config = replace(base, **given)
    _check_texts(config, where)
    _check_whole(config, where)
    return config


def _base(config_id: str, table: Mapping[str, object], where: str) -> WorkflowConfig:
    """Return what holds where the table says nothing."""
    default = DEFAULTS.get(config_id)
    kind = table.get("type", default.type if default else None)
    if kind is None:
        raise ConfigError(f"{where}.type is missing: use {_type_words()}")
    if not isinstance(kind, str) or not (kind in TYPES or _TYPE.fullmatch(kind)):
        raise ConfigError(f"{where}.type is not {_type_words()}")
    if default is not None and kind == default.type:
        return default
    return config_of(config_id, kind, config_id)


def _type_words() -> str:
    return f"one of {', '.join(TYPES)}, or {ARAZZO}WORKFLOW_ID for a document of yours"


def _check_texts(config: WorkflowConfig, where: str) -> None:
    try:
        one_line(config.name, f"{where}.name")
    except ConfigError:
        message = f"{where}.name is not one line of at most {MAX_NAME_CHARS} characters"
        raise ConfigError(message) from None
    if config.schedule:
        check_cron(config.schedule, f"{where}.schedule")
    if config.type in TYPES:
        if config.document:
            message = f"{where}.document: {config.type} needs none"
            raise ConfigError(f"{message}; with a document of yours the type is {ARAZZO}…")
    elif not _is_inside(config.document):
        message = f"{where}.document is not the name of a file in the tenant's folder of workflows"
        raise ConfigError(f"{message}, such as nightly.arazzo.yaml")


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        0 < len(name) <= 255
        and name.isprintable()
        and "\\" not in name
        and not path.is_absolute()
        and bool(path.parts)
        and ".." not in path.parts
    )


def _check_whole(config: WorkflowConfig, where: str) -> None:
    """Refuse what no start could ever satisfy."""
    known = TYPES.get(config.type)
    if known is not None and known.needs_range and not config.needs_range:
        raise ConfigError(f"{where}.needs_range is not true, as {config.type} wants it")
    if config.needs_range and not config.takes_range:
        message = f"{where}: a range of time can be given only to ids that start with cg-"
        raise ConfigError(message)
    if config.run_mode != "full" and not config.takes_range:
        raise ConfigError(f"{where}.run_mode can be given only to ids that start with cg-")
    if config.run_mode != "full" and not config.knows_modes:
        message = f"{where}.run_mode is {config.run_mode}: {config.type} knows full alone, and"
        raise ConfigError(f"{message} would send all the same")
    both = sorted(config.inputs.keys() & config.secrets.keys())
    if both:
        raise ConfigError(f"{where}.inputs.{both[0]} is secret: {_hint(both[0])}")


def _inputs(value: object, where: str) -> dict[str, Any]:
    table = table_of(value, where)
    if len(table) > MAX_INPUTS:
        raise ConfigError(f"{where} has {len(table)} inputs: {MAX_INPUTS} are taken")
    _check_input_names(table, where)
    _check_json(table, where, 0)
    if len(msgspec.json.encode(table)) > MAX_INPUTS_BYTES:
        raise ConfigError(f"{where} is longer than {MAX_INPUTS_BYTES:,} bytes of JSON")
    return table


def _check_input_names(table: Mapping[str, object], where: str) -> None:
    for name in table:
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            message = f"{where} has the name {name[:MAX_NAME_CHARS]!r}: use visible characters,"
            raise ConfigError(f"{message} at most {MAX_NAME_CHARS}")


def _check_json(value: object, where: str, depth: int) -> None:
    """Refuse what TOML knows and JSON does not: times, NaN, infinity, very large numbers."""
    if depth > MAX_INPUTS_DEPTH:
        raise ConfigError(f"{where[:MAX_NAME_CHARS]} is nested over {MAX_INPUTS_DEPTH} levels deep")
    match value:
        case dict():
            for name, one in value.items():
                _check_json(one, f"{where}.{name}", depth + 1)
        case list():
            for index, one in enumerate(value):
                _check_json(one, f"{where}[{index}]", depth + 1)
        case bool() | str():
            return
        case int() if -_INT64 <= value < _INT64:
            return
        case float() if math.isfinite(value):
            return
        case None:
            raise ConfigError(f"{where} is null, which TOML does not have: leave it out")
        case _:
            kind = "number that JSON has" if isinstance(value, int | float) else "value of JSON"
            raise ConfigError(f"{where} is no {kind}: write it as a string")


def _secrets(value: object, where: str) -> dict[str, str]:
    table = table_of(value, where)
    if len(table) > MAX_INPUTS:
        raise ConfigError(f"{where} has {len(table)} secrets: {MAX_INPUTS} are taken")
    _check_input_names(table, where)
    found: dict[str, str] = {}
    for name, reference in table.items():
        if not isinstance(reference, str) or (reference and not is_reference(reference)):
            raise ConfigError(f"{where}.{name} is not a reference: {_hint(name)}")
        found[name] = reference
    return found


def is_reference(text: str) -> bool:
    """Return whether a text names a secret instead of being one."""
    is_own = text.startswith("tenant:") and text.removeprefix("tenant:") in TENANT_SECRETS
    return is_own or bool(_ENV.fullmatch(text) or _FILE.fullmatch(text))


def _hint(name: str) -> str:
    return (
        "put the secret itself into an environment variable or a file of the worker, and say under"
        f" secrets where it is, such as {name} = 'env:NAME'; taken are {REFERENCES}"
    )
