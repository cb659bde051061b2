"""Runs each job in a container of its image, with docker or podman."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any, Final, Self

from .. import lifecycle
from ..engine import COPY_SECONDS, LABEL, EngineError, EngineTimeoutError, mark, reason_in
from ..processes import MARKER
from . import RunningJob, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ..engine import Engine
    from ..folders import Folders
    from ..lifecycle import Ending
    from ..store import Job
    from .images import Images

# The paths of the shared folders in a container.
PROJECT_FOLDER: Final = "/rescale/project"
TASK_FOLDER: Final = "/rescale/task"

JOB_LABEL: Final = "rescalehtc.job"
# Engines reject smaller limits.
MIN_MEMORY_MIB: Final = 6
POLL_SECONDS: Final = 0.02
# The states of a container before its start, of podman and docker.
_NOT_STARTED: Final = ("created", "configured", "initialized")
_KILLED: Final = 128 + signal.SIGKILL
# Variables that the engine reads. It must not get the values of a job.
_OF_ENGINES: Final = (
    *("PATH", "HOME", "TMPDIR", "XDG_", "LD_", "GO", "SSL_", "DBUS_", "_", "NOTIFY_"),
    *("CONTAINER", "DOCKER", "PODMAN", "BUILDAH", "REGISTRY_", "STORAGE_"),
)


class ContainerRunner:
    """Starts jobs in containers.

    Args:
        engine: The engine that runs the containers.
        folders: The emulator's folders.
        images: The images of jobs.
    """

    def __init__(self, engine: Engine, folders: Folders, images: Images) -> None:
        self._engine = engine
        self._folders = folders
        self._images = images

    def __enter__(self) -> Self:
        self._folders.root.chmod(0o700)  # every user can write to its shared folders
        return self

    def __exit__(self, *_: object) -> None:
        self._images.close()

    def start(
        self, job: Job, attempt: int, variables: Mapping[str, str], is_stopped: Callable[[], bool]
    ) -> RunningJob:
        """Start a container of the job's image."""
        image = self._images.provide(job, is_stopped)
        mark(self._folders.root)
        name = f"rescalehtc-{job.id.replace(':', '-')}-{attempt}"
        try:
            try:
                return self._start(name, image, job, variables, [], is_stopped)
            except EngineError as error:
                # Unlike docker, podman does not create the working directory.
                folder = job.request["htcJobDefinition"].get("workingDir")
                if not folder or "workdir" not in str(error):
                    raise
                mount = f"--mount=type=volume,{_quote(f'target={folder}')}"
                return self._start(name, image, job, variables, [mount], is_stopped)
        except EngineError as error:
            raise StartError(str(error)) from error

    def _start(
        self,
        name: str,
        image: str,
        job: Job,
        variables: Mapping[str, str],
        extra: list[str],
        is_stopped: Callable[[], bool],
    ) -> _Container:
        definition: Mapping[str, Any] = job.request["htcJobDefinition"]
        folders = {"PROJECT_SHARED_FOLDER": PROJECT_FOLDER, "TASK_SHARED_FOLDER": TASK_FOLDER}
        options, inherited = _variable_options({**folders, **variables})
        self._engine.run(
            "create",
            f"--name={name}",
            f"--label={LABEL}={self._folders.root}",
            f"--label={JOB_LABEL}={job.id}",
            "--network=host",
            "--log-driver=none",
            "--pull=never",
            "--stop-timeout=0",
            "--security-opt=label=disable",  # otherwise SELinux denies access to shared folders
            *_limits(definition),
            *self._mounts(job),
            *_working_folder(definition),
            *extra,
            *options,
            image,
            *definition.get("commands", []),
            # If the emulator is killed now, the next emulator kills the command first.
            variables={**inherited, MARKER: str(self._folders.jobs / name)},
            seconds=COPY_SECONDS,  # a storage driver without layers copies the image
        )
        memory_mib: int | None = definition.get("maxMemory")
        return _Container(self._engine, name, self._folders.root, memory_mib, is_stopped)

    def _mounts(self, job: Job) -> Iterator[str]:
        shared = {
            PROJECT_FOLDER: self._folders.project(job.project_id),
            TASK_FOLDER: self._folders.task(job.task_id),
        }
        for target, source in shared.items():
            source.chmod(0o777)  # the image may set any user
            yield f"--mount=type=bind,{_quote(f'source={source}')},target={target}"


def _quote(field: str) -> str:
    """Quote a field of a mount, which engines parse as CSV."""
    return '"' + field.replace('"', '""') + '"'


def _limits(definition: Mapping[str, Any]) -> Iterator[str]:
    memory: int | None = definition.get("maxMemory")
    if memory is not None:
        memory = max(memory, MIN_MEMORY_MIB)
        yield f"--memory={memory}m"
        yield f"--memory-swap={memory}m"  # memory and swap together
    cpus: int | None = definition.get("maxVCpus")
    if cpus is not None:
        yield f"--cpus={min(cpus, os.cpu_count() or cpus)}"


def _working_folder(definition: Mapping[str, Any]) -> Iterator[str]:
    folder = definition.get("workingDir")
    if folder:
        yield f"--workdir={folder}"


def _variable_options(variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the options for the variables of a container, and the engine's environment.

    Every user of the machine can list arguments, and values may be secret. The engine therefore
    gets the values in its environment, except those of variables that the engine reads.
    """
    separate = {name for name in variables if name in os.environ or name.startswith(_OF_ENGINES)}
    options = [f"--env={name}={variables[name]}" for name in sorted(separate)]
    inherited = {name: value for name, value in variables.items() if name not in separate}
    return [*options, *(f"--env={name}" for name in inherited)], inherited


class _Container:
    """A created container, which the constructor starts."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        folder: Path,
        memory_mib: int | None,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._name = name
        self._memory_mib = memory_mib
        self._is_out_of_memory = False
        self._is_lost = False
        with ExitStack() as stack:
            stack.callback(self._remove)
            self._process = stack.enter_context(engine.attach(name, folder))
            assert self._process.stdout is not None
            self.output: IO[bytes] = self._process.stdout
            stack.callback(self._remove)  # before waiting for the process
            self._wait_until_started(is_stopped)
            stack.pop_all()

    def _wait_until_started(self, is_stopped: Callable[[], bool]) -> None:
        while True:
            has_ended = self._process.poll() is not None
            if self._inspect("Status") not in _NOT_STARTED:
                return
            if has_ended:
                reason = reason_in(self.output.read())
                raise EngineError(f"{self._engine.name}: {reason}")
            if is_stopped():
                raise StartError("the job was stopped before its container started")
            time.sleep(POLL_SECONDS)

    def _inspect(self, field: str) -> str:
        form = f"--format={{{{.State.{field}}}}}"
        return self._engine.run("inspect", "--type=container", form, self._name)

    def _remove(self) -> None:
        with suppress(EngineError):  # the emulator removes it at its end
            self._engine.remove([self._name])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def terminate(self) -> None:
        self._signal("TERM")

    def kill(self) -> None:
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        try:
            self._engine.run("kill", f"--signal={name}", self._name)
        except EngineTimeoutError:
            self._process.kill()  # the job ends even if its container does not
        except EngineError:
            pass  # the container has ended

    def finish(self) -> None:
        if self._process.poll():
            with suppress(EngineError):
                self._is_lost = self._inspect("Status") == "running"
                self._is_out_of_memory = self._inspect("OOMKilled") == "true"
        self._remove()

    def ending(self) -> Ending:
        code = self._process.returncode
        assert code is not None
        if self._is_lost:
            return lifecycle.interrupted(f"{self._engine.name} failed while the job ran")
        # Some engines do not report it. Nothing else kills a container that was not stopped.
        was_killed = code == _KILLED and self._memory_mib is not None
        if code != 0 and (self._is_out_of_memory or was_killed):
            return lifecycle.out_of_memory(self._memory_mib, code)
        return lifecycle.exited(code)
