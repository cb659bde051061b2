"""A fast server with scripted responses, which runs in its own process.

Its base URL is `http://127.0.0.1:<port>/<latency in ms>`. The id of a task is the number of its jobs
and of the lines of their logs, so each client chooses the sizes. A second port serves https, with
the certificate and the key from the command line.

The server encodes records and lines once, when it starts, and joins pages from them. After 100,000
records, a listing repeats them from the first one.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = 100_000
BATCH = 1_000
LINE_BYTES = 100
LARGEST_PAGE = {"jobs": 1_000, "logs": 10_000}
DEFAULT_PAGE = 100
TOKEN = {"tokenValue": "a.bearer.token", "tokenType": "Bearer", "expiresIn": 86_400}
IMAGE = {"imageName": "solver:1", "status": "READY"}


def job_id(index: int) -> str:
    """The id of a job by its place in the listing."""
    batch, place = divmod(index, BATCH)
    return f"{batch:08x}-5b1d-4f0a-9c57-3a52c1e8d604:{place}"


def job_index(identifier: str) -> int:
    """The place of a job in the listing."""
    parent, place = identifier.rsplit(":", 1)
    return int(parent[:8], 16) * BATCH + int(place)


def _moment(second: int, index: int) -> str:
    hours, seconds = divmod(second, 3600)
    return f"2026-03-14T{hours % 24:02}:{seconds // 60:02}:{seconds % 60:02}.{index * 7 % 1000:03}Z"


def job(index: int) -> dict[str, Any]:
    """A full record, of about 1.1 kB as JSON."""
    failed = index % 20 == 0
    instance = f"i-{index * 2654435761 % 2**64:016x}"
    return {
        "jobUUID": job_id(index),
        "providerJobId": f"{index * 40503 % 2**32:08x}-77e0-41ab-8f2c-9d0b6f3c2a11",
        "region": "AWS_EU_WEST_1",
        "taskId": "0f9d2c55-6d0e-4b37-9a3e-0d1b6d6e2f10",
        "projectId": "7c1f8a1e-2f5e-4a43-8a51-6c9f4f0b7d22",
        "status": "FAILED" if failed else "SUCCEEDED",
        "statusReason": "Essential container in task exited",
        "container": {"exitCode": 3 if failed else 0, "reason": None},
        "createdAt": _moment(index // BATCH, index // BATCH),
        "createdBy": "qWoUF",
        "failureCode": "ErrorNonZeroContainerExitCode" if failed else None,
        "workspaceId": "04-8098234",
        "group": "wing-sweep",
        "commands": ["python", "solve.py", "--case", f"wing-{index:06}"],
        "envs": [
            {"name": "CASE", "value": f"wing-{index:06}"},
            {"name": "SOLVER_THREADS", "value": "2"},
        ],
        "jobExecutionEnvironment": {
            "instanceId": instance,
            "instanceType": "c7g.2xlarge",
            "architecture": 2,
        },
        "tags": [{"key": "study", "value": "wing"}],
        "architecture": "AARCH64",
        "maxVCpus": 2,
        "maxMemory": 4000,
        "maxDiskGiB": 10,
        "maxSwap": 0,
        "imageName": "solver:1",
        "execTimeoutSeconds": 3600,
        "updatedAt": _moment(index // 9, index),
        "instanceId": instance,
        "instanceLabels": {
            "csp": "AWS",
            "priority": "ON_DEMAND_ECONOMY",
            "instanceType": "c7g.2xlarge",
            "instanceArchitecture": "AARCH64",
            "accountId": "123456789012",
            "region": "AWS_EU_WEST_1",
        },
        "startedAt": _moment(index // 11, index),
        "completedAt": _moment(index // 9, index),
    }


def line(index: int) -> dict[str, Any]:
    """A line of a log."""
    text = f"{index:06} residual {index * 7919 % 100_003 / 100_003:.9f} "
    return {"timestamp": _moment(index // 50, index), "message": text.ljust(LINE_BYTES, ".")}


class Answers:
    """The responses of the server, and a count of the requests."""

    def __init__(self) -> None:
        self.records = [_json(job(index)) for index in range(KINDS)]
        self.lines = [_json(line(index)) for index in range(KINDS)]
        self.newest_first = self.lines[::-1]
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def answer(self, method: str, target: str, body: bytes, origin: str) -> bytes:
        """The body of a response."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        match method, url.path.strip("/").split("/")[1:]:
            case "GET", ["auth", "token"]:
                return _json(TOKEN)
            case "GET", ["htc", "projects", _, "container-registry", "images", _]:
                return self._counted("getImageStatus", _json(IMAGE))
            case "GET", ["htc", "projects", _, "tasks", size, "jobs"]:
                if "jobId" in query:
                    records = [self.records[job_index(job_id)] for job_id in query["jobId"]]
                    return self._page("listJobs", origin + target, query, records, len(records))
                return self._page("listJobs", origin + target, query, self.records, int(size))
            case "POST", ["htc", "projects", project, "tasks", task, "jobs", "batch"]:
                return self._submitted(project, task, json.loads(body))
            case "GET", ["htc", "projects", _, "tasks", _, "jobs", identifier]:
                return self._counted("getJob", self.records[job_index(identifier)])
            case "GET", ["htc", "projects", _, "tasks", size, "jobs", _, "logs"]:
                oldest_first = query.get("sort") == ["asc"]
                lines = self.lines if oldest_first else self.newest_first
                return self._page("listJobLogs", origin + target, query, lines, int(size))
            case "GET", ["counts"]:
                with self.lock:
                    counts, self.counts = self.counts, Counter()
                return _json(counts)
            case _:
                raise ValueError(f"no response for {method} {target}")

    def _counted(self, operation: str, answer: bytes) -> bytes:
        with self.lock:
            self.counts[operation] += 1
        return answer

    def _page(
        self, operation: str, url: str, query: dict[str, list[str]], items: list[bytes], size: int
    ) -> bytes:
        largest = LARGEST_PAGE["logs" if operation == "listJobLogs" else "jobs"]
        count = min(int(query.get("pageSize", [str(DEFAULT_PAGE)])[0]), largest)
        begin = int(query.get("pageIndex", ["0"])[-1])
        end = min(begin + count, size)
        first = begin % len(items)
        shown = items[first : first + end - begin]
        while len(shown) < end - begin:
            shown += items[: end - begin - len(shown)]
        following = b""
        if end < size:
            base = re.sub(r"[?&]pageIndex=\d+", "", url)
            mark = "&" if "?" in base else "?"
            following = b',"next":' + _json(f"{base}{mark}pageIndex={end}")
        page = b"".join((b'{"items":[', b",".join(shown), b"]", following, b"}"))
        return self._counted(operation, page)

    def _submitted(self, project: str, task: str, requests: list[dict[str, Any]]) -> bytes:
        received = {
            "taskId": task,
            "projectId": project,
            "createdBy": "qWoUF",
            "workspaceId": "04-8098234",
            "group": "wing-sweep",
            "rescaleTimeReceived": "2026-03-14T08:00:00.000Z",
        }
        with self.lock:
            self.counts["submitJobs"] += 1
            for request in requests:
                self.counts[f"batch {request['jobName']}"] += 1
        return _json(
            [{**item, **received, "parentJobId": f"p-{item['jobName']}"} for item in requests]
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def serve(connection: socket.socket, answers: Answers, origin: str) -> None:
    """Respond to the requests of one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with connection:
        while True:
            while (end := received.find(b"\r\n\r\n")) < 0:
                more = connection.recv(1 << 16)
                if not more:
                    return
                received += more
            head, received = received[:end].decode(), received[end + 4 :]
            length = re.search(r"(?i)^content-length: *(\d+)", head, re.MULTILINE)
            missing = int(length[1]) if length else 0
            while len(received) < missing:
                received += connection.recv(1 << 16)
            body, received = received[:missing], received[missing:]
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            if latency := int(target.split("/", 2)[1]):
                time.sleep(latency / 1000)
            answer = answers.answer(method, target, body, origin)
            top = f"Content-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            connection.sendall(b"".join((b"HTTP/1.1 200 OK\r\n", top.encode(), answer)))


def listen(answers: Answers, context: ssl.SSLContext | None) -> str:
    """Start a server on a free port, and return its origin."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    scheme = "https" if context else "http"
    origin = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            threading.Thread(target=serve, args=(connection, answers, origin), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return origin


def main() -> None:
    """Print the origins, and serve until standard input ends."""
    answers = Answers()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    print(listen(answers, None), listen(answers, context), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
