"""Every SLUICE_* variable, with its unit and meaning. Nothing else reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sluice import setting_checks as checks
from sluice.environment import SecretText, Setting, read_values, setting, settings_of

MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every process; each field is one environment variable."""

    given: frozenset[str] = frozenset()
    """Names of those that an option or the environment sets."""

    data_dir: Path = setting(
        Path("sluice-data"),
        "Where the queue file, the embedded warehouse, tenants and secrets live.",
    )
    queue_url: str = setting(
        "",
        "`pubsub://PROJECT` for Google Pub/Sub, or `local:PATH` of a queue file; "
        "empty: `queue.sqlite` in the data dir.",
        check=checks.is_queue_url,
    )
    pubsub_endpoint: str = setting(
        "pubsub.googleapis.com:443",
        "`host:port` of Google Pub/Sub; a regional one, such as "
        "`europe-west1-pubsub.googleapis.com:443`, keeps events in its region.",
        check=checks.is_host_and_port,
    )
    pubsub_keep_days: int = setting(
        0,
        "Days for which Pub/Sub keeps events that are stored already, so that a lost"
        " ClickHouse can be filled again (docs/recovery.md); 0: it does not.",
        at_least=0,
        at_most=31,
    )
    warehouse_url: SecretText = setting(
        SecretText(""),
        "`http(s)://user:password@host:port/database` of ClickHouse; "
        "empty: the embedded one, whose address and password are in the data dir. "
        "SLUICE_WAREHOUSE_URL_FILE instead names a file that holds it.",
        check=checks.is_warehouse_url,
    )
    warehouse_cluster: str = setting(
        "",
        "Cluster of ClickHouse on which tables are made, with `ON CLUSTER` and"
        " `Replicated…` engines (docs/clickhouse.md); empty for one server, for ClickHouse Cloud,"
        " and for a database whose engine is `Replicated`.",
        check=checks.is_cluster,
    )
    warehouse_ca_file: Path | None = setting(
        None,
        "PEM file of the authorities that ClickHouse's certificate is checked against,"
        " for https; unset: those that this machine trusts.",
        check=checks.is_file,
    )
    warehouse_cert_file: Path | None = setting(
        None,
        "PEM file of a client certificate for ClickHouse; it logs in where the URL has"
        " no password.",
        check=checks.is_file,
    )
    warehouse_key_file: Path | None = setting(
        None,
        "PEM file of the client certificate's key; unset: it is in the same file.",
        check=checks.is_file,
    )
    tenants_file: Path | None = setting(
        None, "The tenants file; unset: `tenants.toml` in the data dir."
    )
    jwt_secret: SecretText = setting(
        SecretText(""),
        "HS256 secret (32 bytes or more) of session tokens and, without "
        "SLUICE_JWKS_URL, of read tokens; empty: one is made and kept in the data dir. "
        "Gateways that share no data dir must share it. SLUICE_JWT_SECRET_FILE instead names a "
        "file that holds it.",
        check=checks.is_long,
    )
    jwks_url: str = setting(
        "",
        "Where RS256/ES256 keys of read tokens are fetched; replaces the secret.",
        check=checks.is_address,
    )
    worker_url: str = setting(
        "http://127.0.0.1:8082",
        "Base address of the worker's own HTTP port, which health asks; where each"
        " destination has a worker of its own, theirs with commas.",
        check=checks.are_addresses,
    )
    host: str = setting("127.0.0.1", "Address that gateway and worker listen on.")
    port: int = setting(
        8080,
        "Port that the gateway listens on; 0 takes a free one. A taken one stops the start.",
        at_least=0,
        at_most=65535,
    )
    warehouse_port: int = setting(
        8123,
        "Port of the embedded warehouse on loopback; 0 takes a free one. Where the "
        "default is taken, `sluice run` takes a free one and says so; a set one stops the start.",
        at_least=0,
        at_most=65535,
    )
    worker_port: int = setting(
        8082,
        "Port of the worker's status and metrics; 0 takes a free one. Where the "
        "default is taken, `sluice run` takes a free one and says so; a set one stops the start.",
        at_least=0,
        at_most=65535,
    )
    queue_max_bytes: int = setting(
        1024 * MIB,
        "Bytes that the local queue, or the spool, may store; past it: 503.",
        at_least=MIB,
    )
    pending_max_bytes: int = setting(
        32 * MIB,
        "Bytes of accepted but not yet durable events in one gateway; past it: 503.",
        at_least=MIB,
    )
    arriving_max_bytes: int = setting(
        10 * MIB,
        "Bytes of requests above 16 KB that arrive at one gateway, wait to be read or "
        "to be durable; past it: 503.",
        at_least=8 * MIB,
    )
    publish_timeout_s: float = setting(
        5.0, "Seconds within which an event is durable, or the answer is 503.", above=0, at_most=9
    )
    body_timeout_s: float = setting(
        10.0,
        "Seconds for a whole request body to arrive, or the answer is 408.",
        above=0,
        at_most=120,
    )
    max_connections: int = setting(
        20_000, "Open client connections of one gateway; past it new ones are closed.", at_least=1
    )
    keepalive_s: float = setting(
        75.0,
        "Seconds that the gateway keeps a silent connection; longer than any load"
        " balancer in front of it does, or requests cross with the end.",
        above=0,
        at_most=3600,
    )
    stop_timeout_s: float = setting(
        8.0,
        "Seconds that a stopping process may take to finish what it holds.",
        above=0,
        at_most=60,
    )
    stop_delay_s: float = setting(
        0.0,
        "Seconds that a stopping gateway goes on taking requests while /readyz says"
        " 503, so that load balancers look away first.",
        at_least=0,
        at_most=60,
    )
    batch_max_rows: int = setting(50_000, "Rows of one insert into the warehouse.", at_least=1)
    batch_max_bytes: int = setting(
        32 * MIB, "Uncompressed bytes of one insert into the warehouse.", at_least=MIB
    )
    batch_max_age_s: float = setting(
        1.0, "Seconds after which a batch is inserted, however small.", above=0, at_most=60
    )
    dedup_filter_keys: int = setting(
        20_000_000,
        "Client-named events whose keys the worker's filter holds (10 bits each); "
        "past it every key is looked up in ClickHouse.",
        at_least=0,
    )
    amplitude_url: str = setting(
        "",
        "Replaces scheme, host and port of every address of Amplitude, for a proxy or"
        " the simulator; empty: Amplitude's own of the tenant's region.",
        check=checks.is_address,
    )
    amplitude_in_flight: int = setting(
        4, "Requests at once for one tenant's Amplitude project.", at_least=1, at_most=64
    )
    amplitude_throttle_wait_s: float = setting(
        30.0,
        "Seconds that a user or project waits that Amplitude throttles.",
        above=0,
        at_most=3600,
    )
    amplitude_quota_wait_s: float = setting(
        3600.0,
        "Seconds between tries for a user over Amplitude's daily quota.",
        above=0,
        at_most=86_400,
    )
    amplitude_key_wait_s: float = setting(
        60.0, "Seconds between tries with an API key that Amplitude refuses.", above=0, at_most=3600
    )
    amplitude_export_delay_s: int = setting(
        10_800,
        "Seconds after the start of an hour until exports hold all of it.",
        at_least=0,
        at_most=86_400,
    )
    parked_max_bytes: int = setting(
        4096 * MIB,
        "Bytes of events that may wait on the worker's disk for Amplitude; past it the"
        " rest waits in the queue.",
        at_least=MIB,
    )
    workflows_dir: Path | None = setting(
        None,
        "Folder of the tenants' own workflow documents, one folder for each tenant;"
        " unset: `workflows` in the data dir.",
    )
    run_files_dir: Path | None = setting(
        None,
        "Folder of the files that workflow runs leave; workers and gateways share it."
        " Unset: `files` in the data dir.",
    )
    run_file_max_bytes: int = setting(
        4096 * MIB, "Bytes of one file that a workflow run may leave.", at_least=MIB
    )
    workflow_private_hosts: str = setting(
        "",
        "`host:port` of private or loopback addresses that workflow documents may call,"
        " several with commas; empty: none but that of SLUICE_AMPLITUDE_URL.",
    )
    erase_settle_s: float = setting(
        45.0,
        "Seconds between noting who is erased and deleting: longer than a worker may"
        " need to know of it and to end the insert in hand.",
        above=0,
        at_most=3600,
    )
    erase_backlog_wait_s: float = setting(
        600.0,
        "Seconds for which an erasure waits for older messages of the queues, before it"
        " says in its certificate that they were left to the rule.",
        at_least=0,
        at_most=86_400,
    )
    log_format: str = setting(
        "auto",
        "`json`, `text`, or `auto`: text on a terminal, else JSON.",
        check=checks.one_of("auto", "json", "text"),
    )
    log_level: str = setting(
        "info",
        "`debug`, `info`, `warning` or `error`.",
        check=checks.one_of("debug", "info", "warning", "error"),
    )
    log_requests: str = setting(
        "sampled",
        "Which requests leave a line in the gateway's log: `sampled`, `all` or `off`;"
        " a sample is bounded in lines a second.",
        check=checks.one_of("sampled", "all", "off"),
    )
    revision: str = setting(
        "",
        "Commit that this build was made from, for `sluice_build_info`; an image says"
        " it of itself.",
        check=checks.is_short,
    )

    @property
    def worker_urls(self) -> list[str]:
        """The base addresses of the workers' own ports, at least one."""
        return self.worker_url.split(",")

    @property
    def pubsub_project(self) -> str | None:
        """The Google Cloud project whose Pub/Sub is the queue; None where a file is."""
        match = checks.PUBSUB.fullmatch(self.queue_url)
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


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(settings_of(Settings))
"""Every setting by its name, in the order of the pages."""


def load_settings(**overrides: object) -> Settings:
    """Read the environment; ``overrides`` (from command-line options) win, None is ignored.

    Raises:
        ConfigError: One line that names the variable, its value unless secret, what is accepted.
    """
    values: dict[str, Any] = read_values(SETTINGS, overrides, os.environ)
    return Settings(**values, given=frozenset(values))
