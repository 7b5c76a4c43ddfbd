"""``sluice tenant`` and ``sluice token`` beside a running gateway."""

from pathlib import Path
from typing import Any

import aiohttp

from tests.support.command import sluice
from tests.support.poll import poll_until
from tests.support.stack import Stack

EVENT = {"user_id": "u-1", "event_type": "page_viewed"}


async def ask(stack: Stack, *words: str) -> Any:
    ran = await sluice(*words, "--json", settings=stack.settings)
    assert ran.status == 0, ran
    return ran.json


async def track(stack: Stack, key: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{stack.url}/api/ingestion/track",
            json=EVENT,
            headers={"Authorization": f"ApiKey {key}"},
        ) as answer,
    ):
        return answer.status


async def answers(stack: Stack, key: str, status: int) -> None:
    async def is_so() -> bool:
        return await track(stack, key) == status

    await poll_until(is_so, within_s=30, what=f"the key is answered {status}")


async def test_tenant_lives_and_ends_in_the_running_gateway(stack: Stack) -> None:
    slug = "cli-life"
    first = (await ask(stack, "tenant", "add", slug, "--name", "A life"))["api_key"]
    await answers(stack, first, 202)

    second = (await ask(stack, "tenant", "rotate-key", slug))["api_key"]
    await answers(stack, second, 202)
    assert await track(stack, first) == 202, "the old key stays live"

    assert await ask(stack, "tenant", "revoke-key", slug, "--all-but-newest") == {
        "tenant": slug,
        "revoked": 1,
    }
    await answers(stack, first, 401)
    assert await track(stack, second) == 202

    await ask(stack, "tenant", "set", slug, "enabled=false")
    await answers(stack, second, 403)
    ran = await sluice("token", slug, settings=stack.settings)
    assert (ran.status, ran.stdout.count(".")) == (0, 2)
    assert f"{slug} is switched off" in ran.error
    await ask(stack, "tenant", "set", slug, "enabled=true")
    await answers(stack, second, 202)

    public = (await ask(stack, "tenant", "add-key", slug, "--kind", "public"))["api_key"]
    assert public.startswith("pk_live_")
    await answers(stack, public, 403)

    await ask(stack, "tenant", "set-key", slug, public, "allowed_origins=https://shop.example")
    secret = (await ask(stack, "tenant", "add-identity-secret", slug, public))["identity_secret"]
    assert len(bytes.fromhex(secret)) == 32
    await ask(stack, "tenant", "set", slug, "shopify_secrets=hush-secret-1,hush-secret-2")
    await ask(stack, "tenant", "set", slug, "key_events_per_s=500")
    shown = await sluice("tenant", "list", settings=stack.settings)
    assert "key_events_per_s: 500" in shown.stdout
    assert "shopify_secrets: 2" in shown.stdout
    assert "hush-secret" not in shown.stdout
    assert "origins: https://shop.example" in shown.stdout
    assert "1 identity secret" in shown.stdout
    assert secret not in shown.stdout

    listed = (await ask(stack, "tenant", "list"))["tenants"]
    assert secret not in str(listed)
    [found] = [tenant for tenant in listed if tenant["slug"] == slug]
    assert (found["name"], found["enabled"], len(found["api_keys"])) == ("A life", True, 2)
    await ask(stack, "tenant", "revoke-key", slug, found["api_keys"][0]["digest"][:10])
    await answers(stack, second, 401)


async def test_tenant_shows_how_it_is_forwarded_and_no_secret(tmp_path: Path) -> None:
    async def run(*words: str) -> Any:
        return await sluice("tenant", *words, settings={"DATA_DIR": str(tmp_path)})

    await run("add", "shop")
    secret = "0123456789abcdef"
    ran = await run("set", "shop", f"amplitude.api_key={secret}")
    assert ran.stdout == "shop: amplitude.api_key is (hidden) now.\n"
    ran = await run("set", "shop", f"amplitude.secret_key={secret}", "--json")
    assert ran.json == {"tenant": "shop", "amplitude.secret_key": "(hidden)"}
    await run("set", "shop", "amplitude.region=eu")
    await run("set", "shop", "amplitude.drop=[/b]*,[Amplitude] *")
    ran = await run("list", "--json")
    [found] = ran.json["tenants"]
    assert (found["amplitude.api_key"], found["amplitude.region"]) == ("(hidden)", "eu")
    assert found["amplitude.revenue"] == ["order_placed=total"]
    shown = await run("list")
    assert "amplitude.api_key: (hidden)" in shown.stdout
    assert "amplitude.region: eu" in shown.stdout
    assert "amplitude.drop: [/b]*, [Amplitude] *" in shown.stdout, "brackets are no markup"
    assert secret not in ran.stdout + shown.stdout
    ran = await run("set", "shop", "amplitude.api_key=")
    assert ran.stdout == "shop: amplitude.api_key is empty now.\n"
    ran = await run("list", "--json")
    assert ran.json["tenants"][0]["amplitude.api_key"] == ""
    ran = await run("set", "shop", "amplitude.region=asia")
    assert (ran.status, "use us or eu" in ran.error) == (2, True)


async def test_secret_is_read_from_standard_input_where_no_process_list_shows_it(
    tmp_path: Path,
) -> None:
    settings = {"DATA_DIR": str(tmp_path)}
    await sluice("tenant", "add", "shop", settings=settings)
    words = ("tenant", "set", "shop", "amplitude.api_key=-")
    ran = await sluice(*words, settings=settings, stdin=b"0123456789abcdef\n")
    assert ran.stdout == "shop: amplitude.api_key is (hidden) now.\n"
    assert 'api_key = "0123456789abcdef"' in (tmp_path / "tenants.toml").read_text()
    ran = await sluice(*words, settings=settings)
    assert (ran.status, "nothing came" in ran.error) == (2, True)
    ran = await sluice("tenant", "set", "shop", "name=-", settings=settings)
    assert ran.stdout == "shop: name is - now.\n"


async def test_token_reads_its_tenant_s_stats(stack: Stack) -> None:
    slug, _, _ = stack.new_tenant()
    token = (await ask(stack, "token", slug, "--ttl", "15m"))["token"]
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{stack.url}/api/ingestion/stats") as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["total_events"] == 0


async def test_token_starts_runs_unless_it_is_for_reading_only(stack: Stack) -> None:
    slug, _, _ = stack.new_tenant()
    for words, status in (((), 404), (("--scope", "runs"), 404), (("--scope", "read"), 403)):
        token = (await ask(stack, "token", slug, *words))["token"]
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            async with session.get(f"{stack.url}/api/workflow/runs") as answer:
                assert answer.status == 200
            unknown = b'{"config_id":"cg-unknown"}'
            async with session.post(f"{stack.url}/api/workflow/runs", data=unknown) as answer:
                assert answer.status == status, words


async def test_command_refuses_with_one_line_what_cannot_be_done(stack: Stack) -> None:
    slug, own_key, _ = stack.new_tenant()
    for words, reason in (
        (("tenant", "add-identity-secret", slug, own_key), "is a secret key"),
        (("token", "nobody"), "there is no tenant 'nobody'"),
        (("token", slug, "--ttl", "1w"), "--ttl is '1w'"),
        (("token", slug, "--scope", "write"), "--scope is 'write'"),
        (("tenant", "add", slug), "exists already"),
        (("tenant", "add", "No Slug"), "is not a slug"),
        (("tenant", "set", slug, "enabled=maybe"), "use true or false"),
        (("tenant", "set", slug, "name=a\x1b[2Jb"), "one line of at most 200 characters"),
        (("tenant", "add", "other", "--name", "a\nb"), "one line of at most 200 characters"),
        (("tenant", "add-key", slug, "--label", "\x07"), "one line of at most 200 characters"),
        (("tenant", "set", slug, "colour=red"), "'colour' cannot be set"),
        (("tenant", "revoke-key", slug, "ffffffffffff"), "has no key"),
    ):
        ran = await sluice(*words, settings=stack.settings)
        assert ran.status == 2
        assert reason in ran.error


async def test_command_names_the_tenants_file_when_it_does_not_exist(tmp_path: Path) -> None:
    data_dir = tmp_path / "elsewhere"
    for words in (("token", "demo"), ("tenant", "rotate-key", "demo")):
        ran = await sluice(*words, settings={"DATA_DIR": str(data_dir)})
        assert ran.status == 2
        assert f"{data_dir / 'tenants.toml'} does not exist" in ran.error
        assert "SLUICE_TENANTS_FILE" in ran.error
    assert not data_dir.exists(), "asking for a tenant makes no folder"
