"""Files: the files of a project or task in the storage of a region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _flows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from os import PathLike

    from obstore.store import ObjectStore

    from ..htcsession import HtcSession
    from ._flows import FileList, Names, Paths
    from ._storage import Storage
    from ._transfers import StoredFile, TransferCounts


class Files:
    """The files of a project or task in the storage of a region, shared with the jobs.

    `HtcTask.files` and `HtcProject.files` return it. Names are relative to the shared folder, with
    `/` between parts. A name with `*`, `?` or `[` is a pattern: `*` matches within one part, `**`
    any number of parts.

    A transfer is complete, or it raises an error. Every transfer compares sizes. For files that
    `upload` or `sync_up` stored, it also compares SHA-256 checksums. A downloaded file replaces an
    older one atomically. Up to 16 files are transferred in parallel, and files larger than 8 MiB in
    parts. Credentials are renewed before they expire.

    Every method that sends requests to the storage raises HtcFileError if the storage rejects a
    request or does not respond. Requests are retried with the settings of the session.
    """

    def __init__(self, rescale: HtcSession, storage: Storage) -> None:
        self._rescale: HtcSession = rescale
        self.storage = storage
        """The shared folder."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.storage.address!r})"

    @property
    def store(self) -> ObjectStore:
        """The obstore store of the shared folder, such as an `obstore.store.S3Store`."""
        return self.storage.store

    @property
    def fsspec(self) -> Any:
        """An fsspec file system of the shared folder, for pandas, xarray, zarr and DuckDB.

            with files.fsspec.open("7/result.csv") as file:
                frame = pandas.read_csv(file)

        Raises:
            ModuleNotFoundError: fsspec is not installed.
        """
        return self.storage.fsspec

    def variables(self) -> dict[str, str]:
        """Return environment variables with credentials for other programs, such as `aws s3`.

        The variables contain secrets, and expire at `expires_at`.
        """
        return self.storage.variables()

    @property
    def expires_at(self) -> datetime:
        """When the values of `variables` expire, in UTC."""
        return self.storage.expires_at

    def url(self, path: str = "", signed_seconds: int | None = None) -> str:
        """Return the address of a file, such as `s3://bucket/projects/P/shared/a.txt`.

        Args:
            path: The file's name; empty for the shared folder.
            signed_seconds: Return a presigned HTTP URL that is valid for this number of seconds,
                1 to 604800, or until the credentials expire. Anyone can read the file with it.

        Raises:
            HtcValidationError: `signed_seconds` is invalid.
        """
        return _flows.url(self.storage, path, signed_seconds)

    def upload(
        self,
        source: str | PathLike[str],
        target: str | None = None,
        *,
        progress: bool | Callable[[TransferCounts], None] = False,
    ) -> Names:
        """Upload a file, the files of a folder, or those that match a pattern.

            files.upload("mesh.dat")              # mesh.dat
            files.upload("mesh.dat", "in/")       # in/mesh.dat
            files.upload("cases")                 # cases/...
            files.upload("cases", "in")           # in/...
            files.upload("cases/*.csv", "in")     # in/....csv

        Symbolic links in a folder are followed to files in the same folder. Other links are left
        out, with a warning in the log.

        Args:
            source: The file, folder or pattern.
            target: The name of the file or folder in the storage; by default the source's name.
            progress: Whether to write the progress to standard error, or a function to call with
                the counts.

        Returns:
            The names in the storage.

        Raises:
            HtcFileError: A file can't be read, or changed during the upload.
        """
        client = self._rescale.client
        return self._rescale.run(_flows.upload(client.io, self.storage, source, target, progress))

    def download(
        self,
        source: str,
        target: str | PathLike[str] = ".",
        *,
        progress: bool | Callable[[TransferCounts], None] = False,
    ) -> Paths:
        """Download a file, the files of a folder, or those that match a pattern.

            files.download("out/7.csv")           # 7.csv
            files.download("out/7.csv", "x.csv")  # x.csv
            files.download("out", "results")      # results/7.csv ...
            files.download("out/*.csv")           # 7.csv ...

        Args:
            source: The file, folder or pattern; empty for all files.
            target: A folder, or for a single file its new path.
            progress: See `upload`.

        Returns:
            The local paths.

        Raises:
            HtcFileError: The file does not exist, can't be written, or has a name that leads out
                of the target. In the last case nothing was written.
        """
        client = self._rescale.client
        return self._rescale.run(_flows.download(client.io, self.storage, source, target, progress))

    def iter(self, path: str = "") -> Iterator[StoredFile]:
        """Yield the files of a folder, the files that match a pattern, or a single file.

        Files are fetched page by page.

        Args:
            path: The folder, pattern or file; empty for all files.
        """
        return self._rescale.iterate(_flows.iterate(self._rescale.client.io, self.storage, path))

    def list(self, path: str = "") -> FileList:
        """Return the files of a folder, the files that match a pattern, or a single file.

        The list is empty if no file has such a name.

        Args:
            path: The folder, pattern or file; empty for all files.
        """
        return self._rescale.run(_flows.listed(self._rescale.client.io, self.storage, path))

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Args:
            path: The file's name.
        """
        return self._rescale.run(_flows.read(self._rescale.client.io, self.storage, path))

    def write(self, path: str, content: bytes | str) -> None:
        """Store a file.

        Args:
            path: The file's name.
            content: The content; a string is encoded as UTF-8.
        """
        self._rescale.run(_flows.write(self._rescale.client.io, self.storage, path, content))

    def delete(self, path: str) -> Names:
        """Delete a file, the files of a folder (`out/`, with the slash), or of a pattern.

        Args:
            path: The file, folder or pattern. `**` matches all files.

        Returns:
            The names of the deleted files.
        """
        return self._rescale.run(_flows.delete(self._rescale.client.io, self.storage, path))

    def sync_up(
        self,
        source: str | PathLike[str],
        target: str = "",
        *,
        delete: bool = False,
        progress: bool | Callable[[TransferCounts], None] = False,
    ) -> Names:
        """Upload the files of a folder that are missing in the storage, or differ there.

        A file differs if its size is different or if the stored one is older. If a sync is
        interrupted, run it again. Files that were uploaded are not uploaded again.

        Args:
            source: The local folder.
            target: The folder in the storage.
            delete: Whether to delete files in the target that are not in the source.
            progress: See `upload`.

        Returns:
            The names of the uploaded files.
        """
        client = self._rescale.client
        return self._rescale.run(
            _flows.sync_up(client.io, self.storage, source, target, delete, progress)
        )

    def sync_down(
        self,
        target: str | PathLike[str],
        source: str = "",
        *,
        delete: bool = False,
        progress: bool | Callable[[TransferCounts], None] = False,
    ) -> Paths:
        """Download the files of a folder that are missing locally, or differ.

        A file differs if its size is different or if the local one is older. Downloaded files keep
        their modification time. If a sync is interrupted, run it again. Files that were downloaded
        are not downloaded again.

        Args:
            target: The local folder.
            source: The folder in the storage.
            delete: Whether to delete files in the target that are not in the source.
            progress: See `upload`.

        Returns:
            The local paths of the downloaded files.
        """
        client = self._rescale.client
        return self._rescale.run(
            _flows.sync_down(client.io, self.storage, target, source, delete, progress)
        )
