"""The tenants file: read, watched, and edited by the ``sluice tenant`` command.

Invariants:

* What a process serves is always a whole, valid file: a broken one keeps the last good tenants and
  is named in ``problem``. A file that vanishes while a process runs is a problem too (it may be in
  the middle of being replaced); a file that is absent at the start means no tenants yet.
* Edits hold a lock beside the file, keep comments and order, and replace the file in one step, so
  that two commands at once both take effect and no reader sees half a file.

Reading and editing block on the disk; ``run`` does it in a thread.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sluice.core.errors import ConfigError
from sluice.core.property import Property
from sluice.core.property_values import one_line, parse_value
from sluice.core.tenant import (
    SLUG,
    SLUG_RULE,
    ApiKey,
    Directory,
    KeyKind,
    digest_of,
)
from sluice.core.tenant_file import (
    KEY_PROPERTIES,
    PROPERTIES,
    parse_directory,
)
from sluice.credentials import new_api_key, new_identity_secret
from sluice.private_files import ensure_private_dir, replace_file

if TYPE_CHECKING:  # imported where the file is edited: who only reads it starts without
    from tomlkit import TOMLDocument

WATCH_EVERY_S: Final = 0.1
MAX_KEYS: Final = 100
"""Live keys of one tenant; rotation for ever must not grow the file for ever."""
_HEADER: Final = "Tenants of Sluice and the SHA-256 digests of their API keys; see `sluice tenant`."

_log = logging.getLogger(__name__)
_Stamp = tuple[int, int, int]


class TenantsFile:
    """The tenants as the file has them now. The constructor reads it once.

    Args:
        path: Where the file is.
        may_be_broken: A file that is broken from the start is no error but a ``problem``, and there
            are no tenants until it is mended; for who can wait that long.

    Raises:
        ConfigError: The file is broken, from the start: serving nobody would refuse every event.
    """

    def __init__(self, path: Path, *, may_be_broken: bool = False) -> None:
        self.path = path
        self.problem = ""
        """Why the file could not be taken, in one sentence; empty when all is well."""
        self._stamp: _Stamp | None = None
        self._directory = Directory()
        try:
            self._stamp = _stamp_of(path)
            self._directory = _read(path) if self._stamp is not None else Directory()
        except ConfigError as error:
            if not may_be_broken:
                raise
            self.problem = str(error)

    @property
    def directory(self) -> Directory:
        """The last good tenants."""
        return self._directory

    async def run(self, stop: asyncio.Event) -> None:
        """Take over changes of the file within some 0.1 s, until ``stop``."""
        while not stop.is_set():
            await asyncio.to_thread(self.refresh)
            try:
                async with asyncio.timeout(WATCH_EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    def refresh(self) -> None:
        """Read the file again if it changed."""
        stamp = _stamp_of(self.path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if stamp is None:
                message = f"the tenants file {self.path} is gone"
                raise ConfigError(message)  # noqa: TRY301 - one place that keeps the last good one
            self._directory = _read(self.path)
        except ConfigError as error:
            self.problem = str(error)
            _log.error(
                "The tenants file was not taken; the last good tenants stay",
                extra={"reason": self.problem},
            )
        else:
            self.problem = ""
            _log.info("Tenants read", extra={"tenants": len(self._directory.by_slug)})

    def add_tenant(self, slug: str, *, name: str = "") -> str:
        """Add a tenant with one secret key; return the key's text, which is kept nowhere.

        Raises:
            ConfigError: The slug is not one, or is taken; or the name is not one line.
        """
        import tomlkit

        one_line(name, "name")
        if not SLUG.fullmatch(slug):
            message = f"{slug!r} is not a slug: use {SLUG_RULE}."
            raise ConfigError(message)
        with self._edited() as document:
            tenants = document.setdefault("tenants", tomlkit.table(is_super_table=True))
            if slug in tenants:
                message = f"tenant {slug!r} exists already: `sluice tenant rotate-key {slug}`"
                raise ConfigError(f"{message} makes a new key.")
            table = tomlkit.table()
            table["name"] = name
            table["enabled"] = True
            table["strict_event_types"] = False
            tenants[slug] = table
            return _append_key(table, "secret", "first")

    def rotate_key(self, slug: str, *, revoke_old: bool = False) -> str:
        """Add a secret key and return its text; the older ones stay live unless told otherwise."""
        with self._edited_tenant(slug) as table:
            if revoke_old:
                _keep_keys(table, lambda key: key.get("kind", "secret") != "secret")
            return _append_key(table, "secret", "rotated")

    def add_key(self, slug: str, *, kind: KeyKind, label: str = "") -> str:
        """Add a key of either kind and return its text.

        Raises:
            ConfigError: There is no such tenant, or the label is not one line.
        """
        one_line(label, "label")
        with self._edited_tenant(slug) as table:
            return _append_key(table, kind, label)

    def revoke_key(self, slug: str, digest_prefix: str) -> ApiKey:
        """Remove the one key whose digest starts with the prefix (or whose whole text is given).

        Raises:
            ConfigError: No key matches, or several do.
        """
        found = self._one_key(slug, digest_prefix)
        with self._edited_tenant(slug) as table:
            _keep_keys(table, lambda key: key.get("digest") != found.digest)
        return found

    def revoke_all_but_newest(self, slug: str) -> int:
        """Remove every secret key but the last one; return how many went."""
        old = {key.digest for key in self._keys(slug) if key.kind == "secret"}
        newest = [key.digest for key in self._keys(slug) if key.kind == "secret"][-1:]
        old.difference_update(newest)
        with self._edited_tenant(slug) as table:
            _keep_keys(table, lambda key: key.get("digest") not in old)
        return len(old)

    def set_value(self, slug: str, name: str, text: str) -> object:
        """Set one property of a tenant from its text; return the value.

        Raises:
            ConfigError: There is no such property, or the text does not fit its type.
        """
        import tomlkit

        value = parse_value(_property(PROPERTIES, name), text)
        group, _, own_name = name.rpartition(".")
        with self._edited_tenant(slug) as table:
            (table.setdefault(group, tomlkit.table()) if group else table)[own_name] = value
        return value

    def set_workflow(
        self, slug: str, config_id: str, changes: Mapping[tuple[str, ...], object]
    ) -> None:
        """Change keys of a workflow's table, which is made if absent.

        Args:
            slug: The tenant.
            config_id: The workflow.
            changes: Values by path, such as ``("inputs", "cohortId")``; None takes a key away.

        Raises:
            ConfigError: There is no such tenant, or the table would be wrong.
        """
        import tomlkit

        with self._edited_tenant(slug) as table:
            workflows = table.setdefault("workflows", tomlkit.table(is_super_table=True))
            own = workflows.setdefault(config_id, tomlkit.table())
            for (*groups, name), value in changes.items():
                part = own
                for group in groups:
                    part = part.setdefault(group, tomlkit.table())
                if value is None:
                    part.pop(name, None)
                else:
                    part[name] = value

    def remove_workflow(self, slug: str, config_id: str) -> None:
        """Take a workflow's table away; a default one is then as it was.

        Raises:
            ConfigError: There is no such tenant or table.
        """
        with self._edited_tenant(slug) as table:
            if config_id not in table.get("workflows", {}):
                message = f"the settings of {slug!r} have no workflow {config_id!r}."
                raise ConfigError(message)
            del table["workflows"][config_id]

    def set_key_value(self, slug: str, digest_prefix: str, name: str, text: str) -> object:
        """Set one property of a public key from its text; return the value.

        Raises:
            ConfigError: There is no such key or property, or the text does not fit.
        """
        value = parse_value(_property(KEY_PROPERTIES, name), text)
        with self._edited_public_key(slug, digest_prefix) as key:
            key[name] = value
        return value

    def add_identity_secret(self, slug: str, digest_prefix: str) -> str:
        """Give a public key one more secret to sign user ids with; return its hex.

        Raises:
            ConfigError: There is no such key, it is a secret one, or it has as many as it may.
        """
        secret = new_identity_secret()
        with self._edited_public_key(slug, digest_prefix) as key:
            key["identity_secrets"] = [*key.get("identity_secrets", []), secret]
        return secret

    def end_older_identity_secrets(self, slug: str, digest_prefix: str) -> int:
        """Keep only the newest identity secret of a public key; return how many went."""
        with self._edited_public_key(slug, digest_prefix) as key:
            secrets = list(key.get("identity_secrets", []))
            key["identity_secrets"] = secrets[-1:]
        return max(0, len(secrets) - 1)

    @contextmanager
    def _edited_public_key(self, slug: str, digest_prefix: str) -> Iterator[Any]:
        digest = self._public_key(slug, digest_prefix).digest
        with self._edited_tenant(slug) as table:
            for key in table.get("api_keys", []):
                if key.get("digest") == digest:
                    yield key
                    return
            message = f"the key {digest[:12]}… of {slug!r} was just revoked"
            raise ConfigError(f"{message}: nothing was changed.")

    def _public_key(self, slug: str, digest_prefix: str) -> ApiKey:
        key = self._one_key(slug, digest_prefix)
        if key.kind != "public":
            message = f"key {key.digest[:12]}… of {slug!r} is a secret key: only a public key"
            raise ConfigError(f"{message} (pk_…) has origins, signatures and identity secrets.")
        return key

    def _one_key(self, slug: str, digest_prefix: str) -> ApiKey:
        keys = self._keys(slug)
        found = [key for key in keys if key.digest == digest_of(digest_prefix)]
        found = found or [key for key in keys if key.digest.startswith(digest_prefix.lower())]
        if len(found) != 1 or not digest_prefix:
            count = "more than one key" if found else "no key"
            message = f"{slug!r} has {count} with a digest that starts with {digest_prefix!r}"
            raise ConfigError(f"{message}: `sluice tenant list` shows them.")
        return found[0]

    def _keys(self, slug: str) -> tuple[ApiKey, ...]:
        self.refresh()
        tenant = self._directory.by_slug.get(slug)
        if tenant is None:
            raise unknown_tenant(slug, self.path)
        return tenant.api_keys

    @contextmanager
    def _edited_tenant(self, slug: str) -> Iterator[Any]:
        if not self.path.exists():  # else looking for a tenant would make a folder
            raise unknown_tenant(slug, self.path)
        with self._edited() as document:
            # tomlkit's items are typed for reading only; the whole file is parsed again before it
            # is put in place, so a wrong shape cannot get out of here.
            tenants: Any = document.get("tenants", {})
            if slug not in tenants:
                raise unknown_tenant(slug, self.path)
            yield tenants[slug]

    @contextmanager
    def _edited(self) -> Iterator["TOMLDocument"]:
        import tomlkit

        ensure_private_dir(self.path.parent)
        with _lock(self.path.with_name(f".{self.path.name}.lock")):
            if self.path.exists():
                _read(self.path)
                document = tomlkit.parse(self.path.read_text(encoding="utf-8"))
            else:
                document = tomlkit.document()
                document.add(tomlkit.comment(_HEADER))
            yield document
            text = tomlkit.dumps(document)
            parse_directory(text)
            replace_file(self.path, text)
            self.refresh()


def _property(known: Mapping[str, Property], name: str) -> Property:
    found = known.get(name)
    if found is None:
        message = f"{name!r} cannot be set: known are {', '.join(known)}."
        raise ConfigError(message)
    return found


def unknown_tenant(slug: str, path: Path) -> ConfigError:
    """Return the error for a slug that stands nowhere in the file at ``path``."""
    remedy = "`sluice tenant list` shows them"
    if not path.exists():
        remedy = (
            f"the tenants file {path.absolute()} does not exist;"
            " --data-dir (SLUICE_DATA_DIR) or SLUICE_TENANTS_FILE says where it is"
        )
    return ConfigError(f"there is no tenant {slug!r}: {remedy}.")


def _read(path: Path) -> Directory:
    try:
        return parse_directory(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        message = f"the tenants file {path} cannot be used: {error}."
    except UnicodeDecodeError as error:
        message = f"the tenants file {path} is not UTF-8 (byte {error.start})."
    except OSError as error:
        message = f"the tenants file {path} cannot be read: {error.strerror}."
    raise ConfigError(message)


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the tenants file {path} cannot be read: {error.strerror}."
        raise ConfigError(message) from None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _append_key(table: Any, kind: KeyKind, label: str) -> str:
    import tomlkit

    keys: Any = table.setdefault("api_keys", tomlkit.aot())
    if len(keys) >= MAX_KEYS:
        message = f"the tenant has {MAX_KEYS} keys: revoke old ones with `sluice tenant revoke-key`"
        raise ConfigError(f"{message}.")
    text = new_api_key(kind)
    key = tomlkit.table()
    key["digest"] = digest_of(text)
    key["kind"] = kind
    key["label"] = label
    key["created_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys.append(key)
    return text


def _keep_keys(table: Any, is_kept: Any) -> None:
    keys = table.get("api_keys", [])
    for index in reversed(range(len(keys))):
        if not is_kept(keys[index]):
            del keys[index]
