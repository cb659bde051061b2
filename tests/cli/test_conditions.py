"""The command under bad conditions: closed and full streams, signals, unusual environments."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc._jobs import submission

from ..limits import HANG_SECONDS
from ..programs import CLOSED, unwritable
from ..service import Answer, Service
from .conftest import COMMAND, Command, request_for, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..service import ReceivedRequest

SUMMARY = "GET /htc/projects/p/tasks/t/summary-statistics"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
PROJECT = {"projectId": "p", "projectName": "project", "regions": ["AWS_US_EAST_1"]}
TASK = {"taskId": "t", "taskName": "sweep", "projectId": "p", "lifecycleStatus": "ACTIVE"}


def taken(request: ReceivedRequest) -> Answer:
    """Accept a submission. The batches have the names of the jobs."""
    return Answer(
        [
            {**item, "parentJobId": f"batch-{item['jobName']}", "projectId": "p", "taskId": "t"}
            for item in request.json
        ]
    )


@pytest.fixture
def account(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service with a project, and a task once it is created."""
    service.on("GET /htc/projects", Answer({"items": [PROJECT]}))
    service.on("POST /htc/projects/p/tasks", Answer(TASK))
    service.on("GET /htc/projects/p/tasks", Answer({"items": [TASK]}))
    for name in ("python:3", "python%3A3"):
        service.on(
            f"GET /htc/projects/p/container-registry/images/{name}", Answer({"status": "READY"})
        )
    service.on(SUBMIT, taken)
    monkeypatch.setenv("RESCALE_API_KEY", "key-1")
    monkeypatch.setenv("RESCALE_API_BASE_URL", service.url)
    return service


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    """A file with three submit requests, the second one on line 23."""
    path = tmp_path / "jobs.json"
    requests = [request_for(jobName=name) for name in "abc"]
    path.write_text(json.dumps(requests, indent=2))
    return str(path)


class Full(io.StringIO):
    """A stream that can't be written to."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


# ---- submitted jobs are never lost


SUBMITTED = ("batch-a", "batch-b", "batch-c")


@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["None", "full", "closed"])
def test_ids_are_in_the_error_if_the_output_cannot_be_written(
    account: Service, run: Callable[..., tuple[int, str]], jobs: str, stream: Any
) -> None:
    status, errors = run("submit", jobs, "--new-task", "sweep", stdout=stream)
    assert status == 5
    assert "the jobs were submitted, but the output can't be written" in errors
    assert all(batch in errors for batch in SUBMITTED)
    assert "task sweep has the id t" in errors


@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["None", "full", "closed"])
def test_an_error_stream_that_cannot_be_written_fails_nothing(
    account: Service, run: Callable[..., tuple[int, str]], jobs: str, stream: Any
) -> None:
    status, errors = run("submit", jobs, "--new-task", "sweep", "-o", "json", stderr=stream)
    assert status == 0
    assert [batch["parentJobId"] for batch in json.loads(errors)] == list(SUBMITTED)
    assert run("cancel", "-t", "nope", stderr=stream)[0] == 2


@pytest.mark.parametrize("stream", ["closed", "full", "pipe"])
def test_ids_survive_an_output_of_a_process_that_cannot_be_written(
    account: Service, command: Command, jobs: str, stream: str
) -> None:
    with unwritable(stream) as stdout:
        done = command("submit", jobs, "--new-task", "sweep", stdout=stdout)
    assert all(batch in done.errors for batch in SUBMITTED)
    assert "task sweep has the id t" in done.errors
    assert done.status == 5


@pytest.mark.parametrize("stdin", ["open", "closed"])
@pytest.mark.parametrize("stream", ["closed", "full", "pipe"])
def test_results_survive_an_error_stream_of_a_process_that_cannot_be_written(
    account: Service, command: Command, jobs: str, stdin: str, stream: str
) -> None:
    with unwritable(stream) as stderr:
        value: dict[str, Any] = {"stdin": CLOSED} if stdin == "closed" else {}
        done = command("submit", jobs, "-t", "sweep", "-o", "jsonl", stderr=stderr, **value)
    assert done.status == 0
    names = [json.loads(line)["parentJobId"] for line in done.output.splitlines()]
    assert names == list(SUBMITTED)


def test_results_come_before_notes(
    account: Service, run: Callable[..., tuple[int, str]], jobs: str
) -> None:
    both = io.StringIO()
    assert run("submit", jobs, "-t", "sweep", stdout=both, stderr=both)[0] == 0
    assert both.getvalue().splitlines()[-1] == "task sweep has the id t"
    assert said(both.getvalue())[1].startswith("BATCH")


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "PARALLEL_CALLS", 1)
    monkeypatch.setattr(submission, "MAX_REQUESTS", 1)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize(
    ("second", "word"),
    [(Answer(status=400), "was not submitted"), (Answer(status=500), "may have been submitted")],
)
def test_an_incomplete_submission_is_status_5_and_lists_every_request_by_its_place(
    account: Service,
    run: Callable[..., tuple[int, str]],
    jobs: str,
    second: Answer,
    word: str,
) -> None:
    account.on(SUBMIT, taken, second)
    status, errors = run("submit", jobs, "--new-task", "sweep")
    assert status == 5
    lines = [line.strip() for line in errors.splitlines()]
    first, *rest = [line for line in lines if line.startswith(jobs)]
    assert first == f"{jobs}:2:3: [0]: was submitted as batch batch-a: 1 jobs"
    assert [line.split(": ")[1] for line in rest] == ["[1]", "[2]"]
    assert f": [1]: {word}" in rest[0]
    assert ": [2]: was not submitted" in rest[1]
    assert rest[0].startswith(f"{jobs}:24:3")
    assert "task sweep has the id t" in errors
    assert "batch-a" in errors.split("rescalehtc: error: ")[0], "no result"


def test_a_split_request_has_the_place_of_its_whole(
    account: Service, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """A request for 2001 jobs is sent as three batches."""
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps([request_for(jobName="a"), request_for(batchSize=2001)]))
    account.on(SUBMIT, Answer(status=500))
    status, errors = run("submit", str(file), "-t", "sweep")
    assert status == 5
    assert [errors.count(f": [{i}]: may have been submitted") for i in (0, 1)] == [1, 3]


def test_ctrl_c_during_a_submission_lists_the_jobs_that_may_exist(
    account: Service, command: Command, jobs: str, until: Callable[..., None]
) -> None:
    """Also with SIGTERM. The command does not wait for the missing response."""
    import threading

    over = threading.Event()

    def hang(_: ReceivedRequest) -> Answer:
        over.wait(HANG_SECONDS)
        return Answer(status=500)

    account.on(SUBMIT, hang)
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = len(account.requests_to(SUBMIT))
        with command.start("submit", jobs, "--new-task", "sweep") as process:
            until(lambda before=before: len(account.requests_to(SUBMIT)) > before)
            until(process.sleeps)
            process.send_signal(number)
            output, errors = process.communicate(timeout=HANG_SECONDS)
        assert (process.returncode, output) == (status, "BATCH  JOBS  NAME\n")
        assert "Traceback" not in errors
        assert errors.count("may have been submitted") == 3
        assert "task sweep has the id t" in errors
    over.set()


def test_an_unanswered_creation_of_a_task_says_that_it_may_exist(
    account: Service, run: Callable[..., tuple[int, str]], jobs: str
) -> None:
    account.on("POST /htc/projects/p/tasks", Answer(status=500))
    status, errors = run("submit", jobs, "--new-task", "sweep")
    assert status == 3
    assert "task sweep may have been created" in errors


@pytest.mark.parametrize("stream", [None, Full(), closed()], ids=["None", "full", "closed"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_profile_and_a_key_are_kept_whatever_the_streams_are(
    account: Service,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    empty_home: Path,
    stream: Any,
    name: str,
) -> None:
    from rescalehtc import rauthenticate

    folder = empty_home / ".config" / "rescalehtc"
    assert run("config", "set", "x", "--workspace", "w", **{name: stream})[0] == 0
    assert tomllib.loads((folder / "profiles.toml").read_text()) == {"x": {"workspace": "w"}}
    account.on("GET /auth/whoami", Answer({"user": {"workspace": {"name": "w"}}}))
    account.on("GET /auth/token/whoami", Answer({"userFullName": "Käthe"}))
    monkeypatch.setattr(sys, name, stream)
    assert rauthenticate.main([]) == 0
    assert (folder / "w" / "rescale_api_token.txt").read_text() == "key-1"


def test_login_without_a_standard_input_says_so(
    account: Service, run: Callable[..., tuple[int, str]]
) -> None:
    status, errors = run("login")
    assert status == 3
    assert "is empty" in errors


# ---- the output


ODD = "K\u00f6ln \U0001f600 \x1b[2J \ud800 \u2028"


@pytest.fixture
def odd(account: Service) -> None:
    account.on("GET /htc/projects", Answer({"items": [{**PROJECT, "projectName": ODD}]}))


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_json_is_json_in_every_encoding(run: Callable[..., tuple[int, str]], encoding: str) -> None:
    binary = io.BytesIO()
    output = io.TextIOWrapper(binary, encoding)
    assert run("projects", "-o", "json", stdout=output)[0] == 0
    assert json.loads(binary.getvalue())[0]["projectName"] == ODD


@pytest.mark.usefixtures("odd")
def test_json_is_json_in_the_c_locale(command: Command) -> None:
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*COMMAND, "projects", "-o", "json"],
        env=command.environ(**variables),
        capture_output=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout)[0]["projectName"] == ODD


def test_numbers_that_json_does_not_have_are_null(
    account: Service, run: Callable[..., tuple[int, str]]
) -> None:
    odd = b'{"items": [{"projectId": "p", "a": NaN, "b": [1e999, -Infinity, 1.5]}]}'
    account.on("GET /htc/projects", Answer(odd))
    status, errors = run("projects", "-o", "json")
    assert status == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    (project,) = json.loads(errors, parse_constant=refuse)
    assert (project["a"], project["b"]) == (None, [None, None, 1.5])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["jobs", "--help"]])
def test_help_ends_like_any_output_that_cannot_be_written(
    command: Command, arguments: list[str]
) -> None:
    with unwritable("full") as stdout:
        done = command(*arguments, stdout=stdout)
    assert (done.status, done.errors.count("\n")) == (2, 1)
    with unwritable("pipe") as stdout:
        done = command(*arguments, stdout=stdout)
    assert (done.status, done.errors) == (141, "")


def test_a_closed_pipe_ends_a_command_quietly_on_every_stream(
    account: Service, command: Command
) -> None:
    """Even if the error occurs only at the end, and if standard error is closed too."""
    account.on(SUMMARY, Answer({"jobStatuses": {"FAILED": 1}}))
    with unwritable("pipe") as pipe:
        done = command("projects", stdout=pipe)
        assert (done.status, done.errors) == (141, "")
        assert command("projects", stdout=pipe, stderr=pipe).status == 141
        watch = subprocess.run(
            [*COMMAND, "watch", "-t", "sweep"],
            env=command.environ(PYTHONUNBUFFERED=""),
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert watch.returncode == 1, "jobs failed"
    assert said(watch.stderr)[1] == "1 of 1 jobs ended: 1 FAILED\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_cursor_is_visible_again_after_a_signal(
    account: Service, command: Command, number: signal.Signals, status: int
) -> None:
    account.on(SUMMARY, Answer({"jobStatuses": {"RUNNING": 1}}))
    # It sends the signal to itself instead of sleeping between requests, while the bar is shown.
    program = (
        "import os, time; wait = time.sleep; "
        f"time.sleep = lambda seconds: os.kill(os.getpid(), {int(number)}) or wait(seconds); "
        "from rescalehtc.cli import main; main()"
    )
    arguments = ("watch", "-t", "sweep")
    done = command.under_terminal(*arguments, program=[sys.executable, "-c", program])
    assert done.status == status
    assert done.output.count("\x1b[?25l") == done.output.count("\x1b[?25h") == 1


def test_an_outage_does_not_end_top(account: Service, command: Command) -> None:
    account.on(SUMMARY, Answer({"jobStatuses": {"RUNNING": 1}}), Answer(status=503))
    account.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": []}))
    program = (
        "from rescalehtc.cli import _session, main; _session.BACKOFF_SECONDS = 0.0; "
        "import sys; sys.argv[0] = 'rescalehtc'; main()"
    )
    arguments = ("top", "-t", "sweep", "--interval", "0.1")
    done = command.under_terminal(
        *arguments,
        program=[sys.executable, "-c", program],
        typed={"not up to date: ": "\x03"},
        NO_COLOR="1",
    )
    assert done.status == 130
    assert "1 RUNNING" in done.output


# ---- the configuration


@pytest.fixture
def config(empty_home: Path) -> Path:
    folder = empty_home / ".config" / "rescalehtc"
    folder.mkdir(parents=True)
    return folder


def test_an_empty_variable_counts_as_not_set(
    account: Service,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
) -> None:
    (config / "default").mkdir()
    (config / "default" / "rescale_api_token.txt").write_text("\ufeffkept-key\n", encoding="utf-8")
    (config / "default" / "rescale_api_token.txt").chmod(0o600)
    for name in ("RESCALE_API_KEY", "RESCALE_API_TOKEN", "RESCALE_HTC_REFRESH_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RESCALEHTC_PROFILE", "")
    monkeypatch.setenv("COLUMNS", "")
    assert run("projects")[0] == 0
    (request,) = account.requests_to("GET /auth/token")
    assert request.headers["authorization"] == "Token kept-key"
    monkeypatch.setenv("RESCALE_API_BASE_URL", "")
    _, errors = run("config", "show", "-o", "json")
    assert json.loads(errors)["base_url"] == "https://htc.rescale.com/api/v1"


def test_an_empty_home_is_not_the_root_folder(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    monkeypatch.setenv("HOME", "")
    _, errors = run("config", "show", "-o", "json")
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert json.loads(errors)["file"] == f"{home}/.config/rescalehtc/profiles.toml"


def test_an_unknown_home_is_an_error_and_makes_no_folder(
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    account: Service,
) -> None:
    import pwd

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    arguments = {2: ["config", "set", "x", "--workspace", "w"], 3: ["login"]}
    for home in (None, "", "relative"):
        monkeypatch.setenv("HOME", home) if home is not None else monkeypatch.delenv("HOME")
        for expected, words in arguments.items():
            status, errors = run(*words)
            assert (status, "HOME" in errors) == (expected, True), errors
        assert run("projects")[0] == 0, "the key is in a variable"
    monkeypatch.delenv("RESCALE_API_KEY")
    status, errors = run("projects")
    assert (status, "HOME" in errors) == (3, True)
    assert not list(tmp_path.iterdir())


def test_a_byte_order_mark_is_read_over_and_a_link_stays_a_link(
    run: Callable[..., tuple[int, str]], config: Path, tmp_path: Path
) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text('\ufeff[us]\nworkspace = "a"\n', encoding="utf-8")
    (config / "profiles.toml").symlink_to(target)
    _, errors = run("config", "list", "-o", "json")
    assert [profile["name"] for profile in json.loads(errors)] == ["us"]
    assert run("config", "set", "eu", "--base-url", " http://one.example/ \n")[0] == 0
    assert (config / "profiles.toml").is_symlink()
    assert tomllib.loads(target.read_text()) == {
        "us": {"workspace": "a"},
        "eu": {"base_url": "http://one.example/"},
    }


def test_blanks_and_line_ends_around_an_address_are_stripped(
    account: Service,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
) -> None:
    address = f" {account.url}/ \r\n"
    monkeypatch.setenv("RESCALE_API_BASE_URL", address)
    assert run("projects")[0] == 0
    monkeypatch.delenv("RESCALE_API_BASE_URL")
    (config / "profiles.toml").write_text(f"[x]\nbase_url = {json.dumps(address)}\n")
    (config / "default").mkdir()
    (config / "default" / "rescale_api_token.txt").write_text("key")
    assert run("projects", "--profile", "x")[0] == 0
    _, errors = run("config", "show", "--profile", "x", "-o", "json")
    assert json.loads(errors)["base_url"] == address.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "--task", ""],
        ["jobs", "--task", " "],
        ["jobs", "--task", "t", "--project", ""],
        ["jobs", "--task", "t", "--status", ""],
        ["jobs", "--task", "t", "--profile", ""],
        ["jobs", "--task", "\udcff"],
        ["logs", "", "--task", "t"],
        ["cancel", "--task", "t", "--group", ""],
        ["submit", "f", "--task", ""],
        ["submit", "f", "--new-task", ""],
        ["submit", "f", "--new-task", "\udcff"],
        ["submit", "f", "--task", "t", "--group", ""],
        ["images", "show", ""],
        ["config", "set", "", "--workspace", "w"],
        ["config", "set", "x", "--workspace", ""],
        ["config", "set", "x", "--base-url", ""],
        ["login", "--workspace", ""],
        ["watch", "--task", "t", "--interval", "nan"],
        ["watch", "--task", "t", "--interval", "inf"],
        ["watch", "--task", "t", "--timeout", "nan"],
        ["watch", "--task", "t", "--interval", "-1"],
    ],
)
def test_what_is_invalid_is_rejected_by_its_option(
    account: Service, run: Callable[..., tuple[int, str]], arguments: list[str]
) -> None:
    status, errors = run(*arguments)
    assert status == 2
    assert "Error: Invalid value for" in errors
    assert not account.requests


# ---- no tracebacks of other libraries


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"a=" + b"[" * 5000, b"[a]\n[a]\n", b"a = " + b"9" * 5000, b"\0", None]
)
def test_a_file_of_profiles_that_cannot_be_read_is_reported(
    run: Callable[..., tuple[int, str]], config: Path, content: bytes | None
) -> None:
    if content is None:
        (config / "profiles.toml").mkdir()
    else:
        (config / "profiles.toml").write_bytes(content)
    for arguments in (["config", "list"], ["config", "set", "a", "--workspace", "b"]):
        status, errors = run(*arguments)
        assert (status, "profiles.toml: " in errors) == (2, True), errors


def test_pipes_in_the_config_folder_do_not_hang(
    account: Service, run: Callable[..., tuple[int, str]], config: Path
) -> None:
    os.mkfifo(config / "profiles.toml")
    status, told = run("config", "list")
    assert (status, "it is not a regular file" in told) == (2, True)
    os.mkfifo(config / "last_tasks.json")
    status, told = run("jobs", "--task", "-")
    assert (status, "no task was used" in told) == (2, True)


def test_a_config_folder_that_is_a_file_is_reported(
    run: Callable[..., tuple[int, str]], empty_home: Path
) -> None:
    (empty_home / ".config").write_text("")
    status, errors = run("config", "set", "a", "--workspace", "b")
    assert (status, "profiles.toml: Not a directory" in errors) == (2, True)


@pytest.mark.parametrize("columns", ["0", "\u00b2", "9" * 30])
def test_an_odd_width_of_the_terminal_is_passed_over(
    account: Service, command: Command, columns: str
) -> None:
    account.on(SUMMARY, Answer({"jobStatuses": {"SUCCEEDED": 1}}))
    done = command.under_terminal("watch", "-t", "sweep", COLUMNS=columns, NO_COLOR="1")
    assert done.status == 0
    assert "1/1 ended" in done.output


def test_a_name_that_is_not_utf_8_is_a_file_like_any_other(
    command: Command, tmp_path: Path
) -> None:
    name = os.fsdecode(b"\xff.json")
    done = command("validate", name)
    assert (done.status, "No such file" in done.output) == (2, True)


@pytest.mark.parametrize("options", [(), ("-f", "--interval", "0.1")])
def test_a_huge_count_means_all(
    account: Service, run: Callable[..., tuple[int, str]], options: tuple[str, ...]
) -> None:
    job = "GET /htc/projects/p/tasks/t/jobs/b:0"
    ended = {"status": "SUCCEEDED", "completedAt": "2026-01-01T00:00:00Z"}
    account.on(job, Answer({"jobUUID": "b:0", "projectId": "p", "taskId": "t", **ended}))
    line = {"timestamp": "2026-01-01T00:00:00Z", "message": "a line"}
    account.on(f"{job}/logs", Answer({"items": [line]}))
    for count in (sys.maxsize + 1, 10**20):
        assert "sweep" in run("tasks", "--limit", str(count))[1]
        logs = ("logs", "b:0", "-t", "sweep", "--tail", str(count), *options)
        for status, errors in (run(*logs), run(*logs, "--timestamps")):
            assert (status, "a line" in errors) == (0, True), errors


@pytest.mark.parametrize("regions", [5, [5], {}, [["AWS_US_EAST_1"]]])
def test_odd_regions_of_a_project_do_not_fail_a_command(
    account: Service, run: Callable[..., tuple[int, str]], regions: object
) -> None:
    account.on("GET /htc/projects", Answer({"items": [{**PROJECT, "regions": regions}]}))
    account.on("GET /htc/projects/p/storage/token/AWS_X", Answer({"error": "no region"}, 404))
    status, errors = run("files", "ls", "project:/", "--region", "AWS_X")
    assert (status, "HTTP 404" in errors) == (2, True), errors


@pytest.mark.parametrize("command", ["validate", "plan", "try"])
def test_an_empty_name_of_a_file_is_rejected(
    run: Callable[..., tuple[int, str]], command: str
) -> None:
    status, errors = run(command, "")
    assert (status, "file: can't be read: No such file" in errors) == (2, True)


@pytest.mark.parametrize(
    ("envs", "field"),
    [
        ([{"name": "A", "value": "1"}, {"name": "C", "value": "3"}], "htcJobDefinition"),
        ({"A": "1", "C": "3"}, "htcJobDefinition"),
        ([{"name": "A", "value": "1"}, {"name": "C", "value": "3"}], "htc_job_definition"),
    ],
)
def test_variables_of_a_file_override_those_of_a_request_in_any_form(
    account: Service, run: Callable[..., tuple[int, str]], tmp_path: Path, envs: Any, field: str
) -> None:
    request = request_for()
    request[field] = {**request.pop("htcJobDefinition"), "envs": envs}
    (tmp_path / "jobs.json").write_text(json.dumps(request))
    (tmp_path / "env").write_bytes("\ufeffA=a\u2028b=c\r\nB=\n".encode())
    arguments = (str(tmp_path / "jobs.json"), "-t", "sweep", "--env-file", str(tmp_path / "env"))
    status, errors = run("submit", *arguments, "-o", "json")
    assert status == 0, errors
    (sent,) = account.requests_to(SUBMIT)[0].json
    variables = {pair["name"]: pair["value"] for pair in sent["htcJobDefinition"]["envs"]}
    assert variables == {"A": "a\u2028b=c", "B": "", "C": "3"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("export A=1", "env:1: must be NAME=VALUE, without blanks in the name"),
        ("AWS_BATCH_JOB_ID=1", "env: AWS_BATCH_JOB_ID is reserved by the service"),
    ],
)
def test_invalid_variables_of_a_file_are_rejected_before_a_task_is_created(
    account: Service,
    run: Callable[..., tuple[int, str]],
    jobs: str,
    tmp_path: Path,
    line: str,
    problem: str,
) -> None:
    (tmp_path / "env").write_text(f"{line}\n")
    status, errors = run("submit", jobs, "--new-task", "x", "--env-file", str(tmp_path / "env"))
    assert (status, problem in errors) == (2, True), errors
    assert not account.requests


@pytest.mark.parametrize(
    "request_",
    [
        {
            "batch_size": 2,
            "htc_job_definition": {"image_name": "image", "exec_timeout_seconds": 60},
        },
        {"batchSize": 2, "htcJobDefinition": {"imageName": "image", "envs": {"A": "1"}}},
        {
            "batchSize": 2,
            "retryStrategy": None,
            "htcJobDefinition": {
                "imageName": "image",
                **dict.fromkeys(("commands", "envs", "claims", "tags", "maxVCpus", "maxMemory")),
            },
        },
    ],
)
def test_any_valid_request_can_be_tried(
    command: Command, tmp_path: Path, request_: dict[str, Any]
) -> None:
    (tmp_path / "bin").mkdir()
    podman = tmp_path / "bin" / "podman"
    podman.write_text(
        '#!/bin/sh\ncase "$1" in image) echo 1;; start) echo ran;; inspect) echo exited;; esac\n'
    )
    podman.chmod(0o755)
    (tmp_path / "job.json").write_text(json.dumps(request_))
    done = command("try", "job.json", "--index", "1", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert (done.status, done.output) == (0, "ran\n"), done.errors


@pytest.mark.parametrize(
    "job",
    [
        {"startedAt": "2026-01-01T00:00:00", "completedAt": "2026-01-01T00:00:01Z"},
        {"startedAt": 1, "completedAt": {}, "container": [], "status": ["FAILED"]},
        {"status": None, "failureCode": "\ud800\x1b[2J", "container": {"exitCode": {}}},
    ],
)
def test_odd_records_of_jobs_are_listed(
    account: Service, run: Callable[..., tuple[int, str]], job: dict[str, Any]
) -> None:
    records = {"items": [{"jobUUID": "j:0", **job}]}
    account.on("GET /htc/projects/p/tasks/t/jobs", Answer(records))
    for form in ("table", "json", "jsonl"):
        status, errors = run("jobs", "-t", "sweep", "-o", form)
        assert (status, "j:0" in errors) == (0, True)


def test_a_misspelt_image_gets_a_suggestion(
    account: Service, run: Callable[..., tuple[int, str]]
) -> None:
    images = "/htc/projects/p/container-registry/images"
    registry = {"containerRegistry": "registry.example/p/"}
    account.on("GET /htc/projects/p", Answer({**PROJECT, **registry}))
    account.on(f"GET {images}/slover%3A1", Answer(status=404))
    account.on(f"GET {images}/slover:1", Answer(status=404))
    account.on(f"GET {images}", Answer({"images": ["solver:1", "other:2"]}))
    status, errors = run("images", "show", "slover:1")
    assert status == 2
    assert "no image 'slover:1'; did you mean 'solver:1'?" in errors


def test_limits_that_are_not_objects_are_reported(
    account: Service, run: Callable[..., tuple[int, str]]
) -> None:
    account.on("GET /auth/token/whoami", Answer({"workspaceId": "w"}))
    account.on("GET /htc/projects/p/limits", Answer([1]))
    status, errors = run("limits")
    assert (status, "listProjectLimits" in errors) == (3, True)


def test_ctrl_c_while_modules_are_loaded_is_status_130(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rescalehtc import cli

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "find_spec", interrupted)
    assert run("--version") == (130, "")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The command restores the signal handlers of its process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
