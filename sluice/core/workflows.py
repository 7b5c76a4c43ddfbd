"""What a tenant may run: the types of workflows, and its configurations by ``config_id``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

RunMode = Literal["source", "refresh", "full"]
"""Reads and counts; also writes the warehouse; also sends to destinations."""
CONFIG_ID: Final = re.compile(r"(cg|og|cc)-[0-9A-Za-z][0-9A-Za-z_-]{1,63}", re.ASCII)
ARAZZO: Final = "arazzo."
"""Start of the types that are a tenant's own documents: ``arazzo.<workflowId>``."""
RETENTION_DAYS: Final = 400
MAX_CONCURRENT: Final = 5
MAX_USERS: Final = 1_000
RECONCILE_DAYS: Final = 31
"""As long as a range of ``reconcile`` may be."""

_USER: Final = {"type": "string", "minLength": 1, "maxLength": 255}
_TEXT: Final = {"type": "string", "maxLength": 1_000}
_SHOPIFY: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["request"],
    "properties": {
        "request": {"enum": ["customers/redact", "customers/data_request", "shop/redact"]},
        "shop_domain": _TEXT,
        "email": _TEXT,
        "customer_id": _TEXT,
        "order_ids": {"type": "array", "items": _TEXT},
        "data_request_id": _TEXT,
        "webhook_id": _TEXT,
        "unreadable": _TEXT,
        "unproven": {"type": "boolean"},
    },
}
"""Whom a privacy request of Shopify is about; the three last only of requests from before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunType:
    """A type of runs that Sluice brings along."""

    name: str
    document: str | None = None
    """File of the shipped document, for types that are one; the others are built in."""
    inputs: Mapping[str, Any] | None = None
    """JSON Schema of a built-in type's inputs, the range apart."""
    needs_range: bool = False
    max_range_days: int | None = None
    """How long its range may be, in whole hours around it."""
    max_concurrent: int = MAX_CONCURRENT
    run_mode: RunMode = "full"
    """Where a configuration or a start names none."""
    knows_modes: bool = False
    """Whether it does less in the modes ``source`` and ``refresh``; the others always do all."""
    has_day: bool = False
    """Whether it is about the UTC day before where no range is given."""


TYPES: Final[Mapping[str, RunType]] = {
    one.name: one
    for one in (
        RunType(name="amplitude.ingest-and-segment", document="ingest-and-segment.arazzo.yaml"),
        RunType(name="amplitude.export-cohort", document="export-cohort-members.arazzo.yaml"),
        RunType(
            name="replay",
            needs_range=True,
            knows_modes=True,
            max_concurrent=1,
            inputs={
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "destination": {
                        "type": "string",
                        "enum": ["amplitude"],
                        "default": "amplitude",
                    },
                    "event_type": {"type": "string", "minLength": 1, "maxLength": 200},
                    "dead_letters": {"type": "boolean", "default": False},
                    "rate": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 1_000_000,
                        "default": 1_000,
                    },
                },
            },
        ),
        RunType(
            name="reconcile",
            run_mode="source",
            knows_modes=True,
            max_range_days=RECONCILE_DAYS,
            has_day=True,
            inputs={
                "type": "object",
                "additionalProperties": False,
                "properties": {"compare_all": {"type": "boolean", "default": False}},
            },
        ),
        RunType(
            name="erase",
            max_concurrent=1,
            inputs={
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {
                    "user_ids": {
                        "type": "array",
                        "items": _USER,
                        "minItems": 1,
                        "maxItems": MAX_USERS,
                        "uniqueItems": True,
                    },
                    "shopify": _SHOPIFY,
                },
            },
        ),
        RunType(
            name="data-request",
            inputs={
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {"user_id": _USER, "shopify": _SHOPIFY},
            },
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowConfig:
    """A workflow of a tenant, ready to be started by its id (reference, "Workflow types")."""

    config_id: str
    type: str
    name: str
    enabled: bool = True
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Used where a start gives none."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """References of secret inputs: ``env:NAME``, ``file:PATH``, ``tenant:PROPERTY``."""
    run_mode: RunMode = "full"
    needs_range: bool = False
    max_concurrent: int = MAX_CONCURRENT
    schedule: str = ""
    """Cron expression in UTC; empty: started by people only."""
    retention_days: int = RETENTION_DAYS
    """How long a run and its files are kept after it ended."""
    document: str = ""
    """File in the tenant's folder of workflows, for ``arazzo.<workflowId>``."""

    @property
    def takes_range(self) -> bool:
        """Whether a start may have a range and a mode: ``cg-`` only (reference, "POST rules")."""
        return self.config_id.startswith("cg-")

    @property
    def knows_modes(self) -> bool:
        """Whether it may be run in another mode than ``full``: a document sends in any."""
        known = TYPES.get(self.type)
        return known is not None and known.knows_modes

    @property
    def shipped(self) -> str | None:
        """The file of the shipped document that it runs, if it runs one."""
        known = TYPES.get(self.type)
        return known.document if known else None


def config_of(config_id: str, type_name: str, name: str) -> WorkflowConfig:
    """Return a configuration of a type with what holds for the type by itself."""
    known = TYPES.get(type_name, RunType(name=type_name))
    return WorkflowConfig(
        config_id=config_id,
        type=type_name,
        name=name,
        needs_range=known.needs_range,
        max_concurrent=known.max_concurrent,
        run_mode=known.run_mode,
        secrets=_SECRETS.get(type_name, {}),
    )


_SECRETS: Final = {
    "amplitude.ingest-and-segment": {
        "apiKey": "tenant:amplitude.api_key",
        "basicAuth": "tenant:amplitude.basic_auth",
    },
    "amplitude.export-cohort": {"basicAuth": "tenant:amplitude.basic_auth"},
}
"""What the shipped documents take from the tenant's own properties, unless it says otherwise."""

DEFAULTS: Final[Mapping[str, WorkflowConfig]] = {
    one.config_id: one
    for one in (
        config_of("cg-ingest", "amplitude.ingest-and-segment", "Ingest and segment"),
        config_of("cg-replay", "replay", "Replay stored events"),
        config_of("cg-reconcile", "reconcile", "Reconcile a day"),
        config_of("og-cohort", "amplitude.export-cohort", "Export a cohort"),
        config_of("og-erase", "erase", "Erase people"),
        config_of("og-data-request", "data-request", "Collect what is held of a person"),
    )
}
"""What every tenant has, unless its settings say otherwise."""


def with_defaults(own: Mapping[str, WorkflowConfig]) -> dict[str, WorkflowConfig]:
    """Return a tenant's configurations: its own, and the defaults that it does not replace."""
    return {**DEFAULTS, **own}


def version_settings(config: WorkflowConfig) -> WorkflowConfig:
    """Return the part of a configuration that its version is made of: not name, not schedule."""
    return replace(config, name="", schedule="")
