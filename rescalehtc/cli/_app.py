"""The commands, put together."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from .. import __version__
from . import _accounts, _jobs, _resources, _submit
from ._errors import EXIT_STATUS, reported

if TYPE_CHECKING:
    from io import TextIOWrapper

    from typer import Context


class _Commands(TyperGroup):
    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        with reported():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    name="rescalehtc",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_STATUS,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rescalehtc {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run container jobs on Rescale's high-throughput computing service (HTC).

    Results go to the standard output, everything else to the error stream.
    """
    # Half a character, which a log may hold, has no bytes; it is written as its escape sequence.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")


for module in (_accounts, _submit, _jobs, _resources):
    module.add_to(app)
