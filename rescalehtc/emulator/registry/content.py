"""Blobs, uploads of blobs, and manifests. Each project has its own."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from typing import TYPE_CHECKING, Final

from ..store import Manifest
from .manifests import RegistryError, parse

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Callable
    from pathlib import Path

    from ..folders import Folders
    from ..store import Store

_DIGEST: Final = re.compile("sha256:([0-9a-f]{64})")


class Upload:
    """A blob that is being uploaded: its size so far, and whether a request is writing to it."""

    def __init__(self, project_id: str, path: Path) -> None:
        self.project_id = project_id
        self.path = path
        self.size = 0
        self.is_busy = False
        self.hash: HASH = hashlib.sha256()


class Registry:
    """Stores the content of images in files, and the names of manifests in the store.

    Args:
        store: The emulator's state.
        folders: The emulator's folders.
        pushed: A function that is called before a tag is stored, so that an image is PENDING when
            it can be found, with the project and `[path/]name:digest` of the image.
    """

    def __init__(self, store: Store, folders: Folders, pushed: Callable[[str, str], None]) -> None:
        self.store = store
        self.pushed = pushed
        self._blobs = folders.root / "registry"
        self._partial = folders.uploads
        self._uploads: dict[str, Upload] = {}

    # ---- blobs

    def blob(self, project_id: str, digest: str) -> Path | None:
        """Return the file with a digest, or None if it does not exist."""
        path = self._path(project_id, digest)
        return path if path.is_file() else None

    def _path(self, project_id: str, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise RegistryError(400, "DIGEST_INVALID", "a digest must be sha256:<64 hex digits>")
        return self._blobs / project_id / match[1]

    def begin(self, project_id: str) -> Upload:
        """Begin to upload a blob."""
        self._partial.mkdir(exist_ok=True)
        upload = Upload(project_id, self._partial / uuid.uuid4().hex)
        upload.path.touch()
        self._uploads[upload.path.name] = upload
        return upload

    def upload(self, project_id: str, name: str) -> Upload:
        """Return an upload by the name of its file, if no request is writing to it."""
        upload = self._uploads.get(name)
        if upload is None or upload.project_id != project_id:
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "the upload does not exist")
        if upload.is_busy:
            raise RegistryError(409, "BLOB_UPLOAD_INVALID", "another request is writing to it")
        return upload

    def cancel(self, upload: Upload) -> None:
        """Forget an upload."""
        self._uploads.pop(upload.path.name, None)
        upload.path.unlink(missing_ok=True)

    def finish(self, upload: Upload, digest: str) -> None:
        """Store an upload as a blob, or forget it if the digest does not match."""
        actual = f"sha256:{upload.hash.hexdigest()}"
        if actual != digest:
            self.cancel(upload)
            raise RegistryError(400, "DIGEST_INVALID", f"the content has the digest {actual}")
        target = self._path(upload.project_id, digest)
        with upload.path.open("rb") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        upload.path.replace(target)
        del self._uploads[upload.path.name]

    # ---- manifests

    def manifest(
        self, project_id: str, repository: str, reference: str
    ) -> tuple[Manifest, bytes] | None:
        """Return a manifest by its tag or digest, and its content, or None."""
        manifest = self.store.manifest(project_id, repository, reference)
        return manifest and (manifest, self._path(project_id, manifest.digest).read_bytes())

    def add_manifest(
        self, project_id: str, repository: str, reference: str, media_type: str, text: bytes
    ) -> str:
        """Store a manifest under a tag or digest, and return its digest."""
        for part in parse(text, media_type).references:
            blob = self.blob(project_id, part.digest)
            if blob is None or blob.stat().st_size != part.size:
                reason = f"there is no blob with the digest {part.digest} and {part.size} bytes"
                raise RegistryError(400, "MANIFEST_BLOB_UNKNOWN", reason)
        upload = self.begin(project_id)
        try:
            upload.path.write_bytes(text)
            upload.hash.update(text)
            digest = f"sha256:{upload.hash.hexdigest()}"
            self.finish(upload, reference if ":" in reference else digest)
        finally:
            self.cancel(upload)
        manifest = Manifest(digest, media_type)
        self.store.add_manifest(project_id, repository, manifest, None)
        if ":" not in reference:
            # The image must be pending before it can be found by its tag.
            self.pushed(project_id, f"{repository}:{digest}")
            self.store.add_manifest(project_id, repository, manifest, reference)
        return digest
