"""Every SLUICE_* variable, with its unit and meaning. Nothing else reads the environment."""

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from sluice.core.errors import ConfigError

MIB: Final = 1024 * 1024
_PUBSUB: Final = re.compile(r"pubsub://([a-z][a-z0-9:.-]{4,61}[a-z0-9])")

_CLUSTER: Final = re.compile(r"[A-Za-z0-9_.{}-]{1,64}")
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9.-]{1,253}:\d{1,5}")
MAX_SECRET_BYTES: Final = 65_536
"""Of a file that holds a secret."""


class Settings(BaseSettings):
    """The settings of every process; each field is one environment variable."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", frozen=True, env_ignore_empty=True)

    data_dir: Path = Field(
        Path("sluice-data"),
        description="Where the queue file, the embedded warehouse, tenants and secrets live.",
    )
    queue_url: str = Field(
        "",
        description="`pubsub://PROJECT` for Google Pub/Sub, or `local:PATH` of a queue file; "
        "empty: `queue.sqlite` in the data dir.",
    )
    pubsub_endpoint: str = Field(
        "pubsub.googleapis.com:443",
        description="`host:port` of Google Pub/Sub; a regional one, such as "
        "`europe-west1-pubsub.googleapis.com:443`, keeps events in its region.",
    )
    pubsub_keep_days: Annotated[int, Field(ge=0, le=31)] = Field(
        0,
        description="Days for which Pub/Sub keeps events that are stored already, so that a lost"
        " ClickHouse can be filled again (docs/recovery.md); 0: it does not.",
    )
    warehouse_url: SecretStr = Field(
        SecretStr(""),
        description="`http(s)://user:password@host:port/database` of ClickHouse; "
        "empty: the embedded one, whose address and password are in the data dir. "
        "SLUICE_WAREHOUSE_URL_FILE instead names a file that holds it.",
    )
    warehouse_cluster: str = Field(
        "",
        description="Cluster of ClickHouse on which tables are made, with `ON CLUSTER` and"
        " `Replicated…` engines (docs/clickhouse.md); empty for one server, for ClickHouse Cloud,"
        " and for a database whose engine is `Replicated`.",
    )
    warehouse_ca_file: Path | None = Field(
        None,
        description="PEM file of the authorities that ClickHouse's certificate is checked against,"
        " for https; unset: those that this machine trusts.",
    )
    warehouse_cert_file: Path | None = Field(
        None,
        description="PEM file of a client certificate for ClickHouse; it logs in where the URL has"
        " no password.",
    )
    warehouse_key_file: Path | None = Field(
        None, description="PEM file of the client certificate's key; unset: it is in the same file."
    )
    tenants_file: Path | None = Field(
        None, description="The tenants file; unset: `tenants.toml` in the data dir."
    )
    jwt_secret: SecretStr = Field(
        SecretStr(""),
        description="HS256 secret (32 bytes or more) of session tokens and, without "
        "SLUICE_JWKS_URL, of read tokens; empty: one is made and kept in the data dir. "
        "Gateways that share no data dir must share it. SLUICE_JWT_SECRET_FILE instead names a "
        "file that holds it.",
    )
    jwks_url: str = Field(
        "", description="Where RS256/ES256 keys of read tokens are fetched; replaces the secret."
    )
    worker_url: str = Field(
        "http://127.0.0.1:8082",
        description="Base address of the worker's own HTTP port, which health asks; where each"
        " destination has a worker of its own, theirs with commas.",
    )
    host: str = Field("127.0.0.1", description="Address that gateway and worker listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080,
        description="Port that the gateway listens on; 0 takes a free one. "
        "A taken one stops the start.",
    )
    warehouse_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8123,
        description="Port of the embedded warehouse on loopback; 0 takes a free one. Where the "
        "default is taken, `sluice run` takes a free one and says so; a set one stops the start.",
    )
    worker_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8082,
        description="Port of the worker's status and metrics; 0 takes a free one. Where the "
        "default is taken, `sluice run` takes a free one and says so; a set one stops the start.",
    )
    queue_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        1024 * MIB, description="Bytes that the local queue, or the spool, may store; past it: 503."
    )
    pending_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        32 * MIB,
        description="Bytes of accepted but not yet durable events in one gateway; past it: 503.",
    )
    arriving_max_bytes: Annotated[int, Field(ge=8 * MIB)] = Field(
        10 * MIB,
        description="Bytes of requests above 16 KB that arrive at one gateway, wait to be read or "
        "to be durable; past it: 503.",
    )
    publish_timeout_s: Annotated[float, Field(gt=0, le=9)] = Field(
        5.0, description="Seconds within which an event is durable, or the answer is 503."
    )
    body_timeout_s: Annotated[float, Field(gt=0, le=120)] = Field(
        10.0, description="Seconds for a whole request body to arrive, or the answer is 408."
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        20_000, description="Open client connections of one gateway; past it new ones are closed."
    )
    keepalive_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        75.0,
        description="Seconds that the gateway keeps a silent connection; longer than any load"
        " balancer in front of it does, or requests cross with the end.",
    )
    stop_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        8.0, description="Seconds that a stopping process may take to finish what it holds."
    )
    stop_delay_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.0,
        description="Seconds that a stopping gateway goes on taking requests while /readyz says"
        " 503, so that load balancers look away first.",
    )
    batch_max_rows: Annotated[int, Field(ge=1)] = Field(
        50_000, description="Rows of one insert into the warehouse."
    )
    batch_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        32 * MIB, description="Uncompressed bytes of one insert into the warehouse."
    )
    batch_max_age_s: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="Seconds after which a batch is inserted, however small."
    )
    dedup_filter_keys: Annotated[int, Field(ge=0)] = Field(
        20_000_000,
        description="Client-named events whose keys the worker's filter holds (10 bits each); "
        "past it every key is looked up in ClickHouse.",
    )
    amplitude_url: str = Field(
        "",
        description="Replaces scheme, host and port of every address of Amplitude, for a proxy or"
        " the simulator; empty: Amplitude's own of the tenant's region.",
    )
    amplitude_in_flight: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="Requests at once for one tenant's Amplitude project."
    )
    amplitude_throttle_wait_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        30.0, description="Seconds that a user or project waits that Amplitude throttles."
    )
    amplitude_quota_wait_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        3600.0, description="Seconds between tries for a user over Amplitude's daily quota."
    )
    amplitude_key_wait_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="Seconds between tries with an API key that Amplitude refuses."
    )
    amplitude_export_delay_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        10_800, description="Seconds after the start of an hour until exports hold all of it."
    )
    parked_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        4096 * MIB,
        description="Bytes of events that may wait on the worker's disk for Amplitude; past it the"
        " rest waits in the queue.",
    )
    workflows_dir: Path | None = Field(
        None,
        description="Folder of the tenants' own workflow documents, one folder for each tenant;"
        " unset: `workflows` in the data dir.",
    )
    run_files_dir: Path | None = Field(
        None,
        description="Folder of the files that workflow runs leave; workers and gateways share it."
        " Unset: `files` in the data dir.",
    )
    run_file_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        4096 * MIB, description="Bytes of one file that a workflow run may leave."
    )
    workflow_private_hosts: str = Field(
        "",
        description="`host:port` of private or loopback addresses that workflow documents may call,"
        " several with commas; empty: none but that of SLUICE_AMPLITUDE_URL.",
    )
    erase_settle_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        45.0,
        description="Seconds between noting who is erased and deleting: longer than a worker may"
        " need to know of it and to end the insert in hand.",
    )
    erase_backlog_wait_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        600.0,
        description="Seconds for which an erasure waits for older messages of the queues, before it"
        " says in its certificate that they were left to the rule.",
    )
    log_format: str = Field(
        "auto", description="`json`, `text`, or `auto`: text on a terminal, else JSON."
    )
    log_level: str = Field("info", description="`debug`, `info`, `warning` or `error`.")
    log_requests: str = Field(
        "sampled",
        description="Which requests leave a line in the gateway's log: `sampled`, `all` or `off`;"
        " a sample is bounded in lines a second.",
    )
    revision: str = Field(
        "",
        max_length=64,
        description="Commit that this build was made from, for `sluice_build_info`; an image says"
        " it of itself.",
    )

    @field_validator("queue_url")
    @classmethod
    def _queue_url_is_known(cls, value: str) -> str:
        is_local = value.startswith("local:") and len(value) > len("local:")
        if value and not is_local and _PUBSUB.fullmatch(value) is None:
            message = "use local:PATH or pubsub://PROJECT"
            raise ValueError(message)
        return value

    @field_validator("pubsub_endpoint")
    @classmethod
    def _endpoint_is_host_and_port(cls, value: str) -> str:
        if _ENDPOINT.fullmatch(value) is None:
            message = "use host:port, for example europe-west1-pubsub.googleapis.com:443"
            raise ValueError(message)
        return value

    @field_validator("warehouse_url", "jwt_secret")
    @classmethod
    def _secret_has_no_line_end(cls, value: SecretStr) -> SecretStr:
        # A secret store hands out the line end that `openssl rand -hex 32` printed, too.
        return SecretStr(value.get_secret_value().strip())

    @field_validator("warehouse_url")
    @classmethod
    def _warehouse_url_is_http(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not _is_http(url):
            message = "use http(s)://user:password@host:port/database"
            raise ValueError(message)
        return value

    @field_validator("warehouse_ca_file", "warehouse_cert_file", "warehouse_key_file")
    @classmethod
    def _file_is_there(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            message = "there is no such file"
            raise ValueError(message)
        return value

    @field_validator("warehouse_cluster")
    @classmethod
    def _cluster_is_a_name(cls, value: str) -> str:
        if value and _CLUSTER.fullmatch(value) is None:
            message = "use the name of a cluster: letters, digits, _ - . and {cluster}"
            raise ValueError(message)
        return value

    @field_validator("worker_url")
    @classmethod
    def _worker_urls_are_http(cls, value: str) -> str:
        if not value or not all(map(_is_http, value.split(","))):
            message = "use http(s)://host:port, several with commas"
            raise ValueError(message)
        return value

    @field_validator("jwks_url", "amplitude_url")
    @classmethod
    def _url_is_http(cls, value: str) -> str:
        if value and not _is_http(value):
            message = "use http(s)://host:port"
            raise ValueError(message)
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _secret_is_long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < 32:
            message = "use at least 32 bytes, for example from `openssl rand -hex 32`"
            raise ValueError(message)
        return value

    @field_validator("log_format")
    @classmethod
    def _log_format_is_known(cls, value: str) -> str:
        return _one_of(value, ("auto", "json", "text"))

    @field_validator("log_level")
    @classmethod
    def _log_level_is_known(cls, value: str) -> str:
        return _one_of(value, ("debug", "info", "warning", "error"))

    @field_validator("log_requests")
    @classmethod
    def _request_logging_is_known(cls, value: str) -> str:
        return _one_of(value, ("sampled", "all", "off"))

    @property
    def worker_urls(self) -> list[str]:
        """The base addresses of the workers' own ports, at least one."""
        return self.worker_url.split(",")

    @property
    def pubsub_project(self) -> str | None:
        """The Google Cloud project whose Pub/Sub is the queue; None where a file is."""
        match = _PUBSUB.fullmatch(self.queue_url)
        return match[1] if match else None

    @property
    def queue_path(self) -> Path:
        """The file of the local queue."""
        return Path(self.queue_url.removeprefix("local:") or self.data_dir / "queue.sqlite")

    @property
    def spool_path(self) -> Path:
        """The file that takes events while Pub/Sub does not."""
        return self.data_dir / "spool.sqlite"

    @property
    def parked_path(self) -> Path:
        """The file of events that wait for Amplitude."""
        return self.data_dir / "parked.sqlite"

    @property
    def replays_path(self) -> Path:
        """The folder of replays that are not finished."""
        return self.data_dir / "replays"

    @property
    def workflows_path(self) -> Path:
        """The folder of the tenants' own workflow documents."""
        return self.workflows_dir or self.data_dir / "workflows"

    @property
    def run_files_path(self) -> Path:
        """The folder of the files that runs leave."""
        return self.run_files_dir or self.data_dir / "files"

    @property
    def tenants_path(self) -> Path:
        """The tenants file."""
        return self.tenants_file or self.data_dir / "tenants.toml"

    @property
    def warehouse_dir(self) -> Path:
        """The folder of the embedded warehouse."""
        return self.data_dir / "warehouse"

    @property
    def warehouse_url_file(self) -> Path:
        """Where the embedded warehouse writes its address with user and password (mode 0600)."""
        return self.data_dir / "warehouse.url"

    @property
    def warehouse_reader_url_file(self) -> Path:
        """Where the embedded warehouse writes its address for people who only read (mode 0600)."""
        return self.data_dir / "warehouse.reader.url"

    @property
    def jwt_secret_file(self) -> Path:
        """Where a JWT secret that Sluice made itself is kept (mode 0600)."""
        return self.data_dir / "jwt.secret"


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where no port can have this number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        message = f"use one of {', '.join(known)}"
        raise ValueError(message)
    return value


def load_settings(**overrides: object) -> Settings:
    """Read the environment; ``overrides`` (from command-line options) win, None is ignored.

    Raises:
        ConfigError: One line that names the variable, its value unless secret, what is accepted.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    values = _secrets_of_files() | given
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic checks the values itself
    except ValidationError as error:
        raise ConfigError(_one_line(error, given)) from None


def _secrets_of_files() -> dict[str, object]:
    """Return the secrets that a variable with ``_FILE`` at its end says where to read.

    Docker and Kubernetes mount secrets as files; spaces and line ends around them do not count.

    Raises:
        ConfigError: One line that names the variable and what is wrong with the file.
    """
    found: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        variable = f"SLUICE_{name.upper()}"
        path = os.environ.get(f"{variable}_FILE", "")
        if field.annotation is not SecretStr or not path:
            continue
        if os.environ.get(variable):
            message = f"{variable} and {variable}_FILE are both set: keep one of them."
            raise ConfigError(message)
        try:
            text = _text_of(Path(path)).strip()
        except OSError as error:
            message = f"{variable}_FILE is {path!r}: it cannot be read: {error.strerror}."
            raise ConfigError(message) from None
        except UnicodeDecodeError:
            message = f"{variable}_FILE is {path!r}: it holds no UTF-8 text."
            raise ConfigError(message) from None
        if not text:
            message = f"{variable}_FILE is {path!r}: the file is empty."
            raise ConfigError(message)
        found[name] = text
    return found


def _text_of(path: Path) -> str:
    """Return the text of a file of bounded size; a pipe, which may never end, is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        if found.st_size > MAX_SECRET_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_SECRET_BYTES} bytes")
        return file.read(MAX_SECRET_BYTES).decode()


def _one_line(error: ValidationError, given: Mapping[str, object]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    field = Settings.model_fields.get(name)
    is_secret = field is not None and field.annotation is SecretStr
    shown = "(hidden)" if is_secret else repr(first.get("input"))
    reason = first["msg"].removeprefix("Value error, ")
    if field is not None and field.annotation in {int, float}:
        reason = f"use {_accepted(name, field)}"
    option = f" (--{name.replace('_', '-')})" if name in given else ""
    return f"SLUICE_{name.upper()}{option} is {shown}: {reason}."


def _accepted(name: str, field: FieldInfo) -> str:
    """Return which numbers a setting takes, in words."""
    low, above, high = (
        next((getattr(rule, bound) for rule in field.metadata if hasattr(rule, bound)), None)
        for bound in ("ge", "gt", "le")
    )
    if name.endswith("_bytes"):
        return f"bytes as a whole number from {low} up, for example {field.default}"
    kind = "a whole number" if field.annotation is int else "a number"
    if above is not None:
        return f"{kind} above {above}, at most {high}"
    return f"{kind} from {low} {'up' if high is None else f'to {high}'}"
