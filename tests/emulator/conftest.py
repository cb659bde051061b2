"""An emulator for each test module, and a user with a plain HTTP client."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rescalehtc.emulator import Emulator

from ..limits import HANG_SECONDS
from ..programs import PIPE, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ENDED = ("SUCCEEDED", "FAILED")
COMMAND = [sys.executable, "-m", "rescalehtc.emulator"]


def alive(pid: int | str) -> bool:
    """Whether a process is running, and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def running(
    *arguments: object,
    make_user: Callable[[str, str], User],
    in_process: Callable[[], None] | None = None,
) -> Iterator[tuple[Process | subprocess.Popen[str], User, str]]:
    """An emulator's process, a user with the printed credentials, and the printed text."""
    command = [*COMMAND, *map(str, arguments)]
    with (
        subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, preexec_fn=in_process)
        if in_process
        else Process(command)
    ) as process:
        try:
            assert process.stdout is not None
            shown = "".join(process.stdout.readline() for _ in range(5))
            url, key = re.findall(r"^export RESCALE_API_(?:BASE_URL|KEY)=(\S+)$", shown, re.M)
            yield process, make_user(url, key), shown
        finally:
            process.terminate()
            process.wait()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition returns a true value, and return this value."""
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail(f"waited in vain until {what}")


def wait_for_end(*pids: int | str) -> None:
    """Wait until processes have ended. A killed process needs a moment to exit."""
    until(lambda: not any(map(alive, pids)), f"the processes {pids} ended")


def plain_client(**options: Any) -> httpx.Client:
    """A client for http URLs that does not load certificates, which would take 30 ms."""
    return httpx.Client(verify=False, timeout=HANG_SECONDS, **options)


def put(url: str, content: Any, **options: Any) -> httpx.Response:
    """Upload to a URL without a credential."""
    with plain_client(**options) as nobody:
        return nobody.put(url, content=content)


class User:
    """Calls an emulator. Tasks are given by their paths."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.api_key = api_key
        self.http = plain_client(base_url=url)
        answer = self.http.get("/auth/token", headers={"Authorization": f"Token {api_key}"})
        self.token: str = answer.json()["tokenValue"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a successful response."""
        answer = self.http.get(path, params=query or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def project(self) -> dict[str, Any]:
        return self.get("/htc/projects")["items"][0]

    def new_project(self, *regions: str) -> str:
        """Create a project, and return its path."""
        body = {"projectName": "test", "projectDescription": "", "regions": regions}
        answer = self.http.post("/htc/projects", json=body)
        assert answer.status_code == 200, answer.text
        return f"/htc/projects/{answer.json()['projectId']}"

    def new_task(self, project_id: str | None = None) -> str:
        path = f"/htc/projects/{project_id or self.project()['projectId']}/tasks"
        answer = self.http.post(path, json={"taskName": "test", "taskDescription": ""})
        assert answer.status_code == 200, answer.text
        return f"{path}/{answer.json()['taskId']}"

    def send_batch(self, task: str, *requests: Any, **query: Any) -> httpx.Response:
        return self.http.post(f"{task}/jobs/batch", json=requests, params=query)

    def submit(
        self,
        task: str,
        commands: Sequence[str] | None = ("true",),
        *,
        group: str | None = None,
        size: int = 1,
        retries: int = 0,
        **definition: Any,
    ) -> list[str]:
        """Submit one batch and return its jobs' ids."""
        request = {
            "batchSize": size,
            "retryStrategy": {"maxRetries": retries},
            "htcJobDefinition": {"imageName": "image", "commands": commands, **definition},
        }
        answer = self.send_batch(task, request, **({"group": group} if group else {}))
        assert answer.status_code == 200, answer.text
        return [f"{answer.json()[0]['parentJobId']}:{i}" for i in range(size)]

    def job(self, task: str, job_id: str) -> dict[str, Any]:
        return self.get(f"{task}/jobs/{job_id}")

    def wait(self, task: str, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended and return its record."""
        return until(
            lambda: (job := self.job(task, job_id))["status"] in ENDED and job, f"{job_id} ended"
        )

    def wait_for_all(self, task: str) -> dict[str, int]:
        """Wait until all jobs of a task have ended and return their counts."""

        def counts() -> dict[str, int]:
            return self.get(f"{task}/summary-statistics")["jobStatuses"]

        until(lambda: sum(counts().values()) == sum(counts()[s] for s in ENDED), "all jobs ended")
        return counts()

    def run(self, commands: Sequence[str] | None, **arguments: Any) -> tuple[dict[str, Any], str]:
        """Run one job in a new task. Return its record and its path."""
        task = self.new_task()
        (job_id,) = self.submit(task, commands, **arguments)
        return self.wait(task, job_id), f"{task}/jobs/{job_id}"

    def pages(self, path: str, **query: Any) -> Iterator[list[Any]]:
        page = self.get(path, **query)
        yield page["items"]
        while "next" in page:
            page = self.get(page["next"])
            yield page["items"]

    def items(self, path: str, **query: Any) -> list[Any]:
        return [item for page in self.pages(path, **query) for item in page]

    def log(self, job: str, **query: Any) -> list[str]:
        """The messages of a log, oldest first by default."""
        query = {"sort": "asc", "pageSize": 10000, **query}
        return [line["message"] for line in self.items(f"{job}/logs", **query)]

    def output(self, code: str, **arguments: Any) -> list[str]:
        """The log of a shell command that succeeds."""
        job, path = self.run(["sh", "-c", code], **arguments)
        assert job["status"] == "SUCCEEDED", (job, self.log(path))
        return self.log(path)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(slots=2) as running:
        yield running


@pytest.fixture
def make_user() -> Iterator[Callable[[str, str], User]]:
    users: list[User] = []

    def make(url: str, api_key: str) -> User:
        users.append(User(url, api_key))
        return users[-1]

    yield make
    for user in users:
        user.http.close()


@pytest.fixture
def user(emulator: Emulator, make_user: Callable[[str, str], User]) -> User:
    return make_user(emulator.url, emulator.api_key)


@pytest.fixture(name="until")
def _until() -> Callable[[Callable[[], Any], str], Any]:
    return until
