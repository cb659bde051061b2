"""The operations of S3 on the shared folders. The others are refused by name."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ..folders import is_full, remove
from ..objects import (
    CHECKSUMS,
    CHUNK_BYTES,
    ChecksumError,
    InvalidNameError,
    NameConflictError,
    Object,
    TooLargeError,
    chunks,
    delete,
    iterate,
    open_object,
    partial_file,
    place,
    receive,
)
from .answers import S3Error, answer, described, read_range, split_path, xml
from .signatures import query_of, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from ..folders import Folders
    from ..tokens import Tokens

_MAX_BYTES: Final = 5 << 30
_MAX_XML_BYTES: Final = 4 << 20
_WHOLE_BYTES: Final = 16 << 20  # up to here an object is answered in one piece
_PAGE_SIZE: Final = 1000
_LISTING: Final = "list-type prefix delimiter max-keys continuation-token start-after encoding-type"
# Those that are implemented here, or that change nothing.
_HEADERS: Final = re.compile(
    "x-amz-(date|content-sha256|security-token|user-agent|meta-.+|copy-source(-range|-if-match)?|mp-object-size"
    "|metadata-directive|sdk-checksum-algorithm|checksum-(mode|algorithm|type|crc32|sha1|sha256))"
)
_SIGNED_SUM: Final = "x-amz-content-sha256"
_METADATA: Final = "x-amz-meta-"


def key_prefix(project_id: str, task_id: str | None) -> str:
    """How the keys of the objects in a project's or task's shared folder begin."""
    return f"projects/{project_id}/{f'tasks/{task_id}/' if task_id else ''}shared/"


class S3:
    """Answers requests. Metadata of objects is kept as long as the emulator runs."""

    def __init__(self, tokens: Tokens, folders: Folders) -> None:
        self.tokens = tokens
        self.folders = folders
        self.metadata: dict[Path, tuple[str, dict[str, str]]] = {}

    async def answer(self, request: Request) -> Response:
        """Answer a request, or say why not as S3 does."""
        try:
            return await _Call(self, request).answer()
        except S3Error as raised:
            error = raised
        except FileNotFoundError:
            error = S3Error("NoSuchKey", "The specified key does not exist.")
        except (InvalidNameError, NameConflictError) as raised:
            error = S3Error("InvalidArgument", f"The key is refused: {raised}.")
        except OSError as raised:
            if not is_full(raised):
                raise
            error = S3Error("QuotaExceeded", "The emulator's disk is full.")
        body = xml("Error", Code=error.code, Message=error.message)
        return Response(body, error.status, media_type="application/xml")


class _Call:
    def __init__(self, s3: S3, request: Request) -> None:
        signed = verify(request, s3.tokens, datetime.now(UTC))
        self._sha256 = signed.payload_sha256
        self._folders = folders = s3.folders
        self._metadata = s3.metadata
        self._request = request
        project_id, task_id = signed.claims["projectId"], signed.claims["taskId"]
        self._trees = {key_prefix(project_id, None): folders.root / "projects" / project_id}
        if task_id:
            self._trees[key_prefix(project_id, task_id)] = folders.tasks / task_id
        self._bucket, self._key = split_path(request.scope["raw_path"].decode("latin-1"))
        self._query = {
            name: value
            for name, value in query_of(request)
            if name != "x-id" and not name.startswith("X-Amz-")
        }

    async def answer(self) -> Response:
        for name in self._request.headers:
            if name.startswith("x-amz-") and not _HEADERS.fullmatch(name):
                raise S3Error("NotImplemented", f"The emulator does not implement {name}.")
        names = " ".join(self._query)
        match self._request.method, bool(self._key), names:
            case ("HEAD", False, ""):
                return Response()
            case ("GET", False, _) if {"list-type"} <= {*self._query} <= {*_LISTING.split()}:
                return await run_in_threadpool(self._list)
            case ("POST", False, "delete"):
                return await self._delete_many()
            case ("GET" | "HEAD", True, ""):
                return await self._get()
            case ("PUT", True, ""):
                is_copy = "x-amz-copy-source" in self._request.headers
                return await (self._copy() if is_copy else self._put())
            case ("DELETE", True, ""):
                delete(*self._find(self._key))
                return Response(status_code=204)
            case ("POST", True, "uploads"):
                return self._start_upload()
            case ("PUT", True, _) if {*self._query} == {"partNumber", "uploadId"}:
                return await self._put_part()
            case ("POST", True, "uploadId"):
                return await self._complete_upload()
            case ("DELETE", True, "uploadId"):
                self._end_upload(self._upload())
                return Response(status_code=204)
            case _:
                what = f"{self._request.method} {'object' if self._key else 'bucket'} {names}"
                raise S3Error("NotImplemented", f"The emulator does not implement {what.strip()}.")

    def _find(self, key: str) -> tuple[Path, str]:
        """The folder that a key is in, and the file's name there."""
        for prefix, folder in self._trees.items():
            if key.startswith(prefix) and key != prefix:
                return folder, key.removeprefix(prefix)
        raise S3Error("AccessDenied", "The credentials are not for this key.")

    # ---- reading

    def _list(self) -> Response:
        query = self._query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        quoted = partial(quote, safe="/") if query.get("encoding-type") == "url" else str
        size = query.get("max-keys", str(_PAGE_SIZE))
        if query["list-type"] != "2" or not re.fullmatch("[0-9]{1,9}", size):
            raise S3Error("InvalidArgument", "list-type must be 2, and max-keys a number.")
        if token := query.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        else:
            after = query.get("start-after", "")
        found: dict[str, str] = {}
        last = None
        for key, listed in self._keys(prefix, after):
            rest = key.removeprefix(prefix)
            group = prefix + rest.partition(delimiter)[0] + delimiter if delimiter else ""
            is_group = bool(delimiter) and delimiter in rest
            if is_group and (group in found or after.startswith(group)):
                continue
            if len(found) >= min(int(size), _PAGE_SIZE):
                last = [*found][-1] if found else after
                break
            found[group if is_group else key] = (
                xml("CommonPrefixes", Prefix=quoted(group))
                if is_group
                else xml("Contents", Key=quoted(key), **described(listed), StorageClass="STANDARD")
            )
        page: dict[str, object] = {"IsTruncated": str(last is not None).lower()}
        if last is not None:
            page["NextContinuationToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        given = {"EncodingType": query.get("encoding-type"), "Delimiter": query.get("delimiter")}
        page |= {name: value for name, value in given.items() if value is not None}
        page |= {"Name": self._bucket, "Prefix": quoted(prefix), "KeyCount": len(found)}
        return answer("ListBucketResult", *found.values(), MaxKeys=size, **page)

    def _keys(self, prefix: str, after: str) -> Iterator[tuple[str, Object]]:
        for base, folder in sorted(self._trees.items()):
            if prefix.startswith(base) or base == f"{prefix}/":
                below = after.removeprefix(base) if after.startswith(base) else ""
                if below or after < base:
                    for listed in iterate(folder, prefix.removeprefix(base)[: len(prefix)], below):
                        yield base + listed.name, listed
                return
        raise S3Error("AccessDenied", f"Give a prefix that begins with one of {[*self._trees]}.")

    async def _get(self) -> Response:
        folder, name = self._find(self._key)
        file, found = open_object(folder, name)
        headers = {
            "ETag": found.etag,
            "Last-Modified": format_datetime(found.modified, usegmt=True),
            "Accept-Ranges": "bytes",
            **self._metadata_of(folder / name, found.etag),
        }
        asked = self._request.headers
        is_streamed = False
        try:
            if asked.get("If-Match", found.etag) not in (found.etag, "*"):
                raise S3Error("PreconditionFailed", "The object's ETag is another one.")
            if asked.get("If-None-Match") in (found.etag, "*"):
                return Response(status_code=304, headers=headers)
            start, end = read_range(asked.get("Range", ""), found.size)
            status = 200
            if (start, end) != (0, found.size) or "Range" in asked:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
            headers["Content-Length"] = str(end - start)
            headers["Content-Type"] = "binary/octet-stream"
            file.seek(start)
            if self._request.method == "HEAD":
                return Response(status_code=status, headers=headers)
            is_streamed = end - start > _WHOLE_BYTES
            if is_streamed:
                return StreamingResponse(chunks(file, end - start), status, headers)
            if end - start <= CHUNK_BYTES:  # a thread would take longer
                return Response(file.read(end - start), status, headers)
            return Response(await run_in_threadpool(file.read, end - start), status, headers)
        finally:
            if not is_streamed:
                file.close()

    def _metadata_of(self, path: Path, etag: str) -> dict[str, str]:
        """What an object was stored with, unless its file was written since."""
        stored_etag, metadata = self._metadata.get(path, ("", {}))
        return metadata if stored_etag == etag else {}

    # ---- writing

    async def _put(self) -> Response:
        folder, name = self._find(self._key)
        with partial_file(self._folders.uploads) as file:
            await self._receive(file)
            stored = self._place(file, folder, name, self._sent_metadata())
        return Response(headers={"ETag": stored.etag})

    async def _copy(self) -> Response:
        folder, name = self._find(self._key)
        with partial_file(self._folders.uploads) as file:
            metadata = await run_in_threadpool(self._copy_source, file)
            if self._request.headers.get("x-amz-metadata-directive") == "REPLACE":
                metadata = self._sent_metadata()
            stored = self._place(file, folder, name, metadata)
        return answer("CopyObjectResult", **described(stored))

    def _copy_source(self, file: IO[bytes]) -> dict[str, str]:
        """Write what is to be copied to a file, and return its metadata."""
        headers = self._request.headers
        folder, name = self._find(split_path(headers["x-amz-copy-source"])[1])
        source, found = open_object(folder, name)
        if headers.get("x-amz-copy-source-if-match", found.etag) != found.etag:
            raise S3Error("PreconditionFailed", "The source's ETag is another one.")
        start, end = read_range(headers.get("x-amz-copy-source-range", ""), found.size)
        source.seek(start)
        for chunk in chunks(source, end - start):
            file.write(chunk)
        file.flush()
        return self._metadata_of(folder / name, found.etag)

    def _place(self, file: IO[bytes], folder: Path, name: str, metadata: dict[str, str]) -> Object:
        must_be_new = self._request.headers.get("If-None-Match") == "*"
        try:
            stored = place(Path(file.name), folder, name, replace=not must_be_new)
        except FileExistsError:
            raise S3Error("PreconditionFailed", "The object exists.") from None
        except FileNotFoundError:
            raise S3Error("NoSuchBucket", "The storage was deleted.") from None
        self._metadata[folder / name] = (stored.etag, metadata)
        return stored

    def _sent_metadata(self) -> dict[str, str]:
        headers = self._request.headers.items()
        return {name: value for name, value in headers if name.startswith(_METADATA)}

    async def _receive(self, file: IO[bytes], max_bytes: int = _MAX_BYTES) -> None:
        """Write the body to a file, and compare it with its checksums."""
        headers = self._request.headers
        sums = {
            name: base64.b64decode(headers[name])
            for name in CHECKSUMS
            if name in headers and name != _SIGNED_SUM
        }
        if self._sha256 is not None:
            sums[_SIGNED_SUM] = bytes.fromhex(self._sha256)
        try:
            await receive(self._request.stream(), file, max_bytes, sums)
        except TooLargeError:
            raise S3Error("EntityTooLarge", f"A request has at most {max_bytes} bytes.") from None
        except ChecksumError as error:
            raise S3Error("BadDigest", f"The body does not have the checksum in {error}.") from None

    async def _read_xml(self) -> ET.Element:
        with partial_file(self._folders.uploads) as file:
            await self._receive(file, _MAX_XML_BYTES)
            file.seek(0)
            try:
                return ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", file.read()))  # noqa: S314 - signed
            except ET.ParseError:
                raise S3Error("MalformedXML", "The body is not well-formed XML.") from None

    async def _delete_many(self) -> Response:
        body = await self._read_xml()
        results: list[str] = []
        for key in (element.findtext("Key", "") for element in body.iter("Object")):
            try:
                delete(*self._find(key))
                results.append(xml("Deleted", Key=key))
            except (S3Error, InvalidNameError) as error:
                code = error.code if isinstance(error, S3Error) else "InvalidArgument"
                results.append(xml("Error", Key=key, Code=code, Message=str(error)))
        is_quiet = body.findtext("Quiet") == "true"
        shown = [one for one in results if not (is_quiet and one.startswith("<Deleted>"))]
        return answer("DeleteResult", *shown)

    # ---- in parts

    def _start_upload(self) -> Response:
        self._find(self._key)
        upload_id = secrets.token_hex(16)
        folder = self._folders.uploads / upload_id
        folder.mkdir(parents=True)
        self._metadata[folder] = (self._key, self._sent_metadata())
        about = {"Bucket": self._bucket, "Key": self._key, "UploadId": upload_id}
        return answer("InitiateMultipartUploadResult", **about)

    def _upload(self) -> Path:
        """The folder with the parts of the upload that the query names."""
        upload_id = self._query["uploadId"]
        folder = self._folders.uploads / upload_id
        self._find(self._key)
        if (
            not re.fullmatch("[0-9a-f]{32}", upload_id)
            or self._metadata.get(folder, ("",))[0] != self._key
        ):
            raise S3Error("NoSuchUpload", "The upload was completed, aborted, or never started.")
        return folder

    def _end_upload(self, upload: Path) -> None:
        del self._metadata[upload]
        remove(upload)

    async def _put_part(self) -> Response:
        folder, number = self._upload(), self._query["partNumber"]
        if not re.fullmatch("[1-9][0-9]{0,4}", number) or int(number) > 10000:
            raise S3Error("InvalidArgument", "partNumber must be 1 to 10000.")
        is_copy = "x-amz-copy-source" in self._request.headers
        with partial_file(self._folders.uploads) as file:
            if is_copy:
                await run_in_threadpool(self._copy_source, file)
            else:
                await self._receive(file)
            stored = place(Path(file.name), folder, number)
        if is_copy:
            return answer("CopyPartResult", **described(stored))
        return Response(headers={"ETag": stored.etag})

    async def _complete_upload(self) -> Response:
        upload = self._upload()
        body = await self._read_xml()
        parts = [
            (part.findtext("PartNumber", ""), part.findtext("ETag", ""))
            for part in body.iter("Part")
        ]
        folder, name = self._find(self._key)
        with partial_file(self._folders.uploads) as file:
            await run_in_threadpool(_join, upload, parts, file)
            stored = self._place(file, folder, name, self._metadata[upload][1])
        self._end_upload(upload)
        about = {"Bucket": self._bucket, "Key": self._key, "ETag": stored.etag}
        return answer("CompleteMultipartUploadResult", **about)


def _join(upload: Path, parts: list[tuple[str, str]], file: IO[bytes]) -> None:
    numbers = [int(number) for number, _ in parts if number.isdecimal()]
    if not parts or numbers != sorted({*numbers}) or len(numbers) != len(parts):
        raise S3Error("InvalidPartOrder", "Name the parts once each, in ascending order.")
    for number, etag in parts:
        try:
            part, found = open_object(upload, number)
        except FileNotFoundError:
            raise S3Error("InvalidPart", f"Part {number} was not uploaded.") from None
        with part:
            if etag.strip('"') != found.etag.strip('"'):
                raise S3Error("InvalidPart", f"Part {number} has another ETag.")
            shutil.copyfileobj(part, file, CHUNK_BYTES)
    file.flush()
