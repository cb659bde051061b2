"""The application with all commands."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .. import __version__
from . import (
    _accounts,
    _files,
    _images,
    _jobs,
    _report,
    _resources,
    _runs,
    _submit,
    _tasks,
    _top,
    _try,
    _watch,
)
from ._errors import EXIT_STATUS, exit_status
from ._shells import use_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Commands(TyperGroup):
    def main(  # type: ignore[override]  # fewer parameters
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **_: Any,
    ) -> NoReturn:
        """Run a command, and exit with its status. Typer's own method drops error messages."""

        def run() -> None:
            self._main_shell_completion({}, prog_name or "rescalehtc")
            arguments = sys.argv[1:] if args is None else list(args)
            with self.make_context(prog_name, arguments) as context:
                self.invoke(context)

        sys.exit(exit_status(run))


app = typer.Typer(
    cls=_Commands,
    name="rescalehtc",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_STATUS,
)


def _show_version(show: bool) -> None:
    if show:
        typer.echo(f"rescalehtc {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run container jobs on Rescale's high-throughput computing service (HTC).

    Results go to standard output, all other messages to standard error.
    """


for module in (
    *(_accounts, _submit, _try, _tasks, _watch, _top, _jobs, _runs, _report, _files, _images),
    _resources,
):
    module.add_to(app)
use_scripts()


@functools.cache
def command() -> Any:
    """Return the command that Typer makes of the application. Making it takes a while."""
    return get_command(app)
