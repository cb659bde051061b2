"""A submit request that is given by options instead of a file."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._raw import is_object
from ..exceptions import HtcException
from . import _completion, _options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..exceptions import Problem


class OnExit(enum.StrEnum):
    """The action if waiting for jobs ends early."""

    LEAVE = "leave"
    CANCEL = "cancel"


Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="NAME",
        callback=_options.text,
        autocompletion=_completion.complete_images,
        help="Image of the container.",
    ),
]
Command = Annotated[
    str | None,
    typer.Option(
        "--command", metavar="TEXT", help="Command to run. It is split into words as in a shell."
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", metavar="COUNT", help="Number of jobs, from 1 to 1000.")
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="TEXT", callback=_options.text, help="Job name.")
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="REGION",
        autocompletion=_completion.complete_regions,
        help="Region; may be given several times.",
    ),
]
Priority = Annotated[
    str | None,
    typer.Option(
        "--priority",
        metavar="PRIORITY",
        autocompletion=_completion.priorities,
        help="Priority, such as ON_DEMAND_ECONOMY.",
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        metavar="NAME",
        autocompletion=_completion.architectures,
        help="Architecture of the image: AARCH64, X86 or A100.",
    ),
]
VCpus = Annotated[
    int | None, typer.Option("--vcpus", metavar="COUNT", help="Virtual CPUs of a job.")
]
Memory = Annotated[
    int | None, typer.Option("--memory", metavar="MIB", help="Memory of a job, in MiB.")
]
Timeout = Annotated[
    int | None, typer.Option("--timeout", metavar="SECONDS", help="Seconds that a job may run.")
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME=VALUE",
        help="Environment variable; may be given several times.",
    ),
]
Tag = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="KEY=VALUE", help="Tag of the batch; may be given several times."
    ),
]

# The fields of the request and of its job definition, by option.
_FIELDS = {
    "--name": "jobName",
    "--jobs": "batchSize",
    "--region": "regions",
    "--tag": "tags",
}
_DEFINITION_FIELDS = {
    "--image": "imageName",
    "--command": "commands",
    "--priority": "priority",
    "--architecture": "architecture",
    "--vcpus": "maxVCpus",
    "--memory": "maxMemory",
    "--timeout": "execTimeoutSeconds",
    "--env": "envs",
}


@dataclass(frozen=True)
class OptionsPayload:
    """A submit request from the options of a command.

    Attributes:
        requests: The one submit request.
    """

    requests: Sequence[object]

    def sorted_lines(self, problems: Iterable[Problem]) -> list[str]:
        """Return problems, each with the option that caused it."""
        return [self.line(problem) for problem in problems]

    def line(self, problem: Problem) -> str:
        """Return a problem with the option that caused it."""
        where = problem.where.removeprefix("[0]").removeprefix(".")
        places = {field: option for option, field in _FIELDS.items()}
        places |= {
            f"htcJobDefinition.{name}": option for option, name in _DEFINITION_FIELDS.items()
        }
        field = next((field for field in places if where.startswith(field)), None)
        return f"{places[field]}: {problem.message}" if field else f"{where}: {problem.message}"


def from_options(options: Mapping[str, object]) -> OptionsPayload | None:
    """Return the submit request that options describe; None if none of them is given.

    Args:
        options: The values of the options, by name.

    Raises:
        typer.BadParameter: An option is invalid.
    """
    values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if not values:
        return None
    if "--command" in values:
        values["--command"] = _words(values["--command"])
    pairs = {"--env": ("name", "value"), "--tag": ("key", "value")}
    for option, keys in pairs.items():
        if option in values:
            values[option] = [_pair(option, text, keys) for text in values[option]]
    definition = {
        field: values[option] for option, field in _DEFINITION_FIELDS.items() if option in values
    }
    request = {field: values[option] for option, field in _FIELDS.items() if option in values}
    return OptionsPayload([{**request, "htcJobDefinition": definition}])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--command") from None


def _pair(option: str, text: str, keys: tuple[str, str]) -> dict[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        message = f"must be {keys[0].upper()}=VALUE, got {text!r}"
        if option == "--env":
            message = f"must be {keys[0].upper()}=VALUE"  # the text may contain a secret
        raise typer.BadParameter(message, param_hint=option)
    return {keys[0]: name, keys[1]: value}


def read_variables(file: str) -> dict[str, str]:
    """Return the variables of a file. Ignores empty lines and lines that begin with #.

    Raises:
        HtcException: The file can't be read, or a line is not NAME=VALUE.
    """
    try:
        lines = Path(file).read_text("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise HtcException(f"{file}: {reason}") from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, separator, value = line.partition("=")
            if not separator or len(name.split()) != 1:  # such as `export NAME`
                reason = "must be NAME=VALUE, without blanks in the name; its text is not shown"
                raise HtcException(f"{file}:{number}: {reason}")
            variables[name.strip()] = value
    return variables


def with_variables(request: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return a request with more environment variables, which override those of the request."""
    if not variables:
        return request
    # A file may use a field's Python name.
    field = "htcJobDefinition" if "htcJobDefinition" in request else "htc_job_definition"
    definition: dict[str, Any] = request[field]
    envs: Any = definition.get("envs") or []
    if is_object(envs):  # a dictionary instead of a list of pairs
        envs = [{"name": name, "value": value} for name, value in envs.items()]
    others = [pair for pair in envs if pair["name"] not in variables]
    added = [{"name": name, "value": value} for name, value in variables.items()]
    return {**request, field: {**definition, "envs": [*others, *added]}}
