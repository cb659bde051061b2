"""The work that needs extras, with this package as installed for development."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile

from benchmarks import work
from benchmarks.child import Clock, run
from benchmarks.ours import DEFINITION


def import_typer(_clock: Clock, _size: int) -> None:
    """Import the library of the command line."""
    import typer  # noqa: F401  # pyright: ignore[reportUnusedImport]


def show_help(clock: Clock, _size: int) -> None:
    """Run `rescalehtc --help`."""
    with clock:
        assert "validate" in _run_command("--help")


def validate(clock: Clock, size: int) -> int:
    """Run `rescalehtc validate` with a JSON file of `size` submit requests."""
    from rescalehtc._requests import submit_request

    request = submit_request.from_arguments(DEFINITION, "AWS_EU_WEST_1", {}).to_json_dict()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(
            "["
            + ",".join(
                json.dumps({**request, "jobName": f"wing-{number}"}) for number in range(size)
            )
            + "]"
        )
        file.flush()
        with clock:
            output = _run_command("validate", file.name)
    return size if not output else 0


def _run_command(*arguments: str) -> str:
    """Run the command line in this process; return what it printed, if it succeeded."""
    from rescalehtc.cli import main

    output = io.StringIO()
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(output):
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise
    return output.getvalue()


if __name__ == "__main__":
    run({**vars(work), **globals()})
