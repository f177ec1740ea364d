"""The door to stores that speak S3: objects by their SHA-256 in one bucket, below one prefix.

`obstore` is loaded when a lab has such a store. Large files go up in parts, by its own doing. Called by
`control.artefacts`.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from homelab.core.errors import HomelabError
from homelab.core.labfile import ArtefactSettings
from homelab.home import references
from homelab.home.paths import Home

_PART_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024


class StoreAway(HomelabError):  # noqa: N818 - a state of the world
    """The store does not answer, or does not let us in."""


class Bucket:
    """See the module. Every method raises StoreAway. `settings.store` is `s3://BUCKET/PREFIX`."""

    def __init__(self, settings: ArtefactSettings, home: Home) -> None:
        """InputError when a secret is not there. Blocking: a keychain may be asked."""
        from obstore.store import S3Store

        self.name = settings.store
        bucket, _, prefix = settings.store.removeprefix("s3://").partition("/")
        keys: dict[str, Any] = {}
        for name, reference in (
            ("access_key_id", settings.access_key),
            ("secret_access_key", settings.secret_key),
        ):
            if reference is not None:
                keys[name] = references.resolve(reference, home=home)
        if settings.endpoint is not None:
            keys["endpoint"] = settings.endpoint
        self._store = S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            region=settings.region,
            client_options={"allow_http": True, "connect_timeout": timedelta(seconds=5)},
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=20)},
            **keys,
        )

    async def put(self, sha256: str, path: Path) -> None:
        import obstore

        with self._saying():
            await obstore.put_async(self._store, _key(sha256), path, chunk_size=_PART_BYTES)

    async def read(self, sha256: str) -> AsyncIterator[bytes] | None:
        """Its bytes as they come; None when it is not there."""
        import obstore

        with self._saying():
            try:
                found = await obstore.get_async(self._store, _key(sha256))
            except FileNotFoundError:
                return None
        return self._blocks(found.stream(min_chunk_size=_BLOCK_BYTES))

    async def _blocks(self, stream: Any) -> AsyncIterator[bytes]:
        with self._saying():
            async for block in stream:
                yield bytes(block)

    async def remove(self, sha256: str) -> None:
        """Nothing is changed when it is not there."""
        import obstore

        with self._saying():
            try:
                await obstore.delete_async(self._store, _key(sha256))
            except FileNotFoundError:
                return

    def _saying(self) -> "_Saying":
        return _Saying(self.name)


class _Saying:
    """Turns what the library raises into StoreAway, without what might hold a key."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, BaseError | OSError | ValueError):
            words = {
                "PermissionDeniedError": "it does not let us in",
                "UnauthenticatedError": "it does not know our key",
            }
            why = words.get(type(error).__name__, "it does not answer as it should")
            raise StoreAway(f"the store {self._name}: {why}", hint="See [artefacts] of the lab file.") from error


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
