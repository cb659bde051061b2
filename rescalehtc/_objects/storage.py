"""The storage of projects and tasks, and its credentials."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._client.content import Content
from .._files import open_at_once
from .._interrupts import is_from_signal_handler
from .._wire import operations
from ..exceptions import HtcFileError, HtcResponseError
from .json_object import JsonObject, JsonT, RecordT

if TYPE_CHECKING:
    from collections.abc import Generator
    from os import PathLike
    from typing import BinaryIO

    from .. import models
    from .._client.client import Client
    from .._wire.operation import Call, Operation
    from ..files._files import Files
    from ..htcsession import HtcSession


@dataclass(frozen=True, slots=True)
class StorageOperations:
    """The operations for the storage of projects or of tasks."""

    token: Operation[models.StorageAccessToken]
    token_for_region: Operation[models.StorageAccessToken]
    tokens: Operation[models.StorageAccessTokens]
    presigned_url: Operation[models.PresignedPutUrlResponse]
    address_field: str
    """The field of a token with the address of the folder."""


PROJECT_STORAGE = StorageOperations(
    token=operations.GET_PROJECT_STORAGE_TOKEN,
    token_for_region=operations.GET_PROJECT_STORAGE_TOKEN_FOR_REGION,
    tokens=operations.GET_PROJECT_STORAGE_TOKENS,
    presigned_url=operations.GET_PROJECT_PRESIGNED_URL,
    address_field="project_shared_storage_path",
)
TASK_STORAGE = StorageOperations(
    token=operations.GET_TASK_STORAGE_TOKEN,
    token_for_region=operations.GET_TASK_STORAGE_TOKEN_FOR_REGION,
    tokens=operations.GET_TASK_STORAGE_TOKENS,
    presigned_url=operations.GET_TASK_PRESIGNED_URL,
    address_field="storage_path",
)


class StoredObject(JsonObject[JsonT, RecordT]):
    """A project or a task, with a folder in the storage of each region."""

    _storage: ClassVar[StorageOperations]

    def _ids(self) -> dict[str, Any]:
        """The object's path parameters."""
        raise NotImplementedError

    def _token_call(self, region: str | None) -> Call:
        if region is None:
            return self._storage.token.call(self._ids())
        return self._storage.token_for_region.call({**self._ids(), "region": region})

    def get_storage_token(
        self, rescale: HtcSession, region: str | None = None
    ) -> models.StorageAccessToken:
        """Fetch credentials for the storage, which are valid until `expiration`.

        Operation getProjectStorageToken or getTaskStorageToken, with a region
        getProjectStorageTokenForRegion or getTaskStorageTokenForRegion.

        Args:
            rescale: The session.
            region: One of the project's regions, or None for the default one.
        """
        return self._storage.token.to_record(rescale.send(self._token_call(region)))

    def get_storage_tokens(self, rescale: HtcSession) -> models.StorageAccessTokens:
        """Fetch credentials for the storage in all regions.

        Operation getProjectStorageTokens or getTaskStorageTokens.

        Args:
            rescale: The session.
        """
        call = self._storage.tokens.call(self._ids())
        return self._storage.tokens.to_record(rescale.send(call))

    def get_presigned_url(
        self, rescale: HtcSession, file_path: str
    ) -> models.PresignedPutUrlResponse:
        """Fetch a presigned URL, with which anyone can upload one file until the URL expires.

        Operation getProjectPresignedUrl or getTaskPresignedUrl.

        Args:
            rescale: The session.
            file_path: The path of the file in the object's folder.
        """
        call = self._storage.presigned_url.call(self._ids(), query={"filePath": file_path})
        return self._storage.presigned_url.to_record(rescale.send(call))

    def files(self, rescale: HtcSession, region: str | None = None) -> Files:
        """Fetch credentials for the storage, and return its files.

            task.files(rescale).upload("cases", "in")

        Install the extra packages with `pip install "rescalehtc[storage]>=2"`.

        Operation getProjectStorageToken or getTaskStorageToken, with a region
        getProjectStorageTokenForRegion or getTaskStorageTokenForRegion. The operation is repeated
        before the credentials expire.

        Args:
            rescale: The session. An asynchronous session must not have a custom `transport`.
            region: One of the project's regions, or None for the default one.

        Raises:
            HtcFileError: This kind of storage is not supported.
            ModuleNotFoundError: The extra packages are not installed.
        """
        from ..files import _files  # pyright: ignore[reportPrivateUsage] - ours
        from ..files._storage import Storage, require_extra

        require_extra("obstore")
        token = self.get_storage_token(rescale, region)
        call = self._token_call(region)
        address = getattr(token, self._storage.address_field, None)
        storage = Storage(rescale, call, token, address)
        return _files.Files(rescale, storage)

    def upload_file(
        self, rescale: HtcSession, source_path: str | PathLike[str], file_path: str
    ) -> None:
        """Upload a file with a URL from `get_presigned_url`.

        Args:
            rescale: The session.
            source_path: A regular file. It must not change during the upload.
            file_path: The path of the file in the object's folder.

        Raises:
            HtcFileError: The file can't be read, is not a regular file, or changed during the
                upload. Nothing was stored.
            HtcStatusError: The storage rejects the file.
        """
        call = self._storage.presigned_url.call(self._ids(), query={"filePath": file_path})
        rescale.run(_upload_file(rescale.client, call, source_path))


async def _upload_file(client: Client, call: Call, source_path: str | PathLike[str]) -> None:
    async with client.io.holding(_opened(source_path)) as (file, _):
        Content(file)  # reject an invalid file before sending anything
        url = (await client.send(call)).get("url")
        if not isinstance(url, str):
            raise HtcResponseError(f"{call.operation.id}: the response has no url")
        await client.upload(url, file)


@contextmanager
def _opened(path: str | PathLike[str]) -> Generator[BinaryIO]:
    with _open(path) as file:
        yield file


def _open(path: str | PathLike[str]) -> BinaryIO:
    try:
        return open(os.fspath(path), "rb", opener=open_at_once)  # not a descriptor
    except (OSError, ValueError, TypeError) as error:  # the latter two: an invalid path
        if is_from_signal_handler(error):
            raise
        reason = getattr(error, "strerror", None) or error
        raise HtcFileError(f"{path!r} can't be read: {reason}") from None
