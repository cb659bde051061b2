"""The command `rescalehtc`. It needs what `pip install 'rescalehtc[cli]'` installs."""

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "yaml", "tomlkit")


def main() -> None:
    """Run the command line of this process, and end the process with its exit status."""
    if not all(find_spec(name) for name in NEEDED):
        sys.stderr.write("rescalehtc: error: the command needs pip install 'rescalehtc[cli]'\n")
        sys.exit(2)
    from ._app import app

    app(prog_name="rescalehtc")
