"""The images of jobs, from the emulator's registry or from the engine."""

from __future__ import annotations

import platform
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from pydantic import ValidationError

from ..._docker import ID_DIGITS
from ...models import Architecture
from ..engine import COPY_SECONDS, EngineError
from ..image_names import with_tag
from ..registry.content import Registry
from ..registry.http import NAMESPACE
from ..registry.manifests import Platform, parse
from ..tokens import REGISTRY_USER
from . import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine import Engine
    from ..folders import Folders
    from ..store import Job, Store
    from ..tokens import Tokens

# The names of architectures in images.
_NAMES: Final[Mapping[str, str]] = {
    Architecture.X86: "amd64",
    Architecture.A100: "amd64",
    Architecture.AARCH64: "arm64",
}
_MACHINE: Final = {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine().lower(), platform.machine().lower()
)
_WAIT_SECONDS: Final = 0.1
# Names from `push_docker_image` end with the first digits of the image's id.
_PUSHED: Final = re.compile(f":.*-([0-9a-f]{{{ID_DIGITS}}})$")


class Images(Protocol):
    """Provides the images of jobs."""

    def provide(self, job: Job, is_stopped: Callable[[], bool]) -> str:
        """Wait until the engine has a job's image, and return the engine's name of the image.

        Raises:
            StartError: The engine can't get the image, or the architecture is wrong.
        """
        ...

    def close(self) -> None:
        """Remove the engine's copies of images."""
        ...


class _Image(NamedTuple):
    digest: str
    architecture: str | None


class RegistryImages:
    """The images in the emulator's registry. The engine pulls each image after its push.

    Args:
        engine: The engine.
        store: The emulator's state.
        folders: The emulator's folders.
        tokens: Issues the engine's password.
        host: The registry's host and port.
        any_architecture: Run images of any architecture, preferably of this machine.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        folders: Folders,
        tokens: Tokens,
        host: str,
        any_architecture: bool,
    ) -> None:
        self.registry: Registry = Registry(store, folders, self._copy_pushed)
        self.engine: Engine = engine
        self._tokens = tokens
        self._host = host
        self._any_architecture = any_architecture
        self._lock = threading.Lock()
        self._copies: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(1, "image copies")
        self._options = engine.registry_options(host)

    def status(self, project_id: str, image_name: str) -> str:
        """Return READY, PENDING while the engine pulls the image, or UNKNOWN."""
        image = self._find(project_id, image_name, _MACHINE)
        if image is None:
            return "UNKNOWN"
        copy = self._copies.get(self._reference(project_id, image_name, image))
        return "PENDING" if copy is not None and not copy.done() else "READY"

    def provide(self, job: Job, is_stopped: Callable[[], bool]) -> str:
        """Return the name of the engine's copy of a job's image."""
        definition = job.request["htcJobDefinition"]
        image_name: str = definition["imageName"]
        architecture: str | None = (
            None if self._any_architecture else definition.get("architecture")
        )
        image = self._find(job.project_id, image_name, _NAMES.get(architecture or "", _MACHINE))
        if image is None:
            raise StartError(f"the image {image_name} does not exist")
        _check_architecture(architecture, image.architecture)
        reference = self._reference(job.project_id, image_name, image)
        copy = self._copy(reference)
        while not is_stopped():
            try:
                copy.result(_WAIT_SECONDS)
            except TimeoutError:
                continue
            except EngineError as error:
                raise StartError(f"can't copy the image {image_name}: {error}") from error
            return reference
        raise StartError("the job was stopped before its image was copied")

    def close(self) -> None:
        """Remove the copies, and log out of the registry."""
        self._pool.shutdown(cancel_futures=True)
        if self._copies:
            for command in (*(["rmi", copy] for copy in self._copies), ["logout", self._host]):
                with suppress(EngineError):
                    self.engine.run(*command)

    def _copy_pushed(self, project_id: str, image_name: str) -> None:
        image = self._find(project_id, image_name, _MACHINE)
        if image is not None:
            self._copy(self._reference(project_id, image_name, image))

    def _copy(self, reference: str) -> Future[None]:
        with self._lock:
            copy = self._copies.get(reference)
            if copy is None or (copy.done() and copy.exception() is not None):
                copy = self._copies[reference] = self._pool.submit(self._pull, reference)
            return copy

    def _pull(self, reference: str) -> None:
        login = ["login", *self._options, f"--username={REGISTRY_USER}", "--password-stdin"]
        self.engine.run(*login, self._host, text=self._tokens.issue_registry_password())
        self.engine.run("pull", "--quiet", *self._options, reference, seconds=COPY_SECONDS)

    def _reference(self, project_id: str, image_name: str, image: _Image) -> str:
        repository = image_name.partition(":")[0]
        return f"{self._host}/{NAMESPACE}/{project_id}/{repository}@{image.digest}"

    def _find(self, project_id: str, image_name: str, architecture: str) -> _Image | None:
        """Return an image by its name, in an index for an architecture or else the first."""
        repository, _, tag = with_tag(image_name).partition(":")
        manifest = self.registry.manifest(project_id, repository, tag)
        if manifest is None:
            return None
        (digest, media_type), text = manifest
        contents = parse(text, media_type)
        if contents.config is None:
            images = [
                _Image(item.digest, item.platform.architecture) for item in contents.manifests
            ]
            fitting = (image for image in images if image.architecture in (architecture, None))
            return next(fitting, images[0] if images else None)
        configuration = self.registry.blob(project_id, contents.config.digest)
        assert configuration is not None
        try:
            stated = Platform.model_validate_json(configuration.read_bytes())
        except ValidationError:  # not an image
            return _Image(digest, None)
        return _Image(digest, stated.architecture)


class LocalImages:
    """The images of the engine.

    Args:
        engine: The engine.
        any_architecture: Run images of any architecture.
    """

    def __init__(self, engine: Engine, any_architecture: bool) -> None:
        self._engine = engine
        self._any_architecture = any_architecture

    def provide(
        self,
        job: Job,
        is_stopped: Callable[[], bool],  # noqa: ARG002 - it is fast
    ) -> str:
        """Return the id of a job's image, found by its name or by the id at the end of the name."""
        definition = job.request["htcJobDefinition"]
        image_name: str = definition["imageName"]
        pushed = _PUSHED.search(image_name)
        for name in (with_tag(image_name), *([pushed[1]] if pushed else [])):
            with suppress(EngineError):
                result = self._engine.run(
                    "image", "inspect", "--format={{.Id}} {{.Architecture}}", name
                )
                image_id, _, architecture = result.partition(" ")
                if not self._any_architecture:
                    _check_architecture(definition.get("architecture"), architecture or None)
                return image_id
        raise StartError(
            f"{self._engine.name} has no image {image_name}: build it, or pull and tag it"
        )

    def close(self) -> None:
        """Leave the images where they are."""


def _check_architecture(of_job: str | None, of_image: str | None) -> None:
    if of_job is not None and of_image not in (None, _NAMES.get(of_job)):
        raise StartError(
            f"the image is for {of_image} and the job for {of_job}: submit the job with the"
            f" image's architecture, build the image for linux/{_NAMES.get(of_job)}, or use"
            " --any-architecture to run images of any architecture"
        )
