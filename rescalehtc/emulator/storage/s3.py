"""The operations of S3 that boto3, s3fs, the AWS CLI, rclone and obstore use, on the shared folders."""

from __future__ import annotations

import re
import threading
import weakref
from contextlib import ExitStack
from email.utils import format_datetime
from io import BytesIO
from sqlite3 import OperationalError
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from .. import objects
from ..bucket import Bucket, StorageError, Uploads, find_range
from ..faults.effects import TRANSPORT, wait_for_disconnect
from ..folders import is_full
from .answers import answer, describe, xml
from .signatures import UNSIGNED, verify

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from typing import BinaryIO

    from starlette.requests import Request

    from ..folders import Folders
    from ..objects import Object
    from ..store import Store
    from ..tokens import Tokens

_PAGE_SIZE: Final = 1000
# The other parameters choose the operation.
_OPTIONS: Final = re.compile(
    "x-id|X-Amz-.+|prefix|delimiter|max-keys|marker|continuation-token|start-after|encoding-type"
)
_DEFAULTS: Final = {("x-amz-acl", "private"), ("x-amz-storage-class", "STANDARD")}
# The emulator rejects requests with other headers of S3.
_HEADERS: Final = re.compile(
    "(?!x-amz-).+|x-amz-(date|content-sha256|security-token|user-agent|meta-.+|mp-object-size"
    "|copy-source(-range|-if-match)?|metadata-directive|sdk-checksum-algorithm"
    "|checksum-(mode|algorithm|type|crc32|sha1|sha256))"
)
_METADATA: Final = re.compile(
    "x-amz-meta-.+|cache-control|content-(disposition|encoding|language|type)"
)
# These operations take less time than a switch to a thread.
_QUICK: Final = ("GET object", "HEAD object", "PUT object", "DELETE object")


class S3:
    """Answers requests to the storages."""

    def __init__(self, tokens: Tokens, folders: Folders, store: Store) -> None:
        self._tokens = tokens
        self._folders = folders
        self._store = store
        self._uploads = Uploads(folders.uploads)
        self._lock = threading.Lock()

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        try:
            claims, sha256 = verify(request, self._tokens)
            bucket = Bucket(self._folders, self._store, self._lock, claims)
            sums = {**request.headers, objects.SHA256: sha256}
            if sha256 == UNSIGNED:
                del sums[objects.SHA256]
            is_put = request.method == "PUT"
            with objects.partial_file(self._folders.uploads) if is_put else BytesIO() as body:
                await objects.receive(request.stream(), body, sums)
                return await _Call(request, body, bucket, self._uploads).answer()
        except StorageError as error:
            storage_error = error
        except FileNotFoundError:
            storage_error = StorageError("NoSuchKey", "The object does not exist.")
        except (objects.InvalidNameError, objects.NameConflictError) as error:
            storage_error = StorageError("InvalidArgument", f"The key is invalid: {error}.")
        except objects.ChecksumError as error:
            storage_error = StorageError("BadDigest", f"The {error} does not match the body.")
        except objects.TooLargeError as error:
            storage_error = StorageError("EntityTooLarge", f"A body has at most {error} bytes.")
        except (OSError, OperationalError) as error:
            if not is_full(error):
                raise
            storage_error = StorageError("QuotaExceeded", "The emulator's disk is full.")
        response = answer("Error", Code=storage_error.code, Message=storage_error)
        response.status_code = storage_error.status
        return response


class _Call:
    def __init__(self, request: Request, body: IO[bytes], bucket: Bucket, uploads: Uploads) -> None:
        self._request = request
        self._body = body
        self._bucket = bucket
        self._uploads = uploads
        self._headers = request.headers
        self._query = request.query_params
        path: bytes = request.scope["raw_path"]
        self._bucket_name, self._key = _split(path.decode("latin-1"))
        self._is_copy = "x-amz-copy-source" in self._headers
        self._operations: Mapping[str, Callable[[], Response]] = {
            "GET bucket": self._list,  # version 1, as in boto3's resources
            "GET bucket list-type": self._list,
            "POST bucket delete": self._delete_many,
            "GET object": self._get,
            "HEAD object": self._get,
            "PUT object": self._put,
            "DELETE object": self._delete,
            "POST object uploads": self._create_upload,
            "PUT object partNumber uploadId": self._put_part,
            "POST object uploadId": self._complete_upload,
            "DELETE object uploadId": self._abort_upload,
        }

    async def answer(self) -> Response:
        names = [name for name in sorted(self._query) if not _OPTIONS.fullmatch(name)]
        operation = " ".join([self._request.method, "object" if self._key else "bucket", *names])
        others = {*self._headers.items()} - _DEFAULTS
        refused = sorted(name for name, _ in others if not _HEADERS.fullmatch(name))
        if refused or operation not in self._operations:
            message = " ".join([operation, *refused])
            raise StorageError("NotImplemented", f"The emulator does not implement {message}.")
        if operation in _QUICK and not self._is_copy:
            return self._operations[operation]()
        return await run_in_threadpool(self._operations[operation])

    # ---- reading

    def _list(self) -> Response:
        query = self._query
        prefix, after = query.get("prefix", ""), query.get("marker") or query.get("start-after", "")
        after = unquote(query.get("continuation-token", "")) or after
        size = query.get("max-keys", str(_PAGE_SIZE))
        if query.get("list-type", "2") != "2" or not re.fullmatch("[1-9][0-9]{0,8}", size):
            raise StorageError("InvalidArgument", "list-type must be 2, max-keys at least 1.")
        page = {"EncodingType": "url"} if query.get("encoding-type") == "url" else {}
        encode = quote if page else str
        entries: list[str] = []
        last = ""
        for key, entry in self._bucket.list(prefix, query.get("delimiter", ""), after):
            if len(entries) == min(int(size), _PAGE_SIZE):
                page |= {"NextContinuationToken": quote(last), "NextMarker": encode(last)}
                break
            if entry is None:
                entries.append(xml("CommonPrefixes", Prefix=encode(key)))
            else:
                entries.append(xml("Contents", Key=encode(key), **describe(entry)))
            last = key
        return answer(
            "ListBucketResult",
            *entries,
            Name=self._bucket_name,
            MaxKeys=size,
            KeyCount=len(entries),
            IsTruncated=str("NextContinuationToken" in page).lower(),
            **page,
        )

    def _get(self) -> Response:
        file, stored, metadata = self._bucket.open(self._key, self._headers.get("If-Match"))
        with ExitStack() as stack:
            stack.enter_context(file)
            part = find_range(self._headers.get("Range", ""), stored.size)
            start, end = part or (0, stored.size)
            headers = {
                "content-type": "binary/octet-stream",
                **metadata,
                "Content-Length": str(end - start),
                "ETag": stored.etag,
                "Last-Modified": format_datetime(stored.modified, usegmt=True),
                "Accept-Ranges": "bytes",
            }
            status = 200
            if part:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
            file.seek(start)
            if self._request.method == "HEAD":
                return Response(None, status, headers)
            if end - start <= objects.CHUNK_BYTES:
                body = file.read(end - start)
                if len(body) == end - start:
                    return Response(body, status, headers)
                stack.close()
                return self._get()  # a job has truncated the file since it was opened
            stack.pop_all()
            response = StreamingResponse(self._stream(file, end - start), status, headers)
            weakref.finalize(response, file.close)  # a fault may discard it before it is sent
            return response

    async def _stream(self, file: BinaryIO, size: int) -> AsyncIterator[bytes]:
        """Yield a number of bytes of a file. If a job truncates it, close the connection."""
        async for chunk in iterate_in_threadpool(objects.chunks(file, size)):
            size -= len(chunk)
            yield chunk
        if size:
            transport: Transport = self._request.scope["state"][TRANSPORT]
            transport.close()
            await wait_for_disconnect(self._request.receive)

    def _put(self) -> Response:
        metadata = self._copy_source() if self._is_copy else self._sent_metadata()
        return self._describe("CopyObjectResult", self._place(metadata))

    def _copy_source(self) -> Mapping[str, str]:
        """Write the source of a copy to the body's file, and return the metadata of the copy."""
        _, key = _split(self._headers["x-amz-copy-source"])
        etag = self._headers.get("x-amz-copy-source-if-match")
        source, stored, metadata = self._bucket.open(key, etag)
        with source:
            range_ = self._headers.get("x-amz-copy-source-range", "")
            start, end = find_range(range_, stored.size) or (0, stored.size)
            source.seek(start)
            copied = sum(map(self._body.write, objects.chunks(source, end - start)))
            self._body.flush()
            if copied < end - start:
                raise StorageError("InternalError", "A job truncated the source; try again.")
        is_replaced = self._headers.get("x-amz-metadata-directive") == "REPLACE"
        return self._sent_metadata() if is_replaced else metadata

    def _sent_metadata(self) -> Mapping[str, str]:
        headers = self._headers.items()
        return {name: value for name, value in headers if _METADATA.fullmatch(name)}

    def _place(self, metadata: Mapping[str, str]) -> Object:
        replace = self._headers.get("If-None-Match") != "*"
        return self._bucket.place(self._body, self._key, metadata, replace=replace)

    def _describe(self, tag: str, stored: Object) -> Response:
        headers = {"ETag": stored.etag}
        return answer(tag, **describe(stored)) if self._is_copy else Response(headers=headers)

    def _delete(self) -> Response:
        self._bucket.delete(self._key)
        return Response(status_code=204)

    def _delete_many(self) -> Response:
        results: list[str] = []
        for element in self._read_xml("Object"):
            key = element.findtext("{*}Key", "")
            try:
                self._bucket.delete(key)
                results.append(xml("Deleted", Key=key))
            except (StorageError, objects.InvalidNameError) as error:
                results.append(xml("Error", Key=key, Code="AccessDenied", Message=error))
        return answer("DeleteResult", *results)

    def _read_xml(self, tag: str) -> Iterator[ET.Element]:
        """Return the elements of the body that have a tag."""
        self._body.seek(0)
        try:
            return ET.parse(self._body).iterfind(f"{{*}}{tag}")  # noqa: S314 - the request is signed
        except ET.ParseError:
            raise StorageError("MalformedXML", "The body is not well-formed XML.") from None

    # ---- multipart uploads

    def _create_upload(self) -> Response:
        self._bucket.find(self._key)
        upload_id = self._uploads.create(self._key, self._sent_metadata())
        return self._describe_upload("InitiateMultipartUploadResult", UploadId=upload_id)

    def _describe_upload(self, tag: str, **values: str) -> Response:
        return answer(tag, Bucket=self._bucket_name, Key=self._key, **values)

    def _put_part(self) -> Response:
        upload = self._uploads.find(self._query["uploadId"], self._key)
        if self._is_copy:
            self._copy_source()
        part = upload.add(self._query["partNumber"], self._body)
        return self._describe("CopyPartResult", part)

    def _complete_upload(self) -> Response:
        names = ("{*}PartNumber", "{*}ETag")
        parts = [[part.findtext(name, "") for name in names] for part in self._read_xml("Part")]
        with (
            self._uploads.end(self._query["uploadId"], self._key) as upload,
            objects.partial_file(upload.folder.parent) as self._body,
        ):
            upload.join(parts, self._body)
            stored = self._place(upload.metadata)
        return self._describe_upload("CompleteMultipartUploadResult", ETag=stored.etag)

    def _abort_upload(self) -> Response:
        with self._uploads.end(self._query["uploadId"], self._key):
            return Response(status_code=204)


def _split(path: str) -> tuple[str, str]:
    """Return the bucket and the key of a quoted path."""
    bucket, _, key = unquote(path.removeprefix("/"), errors="surrogateescape").partition("/")
    return bucket, key
