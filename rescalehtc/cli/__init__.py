"""The command `rescalehtc`. It needs what `pip install 'rescalehtc[cli]'` installs."""

import os
import re
import sys
from importlib.util import find_spec

from .._console import INTERRUPTED, console

INSTALL = "pip install 'rescalehtc[cli]'"
NEEDED = ("typer", "rich", "yaml", "tomlkit")


def main() -> None:
    """Run the command line of this process, and end the process with its exit status."""
    with console():
        try:
            _run()
        except KeyboardInterrupt:  # while modules are loaded
            sys.exit(INTERRUPTED)


def _run() -> None:
    if not all(find_spec(name) for name in NEEDED):
        sys.stderr.write(f"rescalehtc: error: the command needs {INSTALL}\n")
        sys.exit(2)
    for name in ("COLUMNS", "LINES"):
        # The libraries that read them believe 10**12 too, and fail on "²".
        if not re.fullmatch("[1-9][0-9]{0,3}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    try:
        from ._app import app
    except ImportError as error:  # another version, or part of it is missing
        sys.stderr.write(f"rescalehtc: error: the command needs {INSTALL}: {error}\n")
        sys.exit(2)
    app(prog_name="rescalehtc")
