"""The container registry of a project: its images and repositories, and how to push images."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn, cast

from . import _lazy, api
from ._client.credentials import is_printable_ascii
from ._client.tokens import RENEWAL_FRACTION, ExpiringSecret, seconds_from
from ._docker import ID_DIGITS, PUSH_SECONDS, find_programs
from ._interrupts import suppressed
from ._objects.json_object import id_of, require_instance
from ._objects.session_methods import SessionMethods
from ._raw import is_list
from ._tracebacks import trimmed
from ._wire.operations import CREATE_REPOSITORY, GET_REGISTRY_TOKEN
from .exceptions import HtcException, HtcResponseError, HtcValidationError, Problem
from .htcprojects import HtcProject
from .records import HTCImageStatusRecord, HTCRepositoryRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._client.client import Client
    from ._docker import ContainerProgram
    from .htcsession import HtcSession

__all__ = [
    "HtcContainerRegistry",
    "HtcException",
    "HtcProject",
    "HtcSession",
    "api",
    "get_container_registry",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, HtcSession="htcsession")


def __dir__() -> list[str]:
    return __all__


USERNAME = "AWS"
LOGIN_METHOD = "username_token"

# The lifetime of a password that does not contain its expiration time, and the maximum lifetime,
# which is that of AWS.
PASSWORD_SECONDS = 1800.0
MAX_PASSWORD_SECONDS = 12 * 3600.0
_FAR_FUTURE = 1e12  # seconds since 1970

MAX_TAG_CHARACTERS = 128
MAX_NAME_CHARACTERS = 384
_REPOSITORY_FORM = "[path/]name in lower case, without a tag"
_REMOTE_FORM = "[path/]name[:tag], the name in lower case"
_LOCAL_FORM = "[host[:port]/][path/]name:tag, the name in lower case"

MAX_SHOWN_CHARACTERS = 80

# The names that docker accepts. The part before the first slash is a registry's host if it
# contains a full stop, colon or capital letter, or is localhost.
_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = f"{_PART}(?:/{_PART})*"
_TAG = f"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_TAG_CHARACTERS - 1}}}"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = (
    rf"(?=[^/]*[.:A-Z]|localhost(?:/|$))(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
)
_REPOSITORY = re.compile(_NAME)
_REMOTE_IMAGE = re.compile(f"(?P<name>{_NAME})(?::{_TAG})?")
_LOCAL_IMAGE = re.compile(f"(?:(?P<host>{_HOST})/)?(?P<name>{_NAME}):(?P<tag>{_TAG})")
_ADDRESS = re.compile(rf"(?:https?://)?(?P<host>{_HOST})(?P<path>(?:/{_PART})*)/?")


class HtcContainerRegistry(SessionMethods):
    """The container registry of a project. `get_container_registry` returns it.

    Attributes:
        project: The project.
        registry_url: The registry's address: a host, and the path of the project's images.
        login_method: `username_token`: log in with a user name and a password.
        username: The user name. `get_token` returns the password.
    """

    def __init__(
        self,
        project: HtcProject,
        registry_url: str,
        login_method: str = LOGIN_METHOD,
        username: str = USERNAME,
    ) -> None:
        self.project: HtcProject = project
        self.registry_url: str = registry_url
        self.login_method: str = login_method
        self.username: str = username
        self._password: ExpiringSecret | None = None

    def __repr__(self) -> str:
        return f"HtcContainerRegistry(registry_url={self.registry_url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.project, self.registry_url, self.login_method, self.username)

    def get_images(self, rescale: HtcSession) -> list[str]:
        """Return the names of the images, `name:tag`.

        Operation listImages.

        Args:
            rescale: The session.
        """
        return _names(
            api.get_htc_projects_container_registry_images(rescale, self._project_id),
            "images",
            "listImages",
        )

    def get_image(self, rescale: HtcSession, image_name: str) -> HTCImageStatusRecord:
        """Fetch the status of an image.

        Operation getImageStatus.

        Args:
            rescale: The session.
            image_name: The image, `[path/]name[:tag]`.

        Returns:
            An `HTCImageStatus` object: `status` is READY, or PENDING while the image is
            being copied.

        Raises:
            HtcNotFoundError: The image does not exist.
        """
        return HTCImageStatusRecord(
            api.get_htc_projects_container_registry_images(rescale, self._project_id, image_name)
        )

    def is_image_ready(self, rescale: HtcSession, image_name: str) -> bool:
        """Whether jobs can be submitted with an image.

        If you push another image under the same name, the status stays READY. The service does not
        report which of the two images a job gets.

        Operation getImageStatus.

        Args:
            rescale: The session.
            image_name: The image, `[path/]name[:tag]`.

        Raises:
            HtcNotFoundError: The image does not exist.
        """
        return self.get_image(rescale, image_name).get("status") == "READY"

    def delete_image(
        self,
        rescale: HtcSession,  # noqa: ARG002 - a documented parameter
        image_name: str,
    ) -> NoReturn:
        """Raise an error, because the service has no operation that deletes an image.

        Args:
            rescale: The session.
            image_name: The image, `[path/]name[:tag]`.

        Raises:
            HtcException: Always. Nothing is sent.
        """
        raise HtcException(
            f"image {image_name!r} can't be deleted: the service has no operation for it; "
            "nothing was sent"
        )

    def get_repos(self, rescale: HtcSession) -> list[str]:
        """Return the names of the repositories.

        Operation getProject.

        Args:
            rescale: The session.
        """
        return _names(api.get_htc_projects(rescale, self._project_id), "repositories", "getProject")

    def create_repo(self, rescale: HtcSession, container_repo_name: str) -> HTCRepositoryRecord:
        """Create a repository, unless it exists.

        Operation createRepository.

        Args:
            rescale: The session.
            container_repo_name: The repository, `[path/]name` in lower case, without a tag.

        Returns:
            An `HTCRepository` object. `successfullyCreated` is false if the repository existed.

        Raises:
            HtcValidationError: The name is invalid.
        """
        _checked(_REPOSITORY, container_repo_name, "container_repo_name", _REPOSITORY_FORM)
        return HTCRepositoryRecord(
            api.post_htc_projects_container_registry_repo(
                rescale, self._project_id, container_repo_name
            )
        )

    def get_token(self, rescale: HtcSession) -> str:
        """Return the password, and renew it before it expires.

        A password of AWS contains its expiration time, and is renewed after four fifths of its
        lifetime. Other passwords are renewed after half an hour.

        Operation getRegistryToken, if the password has to be fetched.

        Args:
            rescale: The session.

        Raises:
            HtcResponseError: The response is not a password.
        """
        return rescale.run(self._get_password(rescale.client))

    async def _get_password(self, client: Client) -> str:
        async def password() -> str:
            if self._password is None or self._password.is_due(client.io):
                call = GET_REGISTRY_TOKEN.call({"projectId": self._project_id})
                text = (await client.send(call)).strip()
                if not is_printable_ascii(text):
                    raise HtcResponseError("getRegistryToken: the response is not a password")
                seconds = _usable_seconds(text, client.io.time())
                self._password = ExpiringSecret.usable_for(text, seconds, client.io)
            return self._password.value

        return await client.io.exclusively(f"password of {self.registry_url}", password)

    def push_docker_image(
        self,
        rescale: HtcSession,
        local_image_name: str,
        remote_image_name: str | None = None,
        quiet: bool = False,
    ) -> str:
        """Push a local image to the registry, with docker or podman.

        The program stays logged in to the registry, and keeps the image under its new name too. A
        push that takes more than 6 hours is stopped.

        Operations createRepository and, if the password has to be fetched, getRegistryToken.

        Args:
            rescale: The session.
            local_image_name: The image, `[host[:port]/][path/]name:tag`.
            remote_image_name: The name in the registry, `[path/]name[:tag]`. By default, the local
                name without the host, and with the first ten digits of the image's id, so that
                another image gets another name.
            quiet: Don't show the output of the program.

        Returns:
            The image's name in the registry, for `image_name`.

        Raises:
            HtcValidationError: A name is invalid. No program was run.
            HtcException: Neither docker nor podman is installed, or the program failed. The message
                names the step, with the last lines of the output.
        """
        local = _checked(_LOCAL_IMAGE, local_image_name, "local_image_name", _LOCAL_FORM)
        if remote_image_name is not None:
            _checked(_REMOTE_IMAGE, remote_image_name, "remote_image_name", _REMOTE_FORM)
        return rescale.run(self._push(rescale.client, local, remote_image_name, quiet))

    async def _push(
        self,
        client: Client,
        local: re.Match[str],
        remote_image_name: str | None,
        quiet: bool,
    ) -> str:
        address = _ADDRESS.fullmatch(self.registry_url)
        if address is None:
            raise HtcException(f"{_shown(self.registry_url)} is not a registry's address")
        call = client.io.call

        async def push_with(program: ContainerProgram) -> str:
            name = remote_image_name
            if name is None:
                tag = local["tag"][: MAX_TAG_CHARACTERS - 1 - ID_DIGITS]
                image_id = await call(program.image_id, local[0])
                name = f"{local['name']}:{tag}-{image_id}"
                _checked(_REMOTE_IMAGE, name, "remote_image_name", _REMOTE_FORM)
            ids = {"projectId": self._project_id, "repoName": name.partition(":")[0]}
            await client.send(CREATE_REPOSITORY.call(ids))
            target = f"{address['host']}{address['path']}/{name}"
            options = program.registry_options(address["host"])
            user = f"--username={self.username}"
            login = ["login", *options, user, "--password-stdin", address["host"]]
            password = await self._get_password(client)
            await call(program.run, "logging in to the registry", login, quiet, password)
            await call(program.run, "tagging the image", ["tag", local[0], target], quiet)
            push = ["push", *options, target]
            await call(program.run, "pushing the image", push, quiet, seconds=PUSH_SECONDS)
            return name

        first, *others = find_programs("to push an image")
        try:
            return await push_with(first)
        except HtcException:
            if not others or await call(first.works):
                raise
        return await push_with(others[0])

    @property
    def _project_id(self) -> str:
        project_id: str = id_of(self.project, "projectId")
        return project_id


def get_container_registry(rescale: HtcSession, project: HtcProject) -> HtcContainerRegistry:
    """Return the container registry of a project.

    Operation getProject, if `project.json` does not contain the registry's address.

    Args:
        rescale: The session.
        project: The project.

    Raises:
        HtcValidationError: `project` is not an HtcProject.
        HtcException: The project has no registry.
    """
    require_instance(project, HtcProject, "project", "get_container_registry")
    project_id: str = id_of(project, "projectId")
    address = cast("object", project.json.get("containerRegistry"))
    if not address:
        registry = api.get_htc_projects(rescale, project_id).get("containerRegistry")
        address = cast("object", registry)
    if not isinstance(address, str) or not address:
        raise HtcException(f"project {project_id} has no container registry")
    return HtcContainerRegistry(project, address)


def _checked(pattern: re.Pattern[str], name: object, argument: str, form: str) -> re.Match[str]:
    if isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS:
        match = pattern.fullmatch(name)
        if match:
            return match
    message = f"must be {form}, of at most {MAX_NAME_CHARACTERS} characters, got {_shown(name)}"
    raise HtcValidationError("the arguments", [Problem(argument, message)])


def _shown(name: object) -> str:
    if not isinstance(name, str):
        return type(name).__name__
    text = repr(name)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def _names(answer: Mapping[str, Any], field: str, operation: str) -> list[str]:
    with trimmed():
        names = answer.get(field)
        if not names:
            return []
        if is_list(names) and all(isinstance(name, str) for name in names):
            return names
        raise HtcResponseError(f"{operation}: {field} in the response is not a list of names")


def _usable_seconds(password: str, now: float) -> float:
    """Return the lifetime of a password in seconds, from its expiration time if it has one."""
    content: Any = None
    with suppressed(ValueError, RecursionError):
        content = json.loads(base64.b64decode(password + "=" * (-len(password) % 4)))
    match content:
        case {"expiration": int() | float() as given}:
            end = seconds_from(given, _FAR_FUTURE)
        case _:
            end = None
    if end is None:
        return PASSWORD_SECONDS
    return min(end - now, MAX_PASSWORD_SECONDS) * (1 - RENEWAL_FRACTION)
