"""The tenants file while people and processes edit it."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sluice.core.errors import ConfigError
from sluice.core.tenant import ApiKey
from sluice.tenants import TenantsFile
from tests.support.poll import poll_until


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[TenantsFile]:
    stop = asyncio.Event()
    file = TenantsFile(path)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(file.run(stop))
        yield file
        stop.set()


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


async def test_watcher_takes_over_what_another_process_wrote(path: Path) -> None:
    async with watching(path) as file:
        assert dict(file.directory.by_slug) == {}
        key = TenantsFile(path).add_tenant("shop")
        await poll_until(lambda: file.directory.find_key(key), within_s=30, what="the key is known")
        assert file.problem == ""


@pytest.mark.parametrize("damage", [b"[tenants", b"tenants = 1", None, b"\xff"], ids=str)
async def test_watcher_keeps_the_last_good_tenants_when_the_file_is_broken(
    path: Path, damage: bytes | None
) -> None:
    key = TenantsFile(path).add_tenant("shop")
    good = content_of(path)
    async with watching(path) as file:
        put(path, damage)
        await poll_until(lambda: file.problem, within_s=30, what="the problem is named")
        assert str(path) in file.problem
        assert file.directory.find_key(key) is not None
        put(path, good)
        await poll_until(lambda: not file.problem, within_s=30, what="the problem is over")


def test_file_that_is_broken_from_the_start_is_refused(path: Path) -> None:
    path.write_text("[tenants.shop]\nenabled = 1\n")
    with pytest.raises(ConfigError, match=r"shop\.enabled is not true or false"):
        TenantsFile(path)


def test_edit_keeps_comments_and_what_it_does_not_touch(path: Path) -> None:
    path.write_text('# ours\n[tenants.blog] # the blog\nname = "Blog"\n')
    file = TenantsFile(path)
    file.add_tenant("shop")
    file.set_value("blog", "enabled", "false")
    text = path.read_text()
    assert text.startswith("# ours\n[tenants.blog] # the blog\n")
    assert file.directory.by_slug["blog"].enabled is False
    assert file.directory.by_slug["blog"].name == "Blog"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "table",
    [
        "",
        'amplitude.region = "eu" # ours\n',
        'amplitude = {region = "eu"} # ours\n',
        '[tenants.shop.amplitude]\nregion = "eu" # ours\n',
    ],
    ids=["none", "dotted", "inline", "table"],
)
def test_edit_switches_forwarding_on_and_off_and_keeps_how_it_is_written(
    path: Path, table: str
) -> None:
    first = f'digest = "{"0" * 64}"\n'
    path.write_text(f"[tenants.shop]\n{table}\n[[tenants.shop.api_keys]]\n{first}")
    file = TenantsFile(path)
    file.set_value("shop", "amplitude.api_key", "a-key")
    file.set_value("shop", "amplitude.drop", "a, b")
    found = file.directory.by_slug["shop"]
    assert found.amplitude is not None
    assert (found.amplitude.api_key, found.amplitude.drop) == ("a-key", ("a", "b"))
    assert found.amplitude.region == ("eu" if table else "us")
    assert len(found.api_keys) == 1
    assert ("# ours" in path.read_text()) == bool(table)
    file.rotate_key("shop")
    file.set_value("shop", "amplitude.api_key", "")
    found = file.directory.by_slug["shop"]
    assert (found.amplitude, len(found.api_keys)) == (None, 2)
    assert 'drop = ["a", "b"]' in path.read_text()


def test_edit_is_refused_when_the_file_is_broken_and_the_file_stays(path: Path) -> None:
    file = TenantsFile(path)
    file.add_tenant("shop")
    path.write_text("[tenants")
    with pytest.raises(ConfigError, match="cannot be used"):
        file.add_tenant("blog")
    assert path.read_text() == "[tenants"


async def test_edits_of_many_at_once_all_take_effect(path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(12):
            tasks.create_task(asyncio.to_thread(TenantsFile(path).add_tenant, f"t{number}"))
    assert set(TenantsFile(path).directory.by_slug) == {f"t{n}" for n in range(12)}


def test_rotation_ends_old_keys_only_when_it_is_told_to(path: Path) -> None:
    file = TenantsFile(path)
    first = file.add_tenant("shop")
    public = file.add_key("shop", kind="public", label="web")
    second = file.rotate_key("shop")
    assert all(file.directory.find_key(key) for key in (first, public, second))
    third = file.rotate_key("shop", revoke_old=True)
    live = [key for key in (first, public, second, third) if file.directory.find_key(key)]
    assert live == [public, third]


def test_key_is_revoked_by_its_text_or_the_start_of_its_digest(path: Path) -> None:
    file = TenantsFile(path)
    first = file.add_tenant("shop")
    second = file.rotate_key("shop")
    file.revoke_key("shop", first)
    assert file.directory.find_key(first) is None
    [key] = file.directory.by_slug["shop"].api_keys
    with pytest.raises(ConfigError, match=r"has (more than one|no) key"):
        file.revoke_key("shop", "")
    file.revoke_key("shop", key.digest[:8])
    assert file.directory.find_key(second) is None


def test_public_key_is_set_up_and_its_secrets_take_turns(tmp_path: Path) -> None:
    file = TenantsFile(tmp_path / "tenants.toml")
    file.add_tenant("acme")
    key = file.add_key("acme", kind="public")
    file.set_key_value("acme", key, "allowed_origins", "https://a.example, https://*.b.example")
    first = file.add_identity_secret("acme", key)
    second = file.add_identity_secret("acme", key)

    def public() -> ApiKey:
        return file.directory.by_slug["acme"].api_keys[1]

    assert public().identity_secrets == (first, second)
    assert public().allowed_origins == ("https://a.example", "https://*.b.example")
    assert file.directory.origins == {"https://a.example", "https://*.b.example"}
    assert file.end_older_identity_secrets("acme", key) == 1
    assert public().identity_secrets == (second,)
    assert file.end_older_identity_secrets("acme", key) == 0
    file.set_value("acme", "enabled", "false")
    assert file.directory.origins == set()


def test_secret_key_takes_no_property_of_a_public_one(tmp_path: Path) -> None:
    file = TenantsFile(tmp_path / "tenants.toml")
    key = file.add_tenant("acme")
    with pytest.raises(ConfigError, match="is a secret key"):
        file.set_key_value("acme", key, "allowed_origins", "*")
    with pytest.raises(ConfigError, match="is a secret key"):
        file.add_identity_secret("acme", key)
    with pytest.raises(ConfigError, match="has no key"):
        file.set_key_value("acme", "pk_live_other", "allowed_origins", "*")
