"""Container registries. Here, docker and podman are scripts that run as real processes."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pickle
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, _docker, container_registry, htcprojects, models
from rescalehtc.container_registry import HtcContainerRegistry, get_container_registry
from rescalehtc.exceptions import (
    HtcException,
    HtcNotFoundError,
    HtcResponseError,
    HtcValidationError,
)

from .clock import inject_clock
from .limits import HANG_SECONDS
from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "pass+word/123=="
ADDRESS = "123456789012.dkr.ecr.us-east-1.amazonaws.com/htc/p"
HOST = ADDRESS.partition("/")[0]
ID = "b038788ddb222cb7a1e4f1d6c2b9f6d5e1a2b3c4d5e6f708192a3b4c5d6e7f80"
IMAGES = "GET /htc/projects/p/container-registry/images"
TOKEN = "GET /htc/projects/p/container-registry/token"
REPOSITORIES = "POST /htc/projects/p/container-registry/repo/"
PATTERN = models.HTCJobDefinition.model_json_schema()["properties"]["imageName"]["pattern"]


@pytest.fixture
def registry() -> HtcContainerRegistry:
    project = htcprojects.HtcProject({"projectId": "p", "containerRegistry": f"{ADDRESS}/"})
    return HtcContainerRegistry(project, f"{ADDRESS}/")


@pytest.fixture
def pushing(service: Service) -> Service:
    """A service with everything that a push needs."""
    service.on(TOKEN, Answer(f"{PASSWORD}\n".encode()))
    for name in ("app", "team/app", "other/name"):
        answer = {"repositoryName": name, "successfullyCreated": False}
        service.on(REPOSITORIES + name, Answer(answer))
    return service


class Programs:
    """A folder that is the only entry of PATH, and the calls of its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "calls").mkdir(parents=True)

    def add(self, name: str, **scripts: str) -> None:
        """Add a program, with a shell script for each of its commands."""
        cases = "".join(f"{command}) {script} ;;\n" for command, script in scripts.items())
        path = self.folder / name
        path.write_text(
            "#!/bin/sh\n"
            "PATH=/usr/bin:/bin\n"
            f"call={self.folder}/calls/$(ls {self.folder}/calls | grep -c argv)\n"
            'for argument; do printf "%s\\0" "$argument"; done > $call.argv\n'
            "env > $call.env\n"
            'case "$1" in\n'
            f"{cases}"
            "esac\n"
            "status=$?\n"
            "cat > $call.stdin\n"
            "exit $status\n"
        )
        path.chmod(0o755)

    def calls(self) -> list[list[str]]:
        files = sorted(self.folder.glob("calls/*.argv"))
        return [file.read_text().split("\0")[:-1] for file in files]

    def input(self, number: int) -> str:
        return (self.folder / "calls" / f"{number}.stdin").read_text()

    def environments(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("calls/*.env"))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path / "programs")
    monkeypatch.setenv("PATH", str(programs.folder))
    return programs


@pytest.fixture
def docker(programs: Programs) -> Programs:
    programs.add(
        "docker", image=f"echo sha256:{ID}", login="echo Login Succeeded", push="echo Pushed"
    )
    return programs


# ---- pushing


@pytest.mark.parametrize(
    "address", [ADDRESS, f"{ADDRESS}/", f"https://{ADDRESS}/", f"http://{ADDRESS}"]
)
def test_an_image_is_pushed(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    address: str,
) -> None:
    """1.1.0 passes the password and the names through a shell."""
    registry.registry_url = address
    name = registry.push_docker_image(scripted, "team/app:1.0")
    assert name == "team/app:1.0-b038788ddb"
    assert docker.calls() == [
        ["image", "inspect", "--format", "{{.Id}}", "team/app:1.0"],
        ["login", "--username=AWS", "--password-stdin", HOST],
        ["tag", "team/app:1.0", f"{ADDRESS}/{name}"],
        ["push", f"{ADDRESS}/{name}"],
    ]
    assert [docker.input(n) for n in range(4)] == ["", PASSWORD, "", ""]
    assert PASSWORD not in docker.environments()
    requests = [
        (a.method, a.path.rpartition("container-registry/")[2]) for a in pushing.requests[1:]
    ]
    assert requests == [("POST", "repo/team/app"), ("GET", "token")]


def test_the_name_can_be_chosen(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, docker: Programs
) -> None:
    for name in ("other/name:2", "other/name"):
        assert registry.push_docker_image(scripted, "app:1", name) == name
        assert docker.calls()[-1] == ["push", f"{ADDRESS}/{name}"]
    assert [call[0] for call in docker.calls()] == ["login", "tag", "push"] * 2


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("app:1", "app:1-b038788ddb"),
        ("localhost/team/app:1", "team/app:1-b038788ddb"),
        ("localhost:5000/app:1", "app:1-b038788ddb"),
        ("ghcr.io/team/app:v1.2_RC-3", "team/app:v1.2_RC-3-b038788ddb"),
        ("Host/app:1", "app:1-b038788ddb"),
        ("[::1]:5000/app:1", "app:1-b038788ddb"),
        ("team/app:" + "t" * 128, "team/app:" + "t" * 117 + "-b038788ddb"),
    ],
)
def test_a_registry_s_host_is_left_out_of_the_remote_name(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    local: str,
    remote: str,
) -> None:
    """1.1.0 rejects names with two colons."""
    assert registry.push_docker_image(scripted, local) == remote
    assert re.fullmatch(PATTERN, remote)
    assert ["tag", local, f"{ADDRESS}/{remote}"] in docker.calls()


@pytest.mark.parametrize(
    "local",
    ["", "app", "team/app", "localhost:5000/app", ":1", "app:", "App:1", "app:1:2", "app:.1", "app:-1",
     "--config=x:1", "-app:1", "-x.y/app:1", "app:1\n", "app :1", "app:1 ", "app;true:1", "$(id):1",
     "app@sha256:" + ID, "app:1@sha256:" + ID, "a//b:1", "/app:1", "a.b:x/app:1", "äpp:1", "app:\u0661",
     "app:" + "t" * 129, "a" * 400 + ":1", "a-.b:1", "a\0:1", "a\x1b[2J:1", ID, None, 5, b"app:1"],
)  # fmt: skip
def test_an_invalid_image_is_rejected_before_anything_is_run(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    local: str,
) -> None:
    with pytest.raises(HtcValidationError, match="local_image_name: must be") as info:
        registry.push_docker_image(scripted, local)
    assert all(c.isprintable() or c == "\n" for c in str(info.value))
    assert not docker.calls()
    assert not pushing.requests


@pytest.mark.parametrize(
    "remote", ["", "App:1", "-x", "--x:1", "host:5000/app:1", "app:1\n", "a/../b:1", "app:1@x", 5]
)
def test_an_invalid_remote_name_is_rejected_before_anything_is_run(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    remote: str,
) -> None:
    with pytest.raises(HtcValidationError, match="remote_image_name: must be"):
        registry.push_docker_image(scripted, "app:1", remote)
    assert not docker.calls()
    assert not pushing.requests


@pytest.mark.parametrize("address", ["", "-x.y/z", "dockerhub/x", "a b.c", "x.y/..", "x.y//z", "ftp://x.y", "u:p@x.y", "x.y/Z"])  # fmt: skip
def test_an_invalid_registry_s_address_is_rejected(
    scripted: HtcSession, registry: HtcContainerRegistry, docker: Programs, address: str
) -> None:
    """A name without a host would refer to a public registry."""
    registry.registry_url = address
    with pytest.raises(HtcException, match="registry's address"):
        registry.push_docker_image(scripted, "app:1")
    assert not docker.calls()


def test_the_emulator_s_registry_is_one(
    rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    registry = get_container_registry(rescale, project)
    assert container_registry._ADDRESS.fullmatch(registry.registry_url)


def test_jobs_may_have_exactly_the_names_that_can_be_pushed() -> None:
    """Compares the two patterns for all short strings, and for tags of the maximum length."""
    short = ("".join(name) for n in range(6) for name in itertools.product("a0B._-/:", repeat=n))
    for name in (*short, f"a:{'b' * 128}", f"a:{'b' * 129}"):
        can_be_pushed = container_registry._REMOTE_IMAGE.fullmatch(name) is not None
        assert (re.search(PATTERN, name) is not None) == can_be_pushed, name


def test_podman_does_where_there_is_no_docker(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    programs.add("podman", image=f"echo {ID}")
    assert registry.push_docker_image(scripted, "localhost/app:1") == "app:1-b038788ddb"
    assert [call[0] for call in programs.calls()] == ["image", "login", "tag", "push"]
    assert programs.input(1) == PASSWORD


def test_podman_is_taken_where_docker_has_no_daemon(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    failing = dict.fromkeys(("image", "login", "tag", "push", "ps"), "exit 1")
    programs.add("docker", **failing)
    programs.add("podman", image=f"echo {ID}")
    assert registry.push_docker_image(scripted, "app:1") == "app:1-b038788ddb"
    assert [call[0] for call in programs.calls()] == [
        *("image", "ps"),
        *("image", "login", "tag", "push"),
    ]


def test_the_reason_is_dockers_where_docker_works(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    programs.add("docker", image=f"echo {ID}", push="echo no room; exit 1")
    programs.add("podman", image=f"echo {ID}")
    with pytest.raises(HtcException, match="pushing the image failed: docker"):
        registry.push_docker_image(scripted, "app:1")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("[::1]:5000", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com:5000", False),
        ("10.0.0.1:5000", False),
        (HOST, False),
    ],
)
def test_podman_may_do_without_tls_only_on_this_machine(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    host: str,
    is_here: bool,
) -> None:
    """As docker does automatically."""
    programs.add("podman", image=f"echo {ID}")
    registry.registry_url = f"{host}/p/"
    registry.push_docker_image(scripted, "app:1")
    errors = ["--tls-verify=false" in call for call in programs.calls()]
    assert errors == [False, is_here, False, is_here]
    programs.add("docker", image=f"echo sha256:{ID}")
    registry.push_docker_image(scripted, "app:1")
    assert not any("--tls-verify=false" in call for call in programs.calls()[4:])


def test_docker_is_taken_where_there_are_both(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, docker: Programs
) -> None:
    docker.add("podman", image="exit 7")
    registry.push_docker_image(scripted, "app:1")
    assert len(docker.calls()) == 4


def test_without_either_both_are_named(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    with pytest.raises(HtcException, match="neither docker nor podman was found"):
        registry.push_docker_image(scripted, "app:1")
    assert not pushing.requests


@pytest.mark.parametrize("quiet", [True, False])
def test_what_the_program_prints_is_shown_unless_quiet(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    capfd: pytest.CaptureFixture[str],
    quiet: bool,
) -> None:
    registry.push_docker_image(scripted, "app:1", quiet=quiet)
    assert capfd.readouterr().out == ("" if quiet else "Login Succeeded\nPushed\n")


def shown(error: BaseException) -> str:
    """The complete traceback of an exception."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("image", "looking for the image app:1 on this machine"),
        ("login", "logging in to the registry"),
        ("tag", "tagging the image"),
        ("push", "pushing the image"),
    ],
)
def test_a_failing_step_is_named_with_the_program_s_last_words(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    command: str,
    step: str,
) -> None:
    commands = {"image": f"echo {ID}", command: "seq 100; echo denied: no such host >&2; (exit 3)"}
    programs.add("docker", **commands)
    with pytest.raises(HtcException) as info:
        registry.push_docker_image(scripted, "app:1", quiet=True)
    lines = str(info.value).splitlines()
    assert lines[0] == f"{step} failed: docker ended with status 3"
    assert lines[-2:] == ["  100", "  denied: no such host"]
    assert len(lines) == 1 + _docker.TAIL_LINES
    assert PASSWORD not in shown(info.value)
    assert programs.calls()[-1][0] == command


def test_a_program_that_tells_the_password_is_not_quoted(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scripts = {"image": f"echo {ID}", "login": 'read -r x; echo "bad password: $x"; (exit 1)'}
    pushing.on(TOKEN, Answer(PASSWORD.encode()))
    programs.add(
        "docker", **{**scripts, "login": scripts["login"].replace("read -r x", "x=$(cat)")}
    )
    with pytest.raises(HtcException, match=r"bad password: \*\*\*") as info:
        registry.push_docker_image(scripted, "app:1")
    assert PASSWORD not in shown(info.value)
    assert PASSWORD not in "".join(capfd.readouterr())


def test_what_a_program_prints_does_no_harm(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Escape sequences, other control characters, invalid UTF-8, endless lines."""
    script = (
        r"printf '\033[2J\033]0;title\007red\033[0m\b\b\000 a\rb\342\200\256c\377\n'; "
        "head -c 300000 /dev/zero | tr '\\0' x; (exit 1)"
    )
    programs.add("docker", image=f"echo {ID}", push=script)
    with pytest.raises(HtcException) as info:
        registry.push_docker_image(scripted, "app:1")
    lines = str(info.value).splitlines()[1:]
    assert lines == ["  red a", "  bc\ufffd", "  " + "x" * _docker.MAX_LINE_CHARACTERS]
    assert capfd.readouterr().out.splitlines() == [line[2:] for line in lines]


@pytest.mark.parametrize("answer", ["", "Error", "sha256:", "sha256:b038", "-x"])
def test_an_image_without_an_id_is_an_error(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    answer: str,
) -> None:
    programs.add("docker", image=f"echo {answer}")
    with pytest.raises(HtcException, match="docker did not print the id of the image app:1"):
        registry.push_docker_image(scripted, "app:1")


def test_a_warning_beside_the_id_is_passed_over(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    programs.add("docker", image=f"echo WARNING: no swap >&2; echo sha256:{ID}")
    assert registry.push_docker_image(scripted, "app:1") == "app:1-b038788ddb"


def test_a_program_that_reads_nothing_decides_by_its_status(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    pushing.on(TOKEN, Answer(b"x" * 70_000))  # exceeds the buffer of a pipe
    programs.add("docker", image=f"echo {ID}", login="echo no daemon; exit 1")
    with pytest.raises(HtcException, match="logging in to the registry failed") as info:
        registry.push_docker_image(scripted, "app:1")
    assert "no daemon" in str(info.value)


def test_a_program_that_is_killed_or_can_not_run_is_an_error(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry, programs: Programs
) -> None:
    programs.add("docker", image="kill -9 $$")
    with pytest.raises(HtcException, match="docker was ended by signal 9"):
        registry.push_docker_image(scripted, "app:1")
    (programs.folder / "docker").write_text("no program")
    with pytest.raises(HtcException, match="docker can't be run"):
        registry.push_docker_image(scripted, "app:1")


@pytest.mark.parametrize("ignores", ["", "trap '' TERM;"])
def test_a_program_that_hangs_is_ended(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    ignores: str,
) -> None:
    monkeypatch.setattr(_docker, "STEP_SECONDS", 0.3)
    monkeypatch.setattr(_docker, "END_SECONDS", 0.3)
    programs.add("docker", image=f"{ignores} exec sleep {HANG_SECONDS}")
    with pytest.raises(HtcException) as info:
        registry.push_docker_image(scripted, "app:1", quiet=True)
    assert str(info.value).splitlines()[0] == (
        "looking for the image app:1 on this machine failed: docker did not end within 0.3 seconds;"
        " run `docker ps` to check it"
    )


@pytest.mark.parametrize("ignores", ["", "trap '' TERM;"])
def test_an_interrupt_ends_the_program(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ignores: str,
) -> None:
    class Interrupted:
        encoding = "utf-8"

        def write(self, _: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(_docker, "END_SECONDS", 0.3)
    pid_file = tmp_path / "pid"
    endless = f"{ignores} echo $$ > {pid_file}; echo begun; while :; do sleep 0.1; done"
    programs.add("docker", image=f"echo {ID}", push=endless)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            registry.push_docker_image(scripted, "app:1")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_nothing_is_left_behind(
    pushing: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    docker: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    counts: set[int] = set()
    for _ in range(2):  # the first one opens the session's connection
        registry.push_docker_image(scripted, "app:1", quiet=True)
        counts.add(sum(1 for _ in Path("/dev/fd").iterdir()))
    assert not list(temporary.iterdir())
    assert not list(Path.home().iterdir())
    assert len(counts) == 1


# ---- passwords


def aws_password(*, expires_in: float | None = None, **fields: object) -> str:
    """A password in the format of AWS that expires in some seconds."""
    if expires_in is not None:
        fields["expiration"] = time.time() + expires_in
    content = {"payload": "p" * 50, "type": "DATA_KEY", **fields}
    return base64.b64encode(json.dumps(content).encode()).decode()


def aws(**fields: Any) -> Callable[[], str]:
    """Makes such a password during the test, because one from the collection could be too old."""
    return lambda: aws_password(**fields)


def answers(service: Service, password: str) -> None:
    """Script the passwords of the service."""
    service.on(TOKEN, *[Answer(f"{password}{'' if n == 1 else n}".encode()) for n in (1, 2, 3)])


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: "plain", 1),
        (aws(), 1),
        (aws(expires_in=12 * 3600), 1),
        (lambda: aws_password(expires_in=3600).rstrip("="), 1),
        (aws(expiration=float("inf")), 1),
        (aws(expiration=10**400), 1),
        (aws(expiration=True), 1),
        (aws(expiration="soon"), 1),
        (lambda: base64.b64encode(b"[1]").decode(), 1),
        (lambda: base64.b64encode(b"[" * 100_000).decode(), 1),
        (aws(expires_in=-1), 3),
        (aws(expiration=0), 3),
        (aws(expiration=float("nan")), 3),
        (aws(expiration=-(10**400)), 3),
    ],
)
def test_a_password_that_is_over_is_not_used(
    service: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    make: Callable[[], str],
    count: int,
) -> None:
    """1.1.0 never renews the first one."""
    password = make()
    service.on(TOKEN, Answer(password.encode()))
    for _ in range(3):
        assert registry.get_token(scripted) == password
    assert len(service.requests_to(TOKEN)) == count


@pytest.mark.parametrize(
    ("make", "good_for", "not_for"),
    [
        (lambda: "plain", 1700, 1900),
        (aws(expires_in=12 * 3600), 9 * 3600, 11 * 3600),
        (aws(expires_in=1e9), 9 * 3600, 11 * 3600),
        (aws(expires_in=1000), 600, 900),
    ],
    ids=["plain", "aws", "far", "near"],
)
def test_a_password_is_renewed_in_time(
    service: Service,
    scripted: HtcSession,
    registry: HtcContainerRegistry,
    make: Callable[[], str],
    good_for: float,
    not_for: float,
) -> None:
    password = make()
    clock = inject_clock(scripted)
    service.on(TOKEN, Answer(password.encode()), Answer(b"the-next"))
    scripted.do_authenticate()
    assert registry.get_token(scripted) == password
    for seconds, expected in ((good_for, password), (not_for, "the-next")):
        clock.ahead, clock.time_ahead = seconds, -seconds
        assert registry.get_token(scripted) == expected


@pytest.mark.parametrize("text", ["", " \n", "two words", "line\nbreak", "päss", "nul\0"])
def test_an_invalid_password_is_an_error_that_does_not_show_it(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry, text: str
) -> None:
    service.on(TOKEN, Answer(text.encode()))
    with pytest.raises(HtcResponseError, match="getRegistryToken") as info:
        registry.get_token(scripted)
    assert not text.strip() or text not in str(info.value)


def test_the_password_is_in_no_repr_and_no_pickle(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry
) -> None:
    service.on(TOKEN, Answer(PASSWORD.encode()))
    registry.get_token(scripted)
    assert PASSWORD not in repr(registry) + repr(vars(registry))
    pickled = pickle.dumps(registry)
    assert PASSWORD.encode() not in pickled
    again = pickle.loads(pickled)
    assert again.registry_url == registry.registry_url
    assert again.get_token(scripted) == PASSWORD


# ---- images and repositories


def test_a_project_s_registry(service: Service, scripted: HtcSession) -> None:
    project = htcprojects.HtcProject({"projectId": "p", "containerRegistry": ADDRESS})
    registry = get_container_registry(scripted, project)
    assert registry.project is project
    assert registry.registry_url == ADDRESS
    assert (registry.login_method, registry.username) == ("username_token", "AWS")
    assert ADDRESS in repr(registry)
    assert not service.requests


def test_an_address_that_the_project_does_not_hold_is_fetched(
    service: Service, scripted: HtcSession
) -> None:
    project = htcprojects.HtcProject({"projectId": "p"})
    service.on("GET /htc/projects/p", Answer({"projectId": "p", "containerRegistry": ADDRESS}))
    assert get_container_registry(scripted, project).registry_url == ADDRESS
    service.on("GET /htc/projects/p", Answer({"projectId": "p", "containerRegistry": None}))
    with pytest.raises(HtcException, match="project p has no container registry"):
        get_container_registry(scripted, project)


def test_an_invalid_project_is_rejected(scripted: HtcSession) -> None:
    with pytest.raises(HtcValidationError, match="project: must be of type HtcProject"):
        get_container_registry(scripted, {"projectId": "p"})  # type: ignore[arg-type]


def test_images_and_repositories_are_listed(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry
) -> None:
    service.on(IMAGES, Answer({"containerRegistry": ADDRESS, "images": ["a:1", "b/c:2"]}))
    service.on("GET /htc/projects/p", Answer({"projectId": "p", "repositories": ["a", "b/c"]}))
    assert registry.get_images(scripted) == ["a:1", "b/c:2"]
    assert registry.get_repos(scripted) == ["a", "b/c"]
    for nothing in ({}, {"images": None, "repositories": None}, {"images": []}):
        service.on(IMAGES, Answer(nothing))
        service.on("GET /htc/projects/p", Answer(nothing))
        assert registry.get_images(scripted) == registry.get_repos(scripted) == []
    for wrong in ("x", [1], {"a": 1}):
        service.on(IMAGES, Answer({"images": wrong}))
        with pytest.raises(HtcResponseError, match="listImages"):
            registry.get_images(scripted)


def test_an_image_is_ready_pending_or_not_there(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry
) -> None:
    for status in ("READY", "PENDING", "SOMETHING_NEW"):
        service.on(f"{IMAGES}/team/app:1", Answer({"status": status}))
        assert registry.get_image(scripted, "team/app:1") == {"status": status}
        assert registry.is_image_ready(scripted, "team/app:1") is (status == "READY")
    with pytest.raises(HtcNotFoundError):
        registry.is_image_ready(scripted, "team/other:1")


def test_a_repository_is_created(
    pushing: Service, scripted: HtcSession, registry: HtcContainerRegistry
) -> None:
    assert registry.create_repo(scripted, "team/app")["repositoryName"] == "team/app"


@pytest.mark.parametrize("name", ["", "App", "app:1", "../x", "a b", "/app", "app/", 5, None])
def test_an_invalid_repository_is_rejected(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry, name: str
) -> None:
    with pytest.raises(HtcValidationError, match="container_repo_name: must be"):
        registry.create_repo(scripted, name)
    assert not service.requests


def test_deleting_an_image_says_that_the_service_can_not(
    service: Service, scripted: HtcSession, registry: HtcContainerRegistry
) -> None:
    """1.1.0 calls a function that does not exist."""
    with pytest.raises(HtcException, match="no operation for it; nothing was sent"):
        registry.delete_image(scripted, "app:1")
    assert not service.requests


def test_a_project_of_the_emulator_has_a_registry(
    rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    registry = get_container_registry(rescale, project)
    assert registry.registry_url == project.json["containerRegistry"]
