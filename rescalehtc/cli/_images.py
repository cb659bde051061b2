"""Commands about container images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .. import container_registry
from ..exceptions import HtcException, HtcNotFoundError
from . import _options, _output
from ._completion import complete_images
from ._finding import find_project, hint
from ._output import Column, Format
from ._session import open_session

if TYPE_CHECKING:
    from ._session import CommandSession

IMAGES = (Column("IMAGE", lambda item: item["image"]),)

images = typer.Typer(invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(images, name="images")


@images.callback()
def list_images(
    ctx: typer.Context,
    project: _options.Project = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List the container images of a project, or show or push one.

    Example: rescalehtc images -o name
    """
    if ctx.invoked_subcommand:
        return
    with open_session(profile) as rescale:
        names = _registry(rescale, project).get_images(rescale)
        form = _output.Form(output, limit=limit)
        _output.show_items(({"image": name} for name in names), IMAGES, form)


@images.command()
def show(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            callback=_options.text,
            autocompletion=complete_images,
            show_default=False,
            help="Name and tag, such as solver:1.",
        ),
    ],
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Show whether an image is READY for jobs, or still PENDING.

    Example: rescalehtc images show solver:1
    """
    with open_session(profile) as rescale:
        registry = _registry(rescale, project)
        try:
            status = registry.get_image(rescale, image)
        except HtcNotFoundError:
            suggested = hint(image, registry.get_images(rescale))
            raise HtcException(
                f"the project has no image {image!r}{suggested or '; `rescalehtc images` lists them'}"
            ) from None
        _output.show_item(status, _output.Form(output))


@images.command()
def push(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            callback=_options.text,
            show_default=False,
            help="Name and tag of an image on this machine, such as solver:1.",
        ),
    ],
    remote_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            callback=_options.text,
            help="Name in the registry. The default is the image's name and tag, with the first "
            "digits of its id.",
        ),
    ] = None,
    project: _options.Project = None,
    profile: _options.Profile = None,
) -> None:
    """Push an image of this machine, and print its name in the registry.

    Needs docker or podman.

    Example: rescalehtc images push solver:1
    """
    with open_session(profile) as rescale:
        registry = _registry(rescale, project)
        name = registry.push_docker_image(rescale, image, remote_name, quiet=True)
    _output.show_line(name)
    _output.say(f"next: rescalehtc images show {name}")


def _registry(
    rescale: CommandSession, project: str | None
) -> container_registry.HtcContainerRegistry:
    return container_registry.get_container_registry(rescale, find_project(rescale, project))
