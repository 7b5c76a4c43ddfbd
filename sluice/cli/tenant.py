"""``sluice tenant``: the tenants file. Running gateways see a change within a moment."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sluice.cli.options import AsJson, DataDir, Slug, print_json
from sluice.core.amplitude_properties import AMPLITUDE
from sluice.core.errors import ConfigError
from sluice.core.property import Property
from sluice.core.tenant import KEY_KINDS, ApiKey, Tenant
from sluice.core.tenant_file import KEY_PROPERTIES, PROPERTIES
from sluice.settings import load_settings
from sluice.tenants import TenantsFile

SHOWN_DIGITS = 12
MAX_SECRET_CHARS = 16_384
"""Read of standard input: more than all values of one list."""

Digest = Annotated[str, typer.Argument(help="First digits of the key's digest, or the key itself.")]

app = typer.Typer()
tenant = typer.Typer(no_args_is_help=True)
app.add_typer(
    tenant, name="tenant", help="Add tenants, rotate and revoke their API keys, change them."
)


@tenant.command()
def add(
    slug: Slug,
    *,
    name: Annotated[str, typer.Option("--name", help="A name for people.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Add a tenant and print its API key, once: only a digest is kept.

    Example: `sluice tenant add shop --name "The shop"`
    """
    key = _file(data_dir).add_tenant(slug, name=name)
    _print_key(slug, key, as_json=as_json)


@tenant.command(name="list")
def list_tenants(*, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the tenants with their keys' digests and what else was set."""
    file = _file(data_dir)
    found = list(file.directory.by_slug.values())
    if as_json:
        print_json({"tenants": [_as_data(each) for each in found]})
        return
    if not found:
        missing = "" if file.path.exists() else f" ({file.path.absolute()} does not exist)"
        print(f"No tenants yet{missing}: `sluice tenant add SLUG` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("slug", "name", "enabled", "strict", "keys and other settings"):
        table.add_column(title, overflow="fold")
    for each in found:
        table.add_row(
            each.slug,
            each.name,
            _word(each.enabled),
            _word(each.strict_event_types),
            "\n".join((*map(_key_words, each.api_keys), *_settings_words(each))),
        )
    Console(markup=False).print(table)  # names and patterns may hold brackets


@tenant.command(name="rotate-key")
def rotate_key(
    slug: Slug,
    *,
    revoke_old: Annotated[
        bool,
        typer.Option("--revoke-old/--keep-old", help="Whether older secret keys end now."),
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new secret key and print it, once. The older ones stay live until you revoke them.

    Example: `sluice tenant rotate-key shop`, put the new key in place, then
    `sluice tenant revoke-key shop --all-but-newest`
    """
    key = _file(data_dir).rotate_key(slug, revoke_old=revoke_old)
    _print_key(slug, key, as_json=as_json)
    if not (revoke_old or as_json):
        print(f"Older keys stay live: sluice tenant revoke-key {slug} --all-but-newest")


@tenant.command(name="add-key")
def add_key(
    slug: Slug,
    *,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="secret (sk_…) or public (pk_…). A public key may stand in an app or page: it "
            "only opens sessions (docs/client-apps.md).",
        ),
    ] = "secret",
    label: Annotated[str, typer.Option("--label", help="What the key is for.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make one more key of a kind and print it, once.

    Example: `sluice tenant add-key shop --kind public --label web`, then
    `sluice tenant set-key shop DIGEST allowed_origins=https://shop.example`
    """
    for known in KEY_KINDS:
        if kind == known:
            key = _file(data_dir).add_key(slug, kind=known, label=label)
            _print_key(slug, key, as_json=as_json)
            return
    message = f"--kind is {kind!r}: use {' or '.join(KEY_KINDS)}."
    raise ConfigError(message)


@tenant.command(name="revoke-key")
def revoke_key(
    slug: Slug,
    digest: Annotated[
        str, typer.Argument(help="First digits of the key's digest, or the key itself.")
    ] = "",
    *,
    all_but_newest: Annotated[
        bool, typer.Option("--all-but-newest", help="Revoke every secret key but the newest.")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """End a key: requests with it get 401 from then on.

    Example: `sluice tenant revoke-key shop 3f6a09c1`
    """
    if bool(digest) == all_but_newest:
        message = "give the digest of one key, or --all-but-newest."
        raise ConfigError(message)
    file = _file(data_dir)
    if all_but_newest:
        count = file.revoke_all_but_newest(slug)
    else:
        file.revoke_key(slug, digest)
        count = 1
    if as_json:
        print_json({"tenant": slug, "revoked": count})
    else:
        print(f"Revoked {count} key{'' if count == 1 else 's'} of {slug}.")


@tenant.command(name="set")
def set_value(
    slug: Slug,
    assignment: Annotated[
        str,
        typer.Argument(
            help="KEY=VALUE, several values with commas; a secret as KEY=- is read from standard"
            f" input, where no list of processes shows it. Keys: {', '.join(PROPERTIES)}."
        ),
    ],
    *,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Change one property of a tenant.

    Example: `sluice tenant set shop enabled=false`
    """
    name, text = _with_secret(*_parts(assignment), PROPERTIES)
    value = _file(data_dir).set_value(slug, name, text)
    _print_set(PROPERTIES[name], value, {"tenant": slug}, as_json=as_json)


@tenant.command(name="set-key")
def set_key_value(
    slug: Slug,
    digest: Digest,
    assignment: Annotated[
        str,
        typer.Argument(
            help=f"KEY=VALUE, several values with commas. Keys: {', '.join(KEY_PROPERTIES)}."
        ),
    ],
    *,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Change one property of a public key: which pages may use it, what must be signed.

    Example: `sluice tenant set-key shop 3f6a09c1 allowed_origins=https://shop.example`
    """
    name, text = _with_secret(*_parts(assignment), KEY_PROPERTIES)
    file = _file(data_dir)
    value = file.set_key_value(slug, digest, name, text)
    _print_set(KEY_PROPERTIES[name], value, {"tenant": slug}, as_json=as_json)


@tenant.command(name="add-identity-secret")
def add_identity_secret(
    slug: Slug,
    digest: Digest,
    *,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make a secret for your server to sign user ids with, and print it, once.

    The older ones of the key stay live until you end them, so that it can be changed without a gap.

    Example: `sluice tenant add-identity-secret shop 3f6a09c1`, put the new secret in place, then
    `sluice tenant end-identity-secrets shop 3f6a09c1`
    """
    secret = _file(data_dir).add_identity_secret(slug, digest)
    if as_json:
        print_json({"tenant": slug, "identity_secret": secret})
        return
    print(
        f"Identity secret of {slug}, in hex. It is for your server only; the tenants file keeps"
        f" it, no command shows it again:\n\n  {secret}\n"
    )


@tenant.command(name="end-identity-secrets")
def end_identity_secrets(
    slug: Slug, digest: Digest, *, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """End every identity secret of a public key but the newest.

    Example: `sluice tenant end-identity-secrets shop 3f6a09c1`
    """
    count = _file(data_dir).end_older_identity_secrets(slug, digest)
    if as_json:
        print_json({"tenant": slug, "ended": count})
    else:
        print(f"Ended {count} identity secret{'' if count == 1 else 's'} of {slug}.")


def _parts(assignment: str) -> tuple[str, str]:
    name, sign, text = assignment.partition("=")
    if not sign:
        message = "give KEY=VALUE, such as enabled=false."
        raise ConfigError(message)
    return name.strip(), text.strip()


def _with_secret(name: str, text: str, known: Mapping[str, Property]) -> tuple[str, str]:
    """Return a property and its text, which for a secret given as ``-`` is the first line read."""
    one = known.get(name)
    if text != "-" or one is None or one.kind not in {"secret", "secrets"}:
        return name, text
    line = sys.stdin.readline(MAX_SECRET_CHARS).strip()
    if not line:
        message = f"{name}=- is to be read from standard input, and nothing came."
        raise ConfigError(message)
    return name, line


def _print_set(one: Property, value: object, of: dict[str, object], *, as_json: bool) -> None:
    # Who sets a secret knows it; who looks at the screen or the log of a pipeline need not.
    shown = _shown(one, value)
    if as_json:
        print_json({**of, one.name: shown})
        return
    if one.kind == "secrets":
        words = "has 1 value" if shown == 1 else f"has {shown} values"
    else:
        words = f"is {_text(shown)}"
    print(f"{of['tenant']}: {one.name} {words} now.")


def _shown(one: Property, value: object) -> object:
    """Return what may be seen of a value: of a secret that it is there, of several how many."""
    if one.kind == "secrets":
        return len(value) if isinstance(value, tuple) else 0
    return "(hidden)" if one.is_hidden and value else value


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    if value == "":
        return "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _file(data_dir: DataDir) -> TenantsFile:
    return TenantsFile(load_settings(data_dir=data_dir).tenants_path)


def _print_key(slug: str, key: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"tenant": slug, "api_key": key})
    else:
        print(f"API key of {slug}, shown once:\n\n  {key}\n")


def _as_data(found: Tenant) -> dict[str, object]:
    return {
        "slug": found.slug,
        "name": found.name,
        "enabled": found.enabled,
        "strict_event_types": found.strict_event_types,
        **_more(found),
        "api_keys": [
            {
                "digest": key.digest,
                "kind": key.kind,
                "label": key.label,
                "created_at": key.created_at,
                **(_public_as_data(key) if key.kind == "public" else {}),
            }
            for key in found.api_keys
        ],
    }


def _public_as_data(key: ApiKey) -> dict[str, object]:
    return {
        "allowed_origins": key.allowed_origins,
        "requires_signature": key.requires_signature,
        "identity_secrets": len(key.identity_secrets),
    }


def _more(found: Tenant) -> dict[str, object]:
    """Return the other properties, secrets hidden; what says how to forward, if that is done."""
    own = {
        name: _shown(one, getattr(found, name))
        for name, one in PROPERTIES.items()
        if name not in {"name", "enabled", "strict_event_types"} and "." not in name
    }
    if found.amplitude is None:
        return {**own, "amplitude.api_key": ""}
    amplitude = {
        one.name: _shown(one, getattr(found.amplitude, name)) for name, one in AMPLITUDE.items()
    }
    return {**own, **amplitude}


def _settings_words(found: Tenant) -> Iterator[str]:
    """Yield what else is not as it is by itself; of secrets only how many there are."""
    for name, value in _more(found).items():
        one = PROPERTIES[name]
        if value != _shown(one, one.default):
            yield f"{name}: {_text(value)}"


def _key_words(key: ApiKey) -> str:
    words = f"{key.digest[:SHOWN_DIGITS]}  {key.kind}  {key.created_at}  {key.label}".rstrip()
    if key.kind == "secret":
        return words
    count = len(key.identity_secrets)
    more = [
        f"origins: {', '.join(key.allowed_origins) or 'none'}",
        f"{count} identity secret{'' if count == 1 else 's'}",
        *(["signature required"] if key.requires_signature else []),
    ]
    return "\n  ".join((words, *more))


def _word(value: bool) -> str:  # noqa: FBT001 - a value to show, not a mode
    return "yes" if value else "no"
