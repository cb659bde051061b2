"""The command `rescalehtc`. It needs `pip install "rescalehtc[cli]>=2"`."""

import os
import re
import sys
from importlib.util import find_spec

from .._console import INTERRUPTED, console

INSTALL = 'pip install "rescalehtc[cli]>=2"'
NEEDED = ("typer", "rich", "yaml", "tomlkit")


def main() -> None:
    """Run the command line of this process, and exit with its status."""
    with console():
        try:
            _run()
        except KeyboardInterrupt:  # during imports
            sys.exit(INTERRUPTED)


def _run() -> None:
    if not all(find_spec(name) for name in NEEDED):
        sys.stderr.write(f"rescalehtc: error: the command needs more packages: {INSTALL}\n")
        sys.exit(2)
    for name in ("COLUMNS", "LINES"):
        # The libraries that read these variables accept 10**12 too, and fail on "²".
        if not re.fullmatch("[1-9][0-9]{0,3}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    try:
        from ._app import command
    except ImportError as error:  # a dependency is missing or has a wrong version
        sys.stderr.write(
            f"rescalehtc: error: the command needs more packages: {INSTALL} ({error})\n"
        )
        sys.exit(2)
    command().main(prog_name="rescalehtc")
