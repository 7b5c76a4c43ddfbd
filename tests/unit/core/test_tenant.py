"""The tenants file as text -> tenants, or one clear error."""

import pytest

from sluice.core.errors import ConfigError
from sluice.core.property_values import parse_value
from sluice.core.tenant import ApiKey, Directory, Tenant, digest_of
from sluice.core.tenant_file import PROPERTIES, parse_directory

SECRET = "sk_live_one"
PUBLIC = "pk_live_two"
FILE = f"""
# a comment
[tenants.shop]
name = "The shop"
enabled = false
strict_event_types = true

[[tenants.shop.api_keys]]
digest = "{digest_of(SECRET)}"
kind = "secret"
label = "first"
created_at = "2026-04-25T14:47:00Z"

[[tenants.shop.api_keys]]
digest = "{digest_of(PUBLIC)}"
kind = "public"

[tenants.blog]
"""


def test_file_gives_every_property_of_a_tenant() -> None:
    directory = parse_directory(FILE)
    assert directory.by_slug["shop"] == Tenant(
        slug="shop",
        enabled=False,
        strict_event_types=True,
        name="The shop",
        api_keys=(
            ApiKey(digest_of(SECRET), "secret", "first", "2026-04-25T14:47:00Z"),
            ApiKey(digest_of(PUBLIC), "public"),
        ),
    )
    assert directory.by_slug["blog"] == Tenant(slug="blog")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[tenants]\n"])
def test_file_without_tenants_gives_none(text: str) -> None:
    assert parse_directory(text) == Directory()


@pytest.mark.parametrize(
    ("credential", "kind"), [(SECRET, "secret"), (PUBLIC, "public")], ids=["secret", "public"]
)
def test_key_finds_its_tenant_and_kind(credential: str, kind: str) -> None:
    found = parse_directory(FILE).find_key(credential)
    assert found is not None
    tenant, key = found
    assert (tenant.slug, key.kind) == ("shop", kind)


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "sk_live_other",
        SECRET.upper(),
        SECRET + " ",
        digest_of(SECRET),
        "sk_\udcff",
        "schlüssel",
    ],
    ids=["empty", "other", "upper case", "a space more", "its digest", "no UTF-8", "no ASCII"],
)
def test_key_finds_nobody_when_it_is_not_exactly_a_live_one(credential: str) -> None:
    assert parse_directory(FILE).find_key(credential) is None


BAD_FILES = {
    "no TOML": ("[tenants.a]\nenabled = ?", "line 2"),
    "unknown table": ("[tenant.shop]", "unknown 'tenant'"),
    "tenants no table": ("tenants = 1", "tenants is not a table"),
    "tenant no table": ("[tenants]\nshop = 1", "tenants.shop is not a table"),
    "upper-case slug": ("[tenants.Shop]", "tenants.Shop: a slug is"),
    "long slug": (f"[tenants.{'a' * 64}]", "a slug is 1 to 63"),
    "slug with a dash first": ("[tenants.-a]", "a slug is"),
    "misspelt property": ("[tenants.shop]\nenabld = true", "unknown 'enabld'"),
    "enabled as text": ('[tenants.shop]\nenabled = "yes"', "shop.enabled is not true or false"),
    "name as number": ("[tenants.shop]\nname = 1", "shop.name is not a string"),
    "keys no list": ("[tenants.shop]\napi_keys = 1", "api_keys is not a list"),
    "key no table": ("[tenants.shop]\napi_keys = [1]", "api_keys[0] is not a table"),
    "key in clear": (
        f'[[tenants.shop.api_keys]]\ndigest = "{SECRET}"',
        "api_keys[0].digest is not a SHA-256",
    ),
    "unknown kind": (
        f'[[tenants.shop.api_keys]]\ndigest = "{digest_of(SECRET)}"\nkind = "mk"',
        "api_keys[0].kind is 'mk': use secret or public",
    ),
    "one key twice": (
        f'[tenants.a]\napi_keys = [{{digest = "{digest_of(SECRET)}"}}]\n'
        f'[tenants.b]\napi_keys = [{{digest = "{digest_of(SECRET)}"}}]',
        "stands at tenant 'a' and at 'b'",
    ),
}


@pytest.mark.parametrize(("text", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_file_is_refused_with_the_place_and_reason(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_directory(text)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value), "what stands where a digest should be may be a key"


@pytest.mark.parametrize(
    ("domain", "is_taken"),
    [
        ("acme.myshopify.com", True),
        ("shop.example", True),
        ("acme", False),
        ("acme.", False),
        (".acme.example", False),
        ("acme..example", False),
        ("-acme.example", False),
        ("Acme.example", False),
        ("a." * 127 + "example", False),
    ],
)
def test_shop_domain_is_taken_when_it_is_a_whole_domain(domain: str, is_taken: bool) -> None:
    text = f'[tenants.shop]\nshopify_shop_domains = ["{domain}"]\n'
    if is_taken:
        assert parse_directory(text).by_slug["shop"].shopify_shop_domains == (domain,)
    else:
        with pytest.raises(ConfigError, match=r"a domain such as acme\.myshopify\.com"):
            parse_directory(text)


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example:443",
        "https://*.com",
        "http://shop.example:80",
        "https://user@shop.example",
        "https://user:word@shop.example",
        "https://shop.example:99999",
        "https://[::1",
    ],
)
def test_origin_is_refused_when_no_browser_sends_it(origin: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        parse_directory(file_with_origin(origin))


def test_origin_with_a_port_of_its_own_is_taken() -> None:
    (key,) = parse_directory(file_with_origin("https://shop.example:8443")).by_slug["shop"].api_keys
    assert key.allowed_origins == ("https://shop.example:8443",)


def file_with_origin(origin: str) -> str:
    return (
        f'[tenants.shop]\n[[tenants.shop.api_keys]]\ndigest = "{digest_of(PUBLIC)}"\n'
        f'kind = "public"\nallowed_origins = ["{origin}"]\n'
    )


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\tb", "\u2028", "\udcff", "x" * 201])
def test_name_is_refused_when_it_is_not_one_line_for_a_terminal(name: str) -> None:
    with pytest.raises(ConfigError, match="one line of at most 200 characters"):
        parse_value(PROPERTIES["name"], name)


@pytest.mark.parametrize("name", ["", "Zoë's Läden & Söhne", "店", "👩‍💻 shop", "x" * 200])
def test_name_is_taken_in_any_script(name: str) -> None:
    assert parse_value(PROPERTIES["name"], name) == name
