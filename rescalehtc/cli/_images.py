"""Commands about container images."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import container_registry
from . import _options, _output
from ._output import Column, Format
from ._session import find_project, open_session

IMAGES = (Column("IMAGE", lambda item: item["image"]),)

images = typer.Typer(invoke_without_command=True)
ImageName = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        callback=_options.text,
        show_default=False,
        help="Name and tag, such as solver:1.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(images, name="images")


@images.callback()
def list_images(
    ctx: typer.Context,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List the container images of a project, or show or push one.

    Example: rescalehtc images -o name
    """
    if ctx.invoked_subcommand:
        return
    with open_session(profile) as rescale:
        registry = container_registry.get_container_registry(
            rescale, find_project(rescale, project)
        )
        names = registry.get_images(rescale)
        _output.show_items(({"image": name} for name in names), IMAGES, _output.Form(output))


@images.command()
def show(
    image: ImageName,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Show whether an image is READY for jobs, or still PENDING.

    Example: rescalehtc images show solver:1
    """
    with open_session(profile) as rescale:
        registry = container_registry.get_container_registry(
            rescale, find_project(rescale, project)
        )
        _output.show_item(registry.get_image(rescale, image), _output.Form(output))


@images.command()
def push(
    image: ImageName,
    remote_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            callback=_options.text,
            help="Name in the registry. By default the image's own, with the beginning of its id.",
        ),
    ] = None,
    project: _options.Project = None,
    profile: _options.Profile = None,
) -> None:
    """Push an image of this machine, and print its name in the registry.

    It needs docker or podman.

    Example: rescalehtc images push solver:1
    """
    with open_session(profile) as rescale:
        registry = container_registry.get_container_registry(
            rescale, find_project(rescale, project)
        )
        name = registry.push_docker_image(rescale, image, remote_name, quiet=True)
    _output.show_line(name)
    _output.say(f"next: rescalehtc images show {name}")
