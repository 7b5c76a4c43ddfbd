"""ClickHouse over https: a TLS server of a private authority before the embedded warehouse."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sluice.core.errors import ConfigError, WarehouseUnavailableError
from sluice.settings import Settings, load_settings
from sluice.warehouse import upkeep
from sluice.warehouse.client import Warehouse
from tests.support.stack import Stack
from tests.support.tls_front import Authority, tls_front
from tests.support.warehouse import service_url


def settings_of(stack: Stack, port: int, folder: Path, **more: object) -> Settings:
    """Return settings with the address of the TLS server instead of the warehouse's own."""
    parts = urlsplit(service_url(stack.data_dir))
    url = f"https://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}"
    return load_settings(warehouse_url=url, data_dir=folder, **more)


async def test_warehouse_is_reached_over_tls_when_its_authority_is_named(
    stack: Stack, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("server")
    async with tls_front(certificate, stack.warehouse_port) as port:
        settings = settings_of(stack, port, tmp_path, warehouse_ca_file=authority.path)
        async with Warehouse(settings) as warehouse:
            assert await warehouse.fetch(upkeep.NOW)


async def test_warehouse_is_not_spoken_to_when_nobody_trusted_vouches_for_it(
    stack: Stack, tmp_path: Path
) -> None:
    certificate = Authority(tmp_path).issue("server")
    other = Authority(tmp_path, "other")
    async with tls_front(certificate, stack.warehouse_port) as port:
        for more in ({}, {"warehouse_ca_file": other.path}):
            async with Warehouse(settings_of(stack, port, tmp_path, **more)) as warehouse:
                with pytest.raises(WarehouseUnavailableError):
                    await warehouse.fetch(upkeep.NOW)


async def test_client_certificate_is_shown_when_the_server_asks_for_one(
    stack: Stack, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate, mine = authority.issue("server"), authority.issue("client")
    async with tls_front(certificate, stack.warehouse_port, clients_of=authority.path) as port:
        without = settings_of(stack, port, tmp_path, warehouse_ca_file=authority.path)
        async with Warehouse(without) as warehouse:
            with pytest.raises(WarehouseUnavailableError):
                await warehouse.fetch(upkeep.NOW)
        shown = settings_of(
            stack, port, tmp_path, warehouse_ca_file=authority.path, warehouse_cert_file=mine
        )
        async with Warehouse(shown) as warehouse:
            assert await warehouse.fetch(upkeep.NOW)


def test_start_is_refused_when_a_certificate_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SLUICE_WAREHOUSE_CA_FILE .*no such file"):
        load_settings(warehouse_ca_file=tmp_path / "none.pem")
