"""What tests take of the one running stack: a tenant of their own, and settings to join it."""

from collections.abc import Mapping
from functools import cached_property

from sluice.settings import Settings, load_settings
from tests.support.segops import Segops
from tests.support.stack import Stack


class SharedParts:
    """The stack that all tests of a session share."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._files = load_settings(data_dir=stack.data_dir)
        self.common_public_key: tuple[str, str] | None = None
        """Of the common tenant, with its identity secret, once a test needed it."""

    @cached_property
    def warehouse_url(self) -> str:
        """Where its ClickHouse is, with user and password."""
        return self._files.warehouse_url_file.read_text().strip()

    @cached_property
    def jwt_secret(self) -> str:
        """What its read tokens are signed with."""
        return self._files.jwt_secret_file.read_text().strip()

    @property
    def files(self) -> Settings:
        """Where its files are."""
        return self._files

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings of a process that serves the same tenants from the same warehouse."""
        return {
            "TENANTS_FILE": str(self._files.tenants_path),
            "JWT_SECRET": self.jwt_secret,
            "WAREHOUSE_URL": self.warehouse_url,
            "WORKER_URL": self._stack.worker_url,
        }

    @cached_property
    def _common(self) -> tuple[str, str, str]:
        return self._stack.new_tenant()

    def common_client(self, url: str | None = None) -> Segops:
        """Return a client, to be entered, of the tenant of all tests that read nothing back."""
        return self._client(self._common, url)

    def new_client(self, url: str | None = None) -> Segops:
        """Return the client of a new tenant, to be entered; ``url`` is of another gateway."""
        return self._client(self._stack.new_tenant(), url)

    def _client(self, tenant: tuple[str, str, str], url: str | None) -> Segops:
        slug, api_key, read_token = tenant
        return Segops(
            url or self._stack.url,
            self.warehouse_url,
            slug=slug,
            api_key=api_key,
            read_token=read_token,
        )
