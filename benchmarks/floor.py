"""The minimum cost of the work: a raw socket that stays open, and decoded pages."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic_core import from_json

from benchmarks.child import Clock, run
from benchmarks.work import saved_log

if TYPE_CHECKING:
    from collections.abc import Iterator


def pages(path: str, cache: Literal["all", "keys"]) -> Iterator[list[Any]]:
    """Yield the items page by page."""
    base = urlsplit(os.environ["RESCALE_API_BASE_URL"])
    following: str | None = base.path + path
    with (
        socket.create_connection((base.hostname, base.port)) as connection,
        connection.makefile("rb") as answers,
    ):
        while following:
            head = f"GET {following} HTTP/1.1\r\nHost: {base.netloc}\r\n\r\n"
            connection.sendall(head.encode())
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            page: dict[str, Any] = from_json(answers.read(length), cache_strings=cache)
            yield page["items"]
            following = page.get("next")
            if following:
                parts = urlsplit(following)
                following = f"{parts.path}?{parts.query}"


def list_jobs(clock: Clock, size: int) -> int:
    """List jobs and read the status of each."""
    path = f"/htc/projects/p/tasks/{size}/jobs?pageSize=1000"
    with clock:
        return sum(job["status"] == "SUCCEEDED" for page in pages(path, "all") for job in page)


def save_log(clock: Clock, size: int) -> tuple[int, int, bytes, bytes]:
    """Save a log."""
    path = f"/htc/projects/p/tasks/{size}/jobs/j:0/logs?pageSize=10000&sort=asc"
    with tempfile.TemporaryDirectory() as folder:
        name = f"{folder}/job.log"
        with clock, open(name, "wb") as saved:
            for page in pages(path, "keys"):
                saved.write("".join([f"{line['message']}\n" for line in page]).encode())
        return saved_log(name)


if __name__ == "__main__":
    run(globals())
