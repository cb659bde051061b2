"""An fsspec file system of a shared folder. Importing this module needs fsspec."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fsspec.implementations.dirfs import (  # type: ignore[import-untyped]
    DirFileSystem,  # pyright: ignore[reportMissingTypeStubs] - fsspec has none
)
from obstore.fsspec import FsspecStore


class _Bucket(FsspecStore):
    root: str

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        if path == self.root:  # the credentials are for names below this name
            return {"name": path, "size": 0, "type": "directory"}
        # obstore returns a name without the bucket, which DirFileSystem rejects.
        return {**await super()._info(path, **kwargs), "name": path}


def file_system(address: str, options: dict[str, Any]) -> Any:
    """Create a file system.

    Args:
        address: The folder's address.
        options: The arguments for the store.
    """
    parts = urlsplit(address)
    make: Any = _Bucket
    bucket: _Bucket = make(parts.scheme, skip_instance_cache=True, **options)
    bucket.root = parts.netloc + parts.path
    return DirFileSystem(path=bucket.root, fs=bucket, skip_instance_cache=True)
